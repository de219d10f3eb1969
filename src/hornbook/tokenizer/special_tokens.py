"""Special tokens: names that stand for one id each, found in text only by those who ask for them.

Text from a user never becomes a special token unless its name is allowed, so "<|endoftext|>" typed into a chat is
thirteen characters and not the end of the conversation. Where special tokens count, the text is split at them before
the splitting pattern sees it; of two that start at the same place the longer one wins.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Literal

from hornbook.errors import TokenizerError

AllowedSpecial = Collection[str] | Literal["all"]


class SpecialTokens:
    """The special tokens of a tokenizer: name -> id.

    Args:
        ids: dense ids that follow the ordinary ones.
        first_id: the number of ordinary tokens.

    Raises:
        TokenizerError: for an empty name, or ids that are not first_id, first_id + 1, ...
    """

    def __init__(self, ids: Mapping[str, int], *, first_id: int) -> None:
        self.ids = dict(sorted(ids.items(), key=lambda item: item[1]))
        if "" in self.ids:
            raise TokenizerError("special tokens: a name is empty; expected at least one character")
        expected = list(range(first_id, first_id + len(self.ids)))
        if list(self.ids.values()) != expected:
            raise TokenizerError(
                f"special tokens: got the ids {list(self.ids.values())}; expected {expected}, "
                f"which follow the {first_id} ordinary tokens without gaps"
            )

    def allowed(self, names: AllowedSpecial) -> frozenset[str]:
        """The names to look for in a text.

        Raises:
            TokenizerError: for a name that is no special token of this tokenizer.
        """
        if names == "all":
            return frozenset(self.ids)
        if isinstance(names, str):
            raise TokenizerError(
                f"allowed_special = {names!r}: expected 'all' or a collection of names, such as [{names!r}]"
            )
        if unknown := set(names) - set(self.ids):
            raise TokenizerError(
                f"allowed_special: {', '.join(map(repr, sorted(unknown)))} is no special token of this tokenizer; "
                f"it has {', '.join(self.ids) or 'none'}"
            )
        return frozenset(names)


def split_at_names(text: str, names: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    """The text in pairs (ordinary text, the special name that ends it or None); texts may be empty."""
    if not names:
        yield text, None
        return
    start = 0
    for match in _finder(names).finditer(text):
        yield text[start : match.start()], match.group()
        start = match.end()
    yield text[start:], None


@lru_cache(maxsize=64)
def _finder(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name))))

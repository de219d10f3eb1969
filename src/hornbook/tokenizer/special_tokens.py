"""Special tokens: names that stand for one id each, found in text only by those who ask for them.

Text from a user never becomes a special token unless its name is allowed, so "<|endoftext|>" typed into a chat is
thirteen characters and not the end of the conversation. Where special tokens count, the text is split at them before
the splitting pattern sees it; of two that start at the same place the longer one wins.

Vocabularies of others have two things more: added tokens, such as GPT-NeoX's runs of blanks, which are found in any
text, and tokens to put around a text (a template).
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import regex

from hornbook.errors import TokenizerError

AllowedSpecial = Collection[str] | Literal["all"]

FLAGS = ("lstrip", "rstrip", "single_word")

HIGHEST_ID = 2**24 - 1
"""Tables have an entry for every id, used or not, so a damaged file must not ask for billions."""


_WHITE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | set(map(chr, range(0x2000, 0x200B)))
_WORD = regex.compile(r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\u200C\u200D]")


class Template(NamedTuple):
    """Names of tokens that are put around a text where it is asked for, such as a mark of its beginning."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class SpecialTokens:
    """The tokens of a tokenizer that are names: special ones, and added ones that are found in any text.

    Args:
        ids: name -> id of the special tokens.
        added: name -> id of the tokens that are found in any text, allowed or not.
        normalized: those of the names that are looked for after the text was brought to its normal form (and in that
            form), not before.
        template: what `Tokenizer.encode` puts around a text when asked.
        flags: name -> some of FLAGS: the white space before or after a name is swallowed with it, or it counts only
            where no letter, digit or underscore touches it.

    Raises:
        TokenizerError: for an empty or unknown name or flag, an id that stands there twice or is out of range.
    """

    def __init__(
        self,
        ids: Mapping[str, int],
        *,
        added: Mapping[str, int] | None = None,
        normalized: Collection[str] = (),
        template: Template = Template(),  # noqa: B008  # immutable
        flags: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.ids = dict(sorted(ids.items(), key=lambda item: item[1]))
        self.added = dict(sorted((added or {}).items(), key=lambda item: item[1]))
        self.normalized, self.template = frozenset(normalized), template
        self.flags = {name: sorted(own) for name, own in sorted((flags or {}).items()) if own}
        self._check()

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing but names that count where they are allowed."""
        return not (self.added or self.normalized or self.flags or any(self.template))

    @property
    def all_ids(self) -> dict[str, int]:
        """Name -> id of special and added tokens, in the order of their ids."""
        return dict(sorted({**self.ids, **self.added}.items(), key=lambda item: item[1]))

    def allowed(self, names: AllowedSpecial) -> frozenset[str]:
        """The names to look for in a text: those asked for, and the added tokens.

        Raises:
            TokenizerError: for a name that is no special token of this tokenizer.
        """
        if names == "all":
            return frozenset(self.ids).union(self.added)
        if isinstance(names, str):
            raise TokenizerError(
                f"allowed_special = {names!r}: expected 'all' or a collection of names, such as [{names!r}]"
            )
        if unknown := set(names) - set(self.ids):
            raise TokenizerError(
                f"allowed_special: {', '.join(map(repr, sorted(unknown)))} is no special token of this tokenizer; "
                f"it has {', '.join(self.ids) or 'none'}"
            )
        return frozenset(names).union(self.added)

    def split(
        self, text: str, names: frozenset[str], normalize: Callable[[str], str]
    ) -> Iterator[tuple[str, int | None]]:
        """The text in pairs (ordinary text in its normal form, the id of the token that ends it or None).

        Args:
            text: any text.
            names: what to look for, see `allowed`.
            normalize: brings text to its normal form.
        """
        late = {normalize(name): name for name in names & self.normalized}
        late_flags = {form: self.flags[name] for form, name in late.items() if name in self.flags}
        for part, name in split_at_names(text, names - self.normalized, self.flags):
            rest = normalize(part)
            if late:
                *before, (rest, _) = split_at_names(rest, frozenset(late), late_flags)
                for ordinary, found in before:
                    yield ordinary, self._id(late[str(found)])
            yield rest, None if name is None else self._id(name)

    def normal_form(self, text: str, names: frozenset[str], normalize: Callable[[str], str]) -> str | None:
        """The text in its normal form but for the names that are looked for before; see `split` for the arguments.

        None if that form, read again, would hold other names of these.
        """
        early, whole = names - self.normalized, normalize(text)
        if not early or whole == text:  # what is part of a normal form is normal, too
            return whole
        parts = [(normalize(part), name) for part, name in split_at_names(text, early)]
        whole = "".join(part + (name or "") for part, name in parts)
        return whole if parts == list(split_at_names(whole, early)) else None

    def _id(self, name: str) -> int:
        return self.ids[name] if name in self.ids else self.added[name]

    def _check(self) -> None:
        names = [*self.ids, *self.added]
        if "" in names:
            raise TokenizerError("special tokens: a name is empty; expected at least one character")
        if both := self.ids.keys() & self.added.keys():
            raise TokenizerError(f"special tokens: {min(both)!r} is an added token too; expected it to be one of both")
        owners: dict[int, str] = {}
        for name in names:
            if any("\ud800" <= char <= "\udfff" for char in name):
                raise TokenizerError(f"special tokens: the name {name!r} holds a lone surrogate; expected text")
        for name, i in [*self.ids.items(), *self.added.items()]:
            if not 0 <= i <= HIGHEST_ID:
                raise TokenizerError(f"special tokens: the id of {name!r} is {i}; expected 0 to {HIGHEST_ID}")
            if i in owners:
                raise TokenizerError(
                    f"special tokens: {owners[i]!r} and {name!r} both have the id {i}; expected distinct ids"
                )
            owners[i] = name
        if wrong := {flag for own in self.flags.values() for flag in own} - set(FLAGS):
            raise TokenizerError(f"special tokens: the flag {min(wrong)!r} is unknown; expected {', '.join(FLAGS)}")
        used = {*self.normalized, *self.template.before, *self.template.after, *self.flags}
        if unknown := used - set(names):
            raise TokenizerError(f"special tokens: {min(unknown)!r} is used but has no id; expected it to be a token")


def follows(ids: Mapping[str, int], first: int) -> bool:
    """Whether these ids are first, first + 1, ... in this order."""
    return list(ids.values()) == list(range(first, first + len(ids)))


def split_at_names(
    text: str, names: frozenset[str], flags: Mapping[str, Collection[str]] | None = None
) -> Iterator[tuple[str, str | None]]:
    """The text in pairs (ordinary text, the special name that ends it or None); texts may be empty.

    Args:
        text: any text.
        names: what to look for.
        flags: see `SpecialTokens`.
    """
    if not names:
        yield text, None
        return
    start = 0
    for match in _finder(names).finditer(text):
        found = _with_flags(text, match, start, flags[match[0]]) if flags and match[0] in flags else match.span()
        if found is not None:
            yield text[start : found[0]], match[0]
            start = found[1]
    yield text[start:], None


def _with_flags(text: str, match: re.Match[str], start: int, flags: Collection[str]) -> tuple[int, int] | None:
    """From where to where a name counts in a text that is done up to `start`; None if it does not."""
    first, last = match.span()
    beside = text[first - 1 : first] + text[last : last + 1]
    if first < start or ("single_word" in flags and _WORD.search(beside)):
        return None
    while "lstrip" in flags and first > start and text[first - 1] in _WHITE:
        first -= 1
    while "rstrip" in flags and last < len(text) and text[last] in _WHITE:
        last += 1
    return first, last


@lru_cache(maxsize=64)
def _finder(names: frozenset[str]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name))))

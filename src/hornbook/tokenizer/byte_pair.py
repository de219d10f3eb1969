"""The byte-pair vocabulary: the bytes of each id, the pairs that merge, and text to ids through a cache of words.

Text is split into words by the pattern, each word becomes bytes, each byte an id, and merges do the rest (`reference`).
Words repeat, so their ids are kept; the cache is bounded and a very long word is never kept.
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from typing import ClassVar, Literal

import regex

from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import BYTE_ORDER, printable
from hornbook.tokenizer.documents import encode_utf8
from hornbook.tokenizer.normal_form import nfc
from hornbook.tokenizer.patterns import Splitter
from hornbook.tokenizer.reference import Pair, merge_word

_CACHED_WORDS = 2**18
_LONGEST_CACHED_WORD = 64

BYTES_OF_TEXT = frozenset([*range(0xC0), *range(0xC2, 0xF5)])
"""The bytes that UTF-8 text can hold."""

Normalizer = Literal["NFC"]


class BytePairScheme:
    """Byte-level BPE over ordinary tokens; special tokens are the business of `Tokenizer`.

    Args:
        tokens: the bytes of each id; None where an id is that of a special token, or nobody's. All single bytes must be
            among them, but for the thirteen that UTF-8 never holds.
        merges: pairs of ids in order of preference; each pair joined must be a token. None: any two tokens merge that
            together are a token, the one with the lowest id first, and the leftmost of equals, as in tiktoken.
        pattern: how text is split into words, see `patterns`.
        whole_words_first: a word that is a token becomes it without merging. Vocabularies with tokens that merging
            cannot reach differ by this: tiktoken does so, Hugging Face where `ignore_merges` is set.
        normalizer: the Unicode form that text is brought to first; then decoding gives that form back, not the text.
        drops_bytes: bytes of text may lack an id and are then left out without a word, as Hugging Face does.

    Raises:
        TokenizerError: if tokens repeat, a byte is missing, or a merge gives no token.
    """

    kind: ClassVar[Literal["bpe"]] = "bpe"

    def __init__(
        self,
        tokens: Sequence[bytes | None],
        merges: Sequence[Pair] | None,
        *,
        pattern: str = "gpt2",
        whole_words_first: bool = False,
        normalizer: Normalizer | None = None,
        drops_bytes: bool = False,
    ) -> None:
        self.tokens, self.by_rank = tuple(tokens), merges is None
        self.whole_words_first, self.normalizer, self.drops_bytes = whole_words_first, normalizer, drops_bytes
        self.splitter = Splitter(pattern)
        self.ids: dict[bytes, int] = {token: i for i, token in enumerate(self.tokens) if token is not None}
        self._check_tokens()
        self.byte_ids: list[int] = [self.ids.get(bytes([byte]), -1) for byte in range(256)]
        """The id of each single byte, of length 256; -1 for one without an id, which text holds only if drops_bytes."""
        table = joining_pairs(self.ids) if merges is None else {}
        self.merges: tuple[Pair, ...] = tuple(table if merges is None else merges)
        self.joined = array("q", table.values() if merges is None else self._join(merges))
        """The id that each merge gives."""
        self._cache = _WordCache(self._encode_word)

    @classmethod
    def from_merges(cls, merges: Sequence[Pair], *, pattern: str) -> "BytePairScheme":
        """The vocabulary of `reference.learn_merges`: 256 bytes in `BYTE_ORDER`, then one token a merge."""
        tokens = [bytes([byte]) for byte in BYTE_ORDER]
        for left, right in merges:
            tokens.append(tokens[left] + tokens[right])
        return cls(tokens, merges, pattern=pattern)

    @cached_property
    def merge_table(self) -> dict[Pair, tuple[int, int]]:
        """Pair of ids -> (rank, id of the joined token); of the pairs in a word the lowest rank merges first.

        A pair that is listed twice has its last rank, as with Hugging Face. Compiled code does without this table.
        """
        ranks = self.joined if self.by_rank else range(len(self.merges))
        return dict(zip(self.merges, zip(ranks, self.joined, strict=True), strict=True))

    @property
    def pattern(self) -> str:
        """The name of the splitting pattern, or the expression if it is nobody's but yours."""
        return self.splitter.pattern

    @property
    def cut(self) -> regex.Pattern[bytes] | None:
        """Where a long text may be cut without changing its ids, see `documents.pieces`."""
        return self.splitter.cut

    def normalize(self, text: str) -> str:
        """The text in the normal form of this vocabulary."""
        return nfc(text) if self.normalizer else text

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which nothing is special.

        Raises:
            TokenizerError: if the text holds a lone surrogate.
        """
        text = self.normalize(text)
        try:
            return list(chain.from_iterable(map(self._cache.__getitem__, self.splitter(text))))
        except UnicodeEncodeError:
            encode_utf8(text)  # raises the error that names the place in the text, not in the word
            raise

    def __reduce__(self) -> tuple[object, ...]:
        """Worker processes get the vocabulary without the cache."""
        make = partial(
            BytePairScheme,
            pattern=self.pattern,
            whole_words_first=self.whole_words_first,
            normalizer=self.normalizer,
            drops_bytes=self.drops_bytes,
        )
        return make, (self.tokens, None if self.by_rank else self.merges)

    def _encode_word(self, word: str) -> list[int]:
        data = word.encode()
        if self.whole_words_first and data in self.ids:
            return [self.ids[data]]
        return self._merged(data)

    def unreached(self) -> Iterator[bytes]:
        """Tokens that their own bytes do not merge to: only words taken whole give them."""
        for token, i in self.ids.items():
            if self._merged(token) != [i]:
                yield token

    def _merged(self, data: bytes) -> list[int]:
        symbols = [self.byte_ids[byte] for byte in data]
        return merge_word([i for i in symbols if i >= 0] if self.drops_bytes else symbols, self.merge_table)

    def _check_tokens(self) -> None:
        if len(self.ids) != len(self.tokens) - self.tokens.count(None):
            repeated = next(token for i, token in enumerate(self.tokens) if token is not None and self.ids[token] != i)
            raise TokenizerError(f"vocabulary: the token {printable(repeated)!r} stands there twice; expected it once")
        missing = [byte for byte in range(256) if bytes([byte]) not in self.ids]
        if not self.drops_bytes and not BYTES_OF_TEXT.isdisjoint(missing):
            raise TokenizerError(
                f"vocabulary: {len(missing)} of the 256 single bytes are missing, the first is 0x{missing[0]:02x} "
                f"({printable(bytes(missing[:1]))!r}); expected a byte-level vocabulary, which has them all"
            )

    def _join(self, merges: Sequence[Pair]) -> Iterator[int]:
        tokens, ids = self.tokens, self.ids
        for rank, (left, right) in enumerate(merges):
            try:
                yield ids[tokens[left] + tokens[right]]  # type: ignore[operator]  # None is one of the errors
            except (KeyError, TypeError):
                parts = [printable(tokens[i] or b"") or f"(id {i})" for i in (left, right)]
                raise TokenizerError(
                    f"merges: merge {rank + 1} joins {parts[0]!r} and {parts[1]!r} to what is not in the vocabulary; "
                    "do both files belong together?"
                ) from None


def joining_pairs(ids: Mapping[bytes, int]) -> dict[Pair, int]:
    """Every way to split a token into two tokens: pair of ids -> id of the token, in the order of the mapping."""
    table: dict[Pair, int] = {}
    find = ids.get
    for token, i in ids.items():
        for cut in range(1, len(token)):
            if (left := find(token[:cut])) is not None and (right := find(token[cut:])) is not None:
                table[left, right] = i
    return table


class _WordCache(dict[str, list[int]]):
    """Word -> ids, filled on demand; emptied when full, so memory is bounded and the common words soon return."""

    def __init__(self, encode_word: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._encode_word = encode_word

    def __missing__(self, word: str) -> list[int]:
        ids = self._encode_word(word)
        if len(word) <= _LONGEST_CACHED_WORD:
            if len(self) >= _CACHED_WORDS:
                self.clear()
            self[word] = ids
        return ids

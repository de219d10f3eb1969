"""The byte-pair vocabulary: the bytes of each id, the pairs that merge, and text to ids through a cache of words.

Text is split into words by the pattern, each word becomes bytes, each byte an id, and merges do the rest (`reference`).
Words repeat, so their ids are kept; the cache is bounded and a very long word is never kept.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import ClassVar, Literal

import regex

from hornbook.errors import TokenizerError
from hornbook.tokenizer.alphabet import BYTE_ORDER, printable
from hornbook.tokenizer.documents import encode_utf8
from hornbook.tokenizer.patterns import Splitter
from hornbook.tokenizer.reference import Pair, merge_word

_CACHED_WORDS = 2**18
_LONGEST_CACHED_WORD = 64

Normalizer = Literal["NFC"]


class BytePairScheme:
    """Byte-level BPE over ordinary tokens; special tokens are the business of `Tokenizer`.

    Args:
        tokens: the bytes of each id; every single byte must be among them.
        merges: pairs of ids in order of preference; each pair joined must be a token.
        pattern: how text is split into words, see `patterns`.
        whole_words_first: a word that is a token becomes it without merging. Vocabularies with tokens that merging
            cannot reach differ by this: tiktoken does so, Hugging Face where `ignore_merges` is set.
        normalizer: the Unicode form that text is brought to first; then decoding gives that form back, not the text.

    Raises:
        TokenizerError: if tokens repeat, a byte is missing, or a merge gives no token.
    """

    kind: ClassVar[Literal["bpe"]] = "bpe"

    def __init__(
        self,
        tokens: Sequence[bytes],
        merges: Sequence[Pair],
        *,
        pattern: str = "gpt2",
        whole_words_first: bool = False,
        normalizer: Normalizer | None = None,
    ) -> None:
        self.tokens, self.merges = tuple(tokens), tuple(merges)
        self.whole_words_first, self.normalizer = whole_words_first, normalizer
        self.splitter = Splitter(pattern)
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self._check_tokens()
        self.byte_ids: list[int] = [self.ids[bytes([byte])] for byte in range(256)]
        """The id of each single byte, of length 256."""
        self.merge_table: dict[Pair, tuple[int, int]] = self._join_merges()
        """Pair of ids -> (rank, id of the joined token); of the pairs in a word the lowest rank merges first."""
        self._cache = _WordCache(self._encode_word)

    @classmethod
    def from_merges(cls, merges: Sequence[Pair], *, pattern: str) -> "BytePairScheme":
        """The vocabulary of `reference.learn_merges`: 256 bytes in `BYTE_ORDER`, then one token a merge."""
        tokens = [bytes([byte]) for byte in BYTE_ORDER]
        for left, right in merges:
            tokens.append(tokens[left] + tokens[right])
        return cls(tokens, merges, pattern=pattern)

    @property
    def pattern(self) -> str:
        """The name of the splitting pattern, or the expression if it is nobody's but yours."""
        return self.splitter.pattern

    @property
    def cut(self) -> regex.Pattern[bytes] | None:
        """Where a long text may be cut without changing its ids, see `documents.pieces`."""
        return self.splitter.cut

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which nothing is special.

        Raises:
            TokenizerError: if the text holds a lone surrogate.
        """
        if self.normalizer:
            text = unicodedata.normalize(self.normalizer, text)
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
        )
        return make, (self.tokens, self.merges)

    def _encode_word(self, word: str) -> list[int]:
        data = word.encode()
        if self.whole_words_first and data in self.ids:
            return [self.ids[data]]
        return merge_word([self.byte_ids[byte] for byte in data], self.merge_table)

    def _check_tokens(self) -> None:
        if len(self.ids) != len(self.tokens):
            repeated = next(token for i, token in enumerate(self.tokens) if self.ids[token] != i)
            raise TokenizerError(f"vocabulary: the token {printable(repeated)!r} stands there twice; expected it once")
        if missing := [byte for byte in range(256) if bytes([byte]) not in self.ids]:
            raise TokenizerError(
                f"vocabulary: {len(missing)} of the 256 single bytes are missing, the first is 0x{missing[0]:02x} "
                f"({printable(bytes(missing[:1]))!r}); expected a byte-level vocabulary, which has them all"
            )

    def _join_merges(self) -> dict[Pair, tuple[int, int]]:
        joined: dict[Pair, tuple[int, int]] = {}
        for rank, (left, right) in enumerate(self.merges):
            token = self.tokens[left] + self.tokens[right]
            if token not in self.ids:
                raise TokenizerError(
                    f"merges: merge {rank + 1} gives {printable(token)!r}, which is not in the vocabulary; "
                    "do both files belong together?"
                )
            joined.setdefault((left, right), (rank, self.ids[token]))
        return joined


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

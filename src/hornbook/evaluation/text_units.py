"""What a stream of tokens says as text, so that numbers can be told by byte and by word, and texts told apart.

Bytes and words belong to the text and not to its tokenizer: what is told by them compares across tokenizers. A word is
what stands between white space (as `str.split` has it) or special tokens, and it counts where its first byte does.
"""

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from hornbook.evaluation.token_reader import TokenReader, document_spans
from hornbook.tokenizer.tokenizer import Tokenizer

_BLANKS = re.compile(
    rb"(?:[\t-\r\x1c-\x20]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)+"
)
"""White space of Unicode in UTF-8: whatever str.isspace takes."""
_END = b"\xff"
"""Ends a document in the digest: no UTF-8 text has that byte."""


@dataclass(frozen=True)
class TextUnits:
    """Bytes and words of the text that each token of a stream's beginning stands for."""

    bytes: Int64[np.ndarray, " n"]
    words: Int64[np.ndarray, " n"]
    """Words whose first byte the token holds."""
    sha256: str
    """Of the documents' bytes, each ended by 0xff: equal for equal texts whatever their tokens are."""

    @property
    def n_bytes(self) -> int:
        """Of all of it."""
        return int(self.bytes.sum())

    @property
    def n_words(self) -> int:
        """Of all of it."""
        return int(self.words.sum())


def text_units(stream: TokenReader, tokenizer: Tokenizer, n_tokens: int) -> TextUnits:
    """Of the first `n_tokens` tokens of a stream; special tokens stand for no bytes."""
    lengths = tokenizer.byte_lengths()
    pieces = [tokenizer.token_bytes(number) if length else b"" for number, length in enumerate(lengths)]
    parting = parting_ids(tokenizer)
    bytes_of = np.zeros(n_tokens, dtype=np.int64)
    words_of = np.zeros(n_tokens, dtype=np.int64)
    digest = hashlib.sha256()
    for start, end in document_spans(stream, n_tokens):
        ids = stream.read(start, end - start)
        text = b"".join([pieces[number] for number in ids.tolist()])
        held = lengths[ids]
        if tokenizer.drops_first_blank and text.startswith(b" "):  # the tokenizer put it there
            text = text[1:]
            held[np.flatnonzero(held)[0]] -= 1
        bytes_of[start:end] = held
        ends = np.cumsum(held)
        starts = sorted({*word_starts(text), *_after_special(text, ends[np.isin(ids, parting)])})
        np.add.at(words_of, start + np.searchsorted(ends, starts, side="right"), 1)
        digest.update(text + _END)
    return TextUnits(bytes_of, words_of, digest.hexdigest())


def parting_ids(tokenizer: Tokenizer) -> list[int]:
    """Special tokens on whose two sides stand different words: all but one for an unknown character."""
    return [number for name, number in tokenizer.special_tokens.items() if "unk" not in name.casefold()]


def _after_special(text: bytes, places: Int64[np.ndarray, " cuts"]) -> list[int]:
    """Places where a special token stands right before a word: it parts what the joined text does not."""
    return [place for place in map(int, places) if place < len(text) and _BLANKS.match(text, place) is None]


def word_starts(text: bytes) -> list[int]:
    """Places of the first bytes of words in UTF-8."""
    starts = [blank.end() for blank in _BLANKS.finditer(text)]
    if text and _BLANKS.match(text) is None:
        starts.insert(0, 0)
    return starts[:-1] if starts and starts[-1] == len(text) else starts

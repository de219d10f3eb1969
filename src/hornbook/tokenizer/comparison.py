"""What tokenizers make of texts, measured: how many tokens, of how many ids, and whether the text comes back.

Files of any size are read in pieces, so memory holds one batch of text and its ids.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import regex

from hornbook.errors import TokenizerError
from hornbook.tokenizer.documents import decode_utf8, pieces
from hornbook.tokenizer.tokenizer import Tokenizer

BATCH_BYTES = 2**23
LONGEST_WORD = 16.0
"""Characters between white space, on average, beyond which a text is taken for one without blanks between words."""
LONGEST_RUN = 128

_LINE_END = regex.compile(rb"(?<=\n)", regex.REVERSE)
_IS_SPACE = np.isin(np.arange(256), list(b" \t\n\v\f\r"))

Text = bytes | Path
"""UTF-8, or a file of it."""


@dataclass(frozen=True, kw_only=True)
class TextSize:
    """How much text there is."""

    n_bytes: int = 0
    n_characters: int = 0
    n_words: int = 0
    """What white space (of ASCII) separates."""

    @property
    def has_words(self) -> bool:
        """Whether words are separated by white space at all: in Chinese, Japanese and Thai they are not."""
        return self.n_words > 0 and self.n_characters / self.n_words <= LONGEST_WORD


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One tokenizer on one kind of text."""

    size: TextSize
    n_tokens: int
    comes_back: bool
    """Whether decoding gives the same bytes."""
    error: str | None = None
    """Why this tokenizer cannot encode the text; then the other fields say nothing."""

    @property
    def bytes_per_token(self) -> float | None:
        """How much text a token holds, on average."""
        return self.size.n_bytes / self.n_tokens if self.n_tokens else None

    @property
    def tokens_per_word(self) -> float | None:
        """Fertility; None where words are not separated by white space."""
        return self.n_tokens / self.size.n_words if self.n_tokens and self.size.has_words else None

    @property
    def tokens_per_character(self) -> float | None:
        """The same for every script."""
        return self.n_tokens / self.size.n_characters if self.n_tokens else None


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Which digits and runs of white space one token holds."""

    digits: tuple[float, ...]
    """Share of the 10 numbers of one digit, the 100 of two (00 to 99), of three, of four."""
    spaces: tuple[int, ...]
    """Lengths, of 1 to `LONGEST_RUN`, at which a run of blanks alone is one token; likewise the next two."""
    tabs: tuple[int, ...]
    newlines: tuple[int, ...]


def size_of(texts: Sequence[Text]) -> TextSize:
    """Bytes, characters and words.

    Raises:
        TokenizerError: for invalid UTF-8, naming the file and the byte offset.
    """
    n_bytes = n_characters = n_words = 0
    for text in texts:
        offset, where, after_space = 0, str(text) if isinstance(text, Path) else "text", True
        for piece in _pieces(text, _LINE_END):
            decode_utf8(piece, where, offset=offset)
            offset += len(piece)
            codes = np.frombuffer(piece, dtype=np.uint8)
            space = _IS_SPACE[codes]
            n_words += int(np.count_nonzero(space[:-1] & ~space[1:])) + bool(after_space and not space[0])
            after_space = bool(space[-1])
            n_characters += int(np.count_nonzero(codes & 0xC0 != 0x80))
        n_bytes += offset
    return TextSize(n_bytes=n_bytes, n_characters=n_characters, n_words=n_words)


def measure(
    tokenizer: Tokenizer,
    texts: Sequence[Text],
    size: TextSize,
    used: npt.NDArray[np.int64],
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Measured:
    """Encode texts and decode them again.

    Args:
        tokenizer: what is measured.
        texts: what it is measured on.
        size: of these texts, see `size_of`.
        used: int64, (vocab_size,); each id that comes out is counted here.
        threads: how many encode at the same time.
        progress: called with the bytes of each batch that is done.
    """
    n_tokens, comes_back = 0, True
    try:
        for batch in _batches(texts, tokenizer.scheme.cut):
            ids, offsets = tokenizer.encode_batch(batch, threads=threads)
            n_tokens += len(ids)
            used += np.bincount(ids, minlength=len(used))
            comes_back = comes_back and tokenizer.decode_batch(ids, offsets) == [text.decode() for text in batch]
            if progress is not None:
                progress(sum(map(len, batch)))
    except TokenizerError as error:
        return Measured(size=size, n_tokens=0, comes_back=False, error=str(error))
    return Measured(size=size, n_tokens=n_tokens, comes_back=comes_back)


def coverage(tokenizer: Tokenizer) -> Coverage:
    """What one token holds, asked by encoding, so that the splitting pattern has its say."""
    numbers = [[f"{number:0{digits}d}" for number in range(10**digits)] for digits in (1, 2, 3, 4)]
    runs = [_lengths(tokenizer, char) for char in " \t\n"]
    return Coverage(
        digits=tuple(len(_single(tokenizer, texts)) / len(texts) for texts in numbers),
        spaces=runs[0],
        tabs=runs[1],
        newlines=runs[2],
    )


def ordinary_tokens(tokenizer: Tokenizer) -> dict[bytes, int]:
    """Bytes -> id of all that are no special tokens."""
    return {token: i for i, token in enumerate(tokenizer.scheme.tokens) if token is not None}


def _lengths(tokenizer: Tokenizer, char: str) -> tuple[int, ...]:
    return tuple(i + 1 for i in _single(tokenizer, [char * n for n in range(1, LONGEST_RUN + 1)]))


def _single(tokenizer: Tokenizer, texts: list[str]) -> list[int]:
    """Places of the texts that are one token each."""
    try:
        _, offsets = tokenizer.encode_batch([text.encode() for text in texts])
    except TokenizerError:  # a character tokenizer without one of them
        return []
    return [int(i) for i in np.flatnonzero(np.diff(offsets) == 1)]


def _batches(texts: Sequence[Text], cut: regex.Pattern[bytes] | None) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    n_bytes = 0
    for text in texts:
        for piece in _pieces(text, cut):
            batch.append(piece)
            n_bytes += len(piece)
            if n_bytes >= BATCH_BYTES:
                yield batch
                batch, n_bytes = [], 0
    if batch:
        yield batch


def _pieces(text: Text, cut: regex.Pattern[bytes] | None) -> Iterator[bytes]:
    with text.open("rb") if isinstance(text, Path) else BytesIO(text) as stream:
        yield from pieces(stream, cut)

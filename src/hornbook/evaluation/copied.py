"""Which passages of generated texts stand in the training text, token for token.

Every window of COPIED_LENGTH tokens of the training data has a number, its tokens as digits in a base modulo 2^64;
those whose number is one of the texts' own are compared token by token. The data are read once, a piece at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from hornbook.evaluation.samples import Tokens, grams, share
from hornbook.evaluation.token_reader import TokenReader

COPIED_LENGTH = 8
"""Tokens of a passage that counts as copied: a few words, which chance seldom repeats."""
_BASE = 0x9E3779B97F4A7C15  # odd, with bits everywhere
_PIECE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Copied:
    """Passages of `COPIED_LENGTH` tokens, those of all texts together."""

    passages: int
    copied: int
    """That stand in the training text."""
    longest: int
    """Tokens of the longest passage all of whose parts do."""
    training_tokens: int
    """That were looked through."""

    @property
    def share(self) -> float | None:
        """Copied passages over all; None where no text is long enough."""
        return share(self.copied, self.passages)


def copied(texts: Sequence[Tokens], training: Sequence[TokenReader], *, most: int) -> Copied:
    """What of `texts` stands in first tokens of the streams, `most` in all; a passage may span two documents there."""
    passages = [list(grams(text, COPIED_LENGTH)) for text in texts]
    wanted = {gram for text in passages for gram in text}
    found: set[tuple[int, ...]] = set()
    shares = shares_of(training, most)
    if wanted:
        numbers = np.sort(_numbers(np.array(list(wanted), dtype=np.int64).reshape(-1, COPIED_LENGTH)))
        for piece in _pieces(training, shares):
            windows = np.lib.stride_tricks.sliding_window_view(piece, COPIED_LENGTH)
            place = np.searchsorted(numbers, own := _numbers(windows)).clip(max=len(numbers) - 1)
            for at in np.flatnonzero(numbers[place] == own):
                gram = tuple(windows[at].tolist())
                if gram in wanted:
                    found.add(gram)
    return Copied(
        passages=sum(map(len, passages)),
        copied=sum(gram in found for text in passages for gram in text),
        longest=max((_longest([gram in found for gram in text]) for text in passages), default=0),
        training_tokens=sum(shares),
    )


def shares_of(streams: Sequence[TokenReader], most: int) -> list[int]:
    """How many tokens of each stream make `most` in all: equally many, and where a stream has fewer all of them."""
    shares = [0] * len(streams)
    by_length = sorted(range(len(streams)), key=lambda number: streams[number].n_tokens)
    for left, number in zip(range(len(streams), 0, -1), by_length, strict=True):
        shares[number] = min(streams[number].n_tokens, most // left)
        most -= shares[number]
    return shares


def _pieces(streams: Iterable[TokenReader], shares: Iterable[int]) -> Iterator[np.ndarray]:
    """Pieces that overlap, so that every window of COPIED_LENGTH lies in one of them."""
    for stream, n_tokens in zip(streams, shares, strict=True):
        for start in range(0, n_tokens - COPIED_LENGTH + 1, _PIECE):
            yield stream.read(start, min(_PIECE + COPIED_LENGTH - 1, n_tokens - start))


def _numbers(windows: np.ndarray) -> np.ndarray:
    """uint64, (n,) of (n, COPIED_LENGTH); overflow wraps, as it may."""
    found = np.zeros(len(windows), dtype=np.uint64)
    for column in range(COPIED_LENGTH):
        found = found * np.uint64(_BASE) + windows[:, column].astype(np.uint64)
    return found


def _longest(is_copied: Sequence[bool]) -> int:
    """Tokens of the longest run."""
    best = run = 0
    for each in is_copied:
        run = run + 1 if each else 0
        best = max(best, run)
    return best + COPIED_LENGTH - 1 if best else 0

"""Counted words as three arrays: what counting gives, what merging takes, and what is kept between the two."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class WordCounts(NamedTuple):
    """Distinct words and how often each stands in a text."""

    text: npt.NDArray[np.uint8]
    """Their bytes, one word after the other."""
    starts: npt.NDArray[np.int64]
    """Where each word starts, and the end; one more than there are words."""
    counts: npt.NDArray[np.int64]
    """How often each word stands there; positive."""

    @classmethod
    def of(cls, counts: Mapping[bytes, int]) -> "WordCounts":
        """The same from a mapping."""
        starts = np.cumsum([0, *map(len, counts)], dtype=np.int64)
        text = np.frombuffer(b"".join(counts), np.uint8)
        return cls(text, starts, np.fromiter(counts.values(), np.int64, len(counts)))

    @classmethod
    def joined(cls, parts: Sequence["WordCounts"]) -> "WordCounts":
        """The words of all parts, none of which stands in two of them."""
        texts, counts = [part.text for part in parts], [part.counts for part in parts]
        shifts = np.cumsum([0, *map(len, texts)])
        starts = [part.starts[:-1] + shift for part, shift in zip(parts, shifts, strict=False)]
        return cls(np.concatenate(texts), np.concatenate([*starts, shifts[-1:]]), np.concatenate(counts))

    def mapping(self) -> dict[bytes, int]:
        """Word -> count."""
        text, starts = self.text.tobytes(), self.starts.tolist()
        words = (text[start:end] for start, end in pairwise(starts))
        return dict(zip(words, self.counts.tolist(), strict=True))

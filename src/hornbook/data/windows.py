"""Fixed-length windows over one long token stream.

    stream   0 1 2 3 4 5 6 7 8 9          context_length 3, lookahead 1, stride 3
    window 0 [-------]
    window 1       [-------]              neighbours share `lookahead` tokens, so every token but the first
    window 2             [-------]        is a target exactly once when stride = context_length

There are (N - W) // stride + 1 windows of W = context_length + lookahead tokens; if they leave a remainder at the end,
one more window ends at the last token and overlaps its neighbour by more. A window may cross document boundaries.
"""

import bisect
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np

from hornbook.data.shards import Place, TokenStream
from hornbook.errors import DataError


class WindowSet(Protocol):
    """Windows of one length, numbered from 0."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def __getitem__(self, index: int) -> np.ndarray:
        """Tokens of window `index`: int64, (context_length + lookahead,)."""
        ...

    def place(self, index: int) -> Place:
        """Where the first token of window `index` lies on disk."""
        ...


class Windows:
    """A sequence of equally long token windows over a stream."""

    def __init__(self, stream: TokenStream, *, context_length: int, stride: int, lookahead: int) -> None:
        assert context_length > 0
        assert stride > 0
        assert lookahead >= 0
        self.stream = stream
        self.length = context_length + lookahead
        self.stride = stride
        if stream.n_tokens < self.length:
            raise DataError(
                f"{stream.name}: {stream.n_tokens} tokens, but one window needs {self.length} (context_length "
                f"{context_length} + {lookahead}); prepare more text, lower model.context_length, or change the split"
            )
        self._last_start = stream.n_tokens - self.length
        self._n_windows = -(-self._last_start // stride) + 1

    def __len__(self) -> int:
        return self._n_windows

    def start(self, index: int) -> int:
        """Place in the stream of the first token of window `index`."""
        if not 0 <= index < self._n_windows:
            raise IndexError(f"{self.stream.name}: window {index} is outside 0..{self._n_windows - 1}")
        return min(index * self.stride, self._last_start)

    def __getitem__(self, index: int) -> np.ndarray:
        """Tokens of window `index`: int64, (context_length + lookahead,)."""
        return self.stream.read(self.start(index), self.length)

    def place(self, index: int) -> Place:
        """Where the first token of window `index` lies on disk."""
        return self.stream.place(self.start(index))


class JoinedWindows:
    """Several sets of windows as one, numbered one after another."""

    def __init__(self, sets: Sequence[Windows]) -> None:
        self.sets = sets
        self._firsts = [0, *accumulate(len(each) for each in sets)]

    def __len__(self) -> int:
        return self._firsts[-1]

    def __getitem__(self, index: int) -> np.ndarray:
        """Tokens of window `index`: int64, (context_length + lookahead,)."""
        windows, own = self._find(index)
        return windows[own]

    def place(self, index: int) -> Place:
        """Where the first token of window `index` lies on disk."""
        windows, own = self._find(index)
        return windows.place(own)

    def _find(self, index: int) -> tuple[Windows, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} is outside 0..{len(self) - 1}")
        number = bisect.bisect_right(self._firsts, index) - 1
        return self.sets[number], index - self._firsts[number]

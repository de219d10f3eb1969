"""Which tokens of a split count as targets: a bit each, beside the shards of tuning data.

Bit i of the stream is in byte i // 8, the first of a byte in its highest bit: `np.packbits` of a row of booleans.
"""

import hashlib
from io import FileIO
from pathlib import Path

import numpy as np

from hornbook.data.index import SplitName, check_size, loss_mask_file
from hornbook.storage.disk import explained, sync_file


class LossMask:
    """The bits of one split, memory-mapped; reading is safe from several threads."""

    def __init__(self, directory: Path, split: SplitName, n_tokens: int) -> None:
        self._path = directory / loss_mask_file(split)
        self._size = n_bytes(n_tokens)
        check_size(self._path, self._size)
        # An empty file cannot be mapped.
        self._bits = np.memmap(self._path, dtype=np.uint8, mode="r") if self._size else np.empty(0, dtype=np.uint8)

    def read(self, start: int, count: int) -> np.ndarray:
        """Of tokens start .. start + count - 1: bool, (count,), a copy."""
        check_size(self._path, self._size)  # touching a map beyond the end of its file would end the process (SIGBUS)
        first = start // 8
        bits = np.unpackbits(self._bits[first : n_bytes(start + count)])
        return bits[start - 8 * first :][:count].astype(bool)


class LossMaskWriter:
    """Appends bits to the file of one split."""

    def __init__(self, directory: Path, split: SplitName) -> None:
        self._path = directory / loss_mask_file(split)
        self._digest = hashlib.sha256()
        self._left = np.empty(0, dtype=bool)  # fewer than 8, which fill no byte yet
        self.n_trained = 0
        """Bits that are set so far."""
        with explained(self._path):
            self._file: FileIO = self._path.open("wb", buffering=0)

    def append(self, trained: np.ndarray) -> None:
        """Append bits: bool, (count,).

        Raises:
            StorageError: if the disk refuses.
        """
        self.n_trained += int(trained.sum())
        bits = np.concatenate([self._left, trained])
        whole = len(bits) // 8 * 8
        self._write(bits[:whole])
        self._left = bits[whole:]

    def finish(self) -> str:
        """Write what is left, sync, close; the digest of the file."""
        self._write(self._left)
        self._left = self._left[:0]
        self.close()
        with explained(self._path):
            sync_file(self._path)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, bits: np.ndarray) -> None:
        data = left = np.packbits(bits).data
        with explained(self._path):
            while left:  # one call may write less
                left = left[self._file.write(left) :]
        self._digest.update(data)


def n_bytes(n_tokens: int) -> int:
    """Length of the file."""
    return -(-n_tokens // 8)

"""torch: a map-style data set over a memory map, by DataLoader with or without worker processes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

Read = tuple[int, int]


class Windows(Dataset[torch.Tensor]):
    """Windows of one length that share a token with the next."""

    def __init__(self, file: str, context: int, count: int) -> None:
        self._data = np.memmap(file, dtype="<u2", mode="r")
        self._context = context
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> torch.Tensor:
        start = index * self._context
        return torch.from_numpy(self._data[start : start + self._context + 1].astype(np.int64))


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Read], Callable[[Read], dict[str, Any]]]:
    """Epoch after epoch, each in its own order; a worker lives through all of them, and reads two batches ahead."""
    rows, workers = settings["rows"], settings["workers"]
    windows = Windows(settings["file"], settings["context"], rows * settings["batches"])
    fork = {"multiprocessing_context": "fork", "persistent_workers": True, "prefetch_factor": 2} if workers else {}
    loader = DataLoader(windows, batch_size=rows, shuffle=True, num_workers=workers, **fork)  # type: ignore[arg-type]

    def block() -> Read:
        count = total = 0
        for batch in loader:
            count += len(batch)
            total += int(batch.sum())
        return count, total

    return block, lambda read: {"windows": read[0], "total": read[1]}

"""numpy: slices of a memory map, stacked; a permutation says in which order."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Read = tuple[int, int]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Read], Callable[[Read], dict[str, Any]]]:
    """Epoch after epoch, each in its own order."""
    data = np.memmap(settings["file"], dtype="<u2", mode="r")
    context, rows, batches = settings["context"], settings["rows"], settings["batches"]
    rng = np.random.default_rng(0)

    def block() -> Read:
        count = total = 0
        starts = rng.permutation(rows * batches) * context
        for first in range(0, len(starts), rows):
            windows = [data[start : start + context + 1].astype(np.int64) for start in starts[first : first + rows]]
            batch = torch.from_numpy(np.stack(windows))
            count += len(batch)
            total += int(batch.sum())
        return count, total

    return block, lambda read: {"windows": read[0], "total": read[1]}

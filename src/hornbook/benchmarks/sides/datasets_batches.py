"""datasets: the windows as rows of an Arrow table on disk, in torch's format, by DataLoader without workers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, disable_progress_bars, load_from_disk
from torch.utils.data import DataLoader

Read = tuple[int, int]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Read], Callable[[Read], dict[str, Any]]]:
    """Epoch after epoch, each in its own order; ids are int32, as tokenizers leave them there."""
    disable_progress_bars()
    context, rows = settings["context"], settings["rows"]
    count = rows * settings["batches"]
    data = np.memmap(settings["file"], dtype="<u2", mode="r")
    starts = np.arange(count)[:, None] * context
    folder = str(Path(settings["directory"]) / "arrow")
    Dataset.from_dict({"tokens": list(data[starts + np.arange(context + 1)].astype(np.int32))}).save_to_disk(folder)
    table = load_from_disk(folder).with_format("torch")
    loader = DataLoader(table, batch_size=rows, shuffle=True)

    def block() -> Read:
        count = total = 0
        for batch in loader:
            count += len(batch["tokens"])
            total += int(batch["tokens"].sum())
        return count, total

    return block, lambda read: {"windows": read[0], "total": read[1]}

"""Ours: the loader of training, with the threads and the reading ahead of [data]'s defaults."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbook.config.data import DataConfig
from hornbook.data.index import ShardFile, SplitIndex
from hornbook.data.loader import Prefetcher, StepBatches, WindowSamples
from hornbook.data.order import SampleOrder
from hornbook.data.shards import TokenStream
from hornbook.data.windows import Windows

Read = tuple[int, int]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Read], Callable[[Read], dict[str, Any]]]:
    """Epoch after epoch, each in its own order."""
    index = dict(settings["index"])
    index["shards"] = tuple(ShardFile(**shard) for shard in index["shards"])
    stream = TokenStream(Path(settings["directory"]), "train", SplitIndex(**index), vocab_size=settings["vocab_size"])
    context, rows, steps = settings["context"], settings["rows"], settings["batches"]
    windows = Windows(stream, context_length=context, stride=context, lookahead=1)
    batches = StepBatches(
        WindowSamples(windows),
        SampleOrder(len(windows), seed=0),
        samples_per_step=rows,
        micro_batch_size=rows,
    )
    defaults, epoch = DataConfig(), 0

    def block() -> Read:
        nonlocal epoch
        count = total = 0
        first = epoch * steps
        with Prefetcher(
            batches,
            first_step=first,
            last_step=first + steps,
            threads=defaults.loader_threads,
            depth=defaults.prefetch,
        ) as reader:
            for _, micro_batches in reader:
                for batch in micro_batches:
                    count += len(batch.tokens)
                    total += int(batch.tokens.sum())
        epoch += 1
        return count, total

    said = f"{defaults.loader_threads} thread reads {defaults.prefetch} steps ahead"
    return block, lambda read: {"windows": read[0], "total": read[1], "said": said}

"""What `hornbook bench data` compares: how fast windows of tokens come from disk, shuffled, as tensors.

    hornbook                      the loader of training: a thread that reads steps ahead
    numpy memmap                  the plain loop: slices of a memory map, stacked, in one process
    DataLoader, no workers        a map-style data set over the same memory map
    DataLoader, 1 worker          the same in a process of its own, which sends batches over
    datasets                      the windows as rows of an Arrow table, in torch's format, by a DataLoader

A block is an epoch: every window once, in an order that is drawn anew, as batches of int64. Who takes them only adds
them up, which reads every token and shows that all sides gave the same: `windows equal`, `total equal`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hornbook.benchmarks.harness import Case
from hornbook.benchmarks.peers import peer_python
from hornbook.benchmarks.side import Side
from hornbook.data.shards import ShardWriter

VOCAB_SIZE = 32_768
DOCUMENT_TOKENS = 500
TOKENS_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The windows of an epoch."""

    context: int
    rows: int
    """Of a batch."""
    batches: int
    """Of an epoch."""

    @property
    def tokens(self) -> int:
        """In the file: windows share their last token with the next."""
        return self.context * self.rows * self.batches + 1


SHAPES = {
    "64": Shape(context=64, rows=128, batches=1000),
    "256": Shape(context=256, rows=32, batches=2000),
    "1024": Shape(context=1024, rows=8, batches=4000),
}
"""Batches of 8,192 tokens; the file is of 16 to 66 MB, and so in the system's cache after the first block."""
QUICK = Shape(context=8, rows=4, batches=6)
"""For trying the command out: seconds."""


def loading_cases(shapes: Mapping[str, Shape], directory: Path) -> Iterator[Case]:
    """Each shape; its tokens are written below `directory` when its turn comes.

    Raises:
        StorageError: if the disk refuses.
    """
    for name, shape in shapes.items():
        settings = _settings(shape, directory / name)
        yield Case(
            name=f"data, context {shape.context}",
            note=f"{shape.batches:,} batches of {shape.rows} x {shape.context} tokens a block, each window once",
            unit="tokens",
            amount=shape.context * shape.rows * shape.batches,
            equal={"windows": 0, "total": 0},
            sides=[
                Side(name="hornbook", file="hornbook_batches.py", settings=settings),
                Side(name="numpy memmap", file="memmap_batches.py", settings=settings),
                *_peers(settings),
            ],
        )


def _settings(shape: Shape, directory: Path) -> dict[str, Any]:
    """What every side is told; the file of tokens is made here, as `hornbook data prepare` makes it."""
    directory.mkdir()
    tokens = np.random.default_rng(TOKENS_SEED).integers(0, VOCAB_SIZE, shape.tokens, dtype=np.uint16)
    with ShardWriter(directory, "train", dtype="uint16", shard_tokens=shape.tokens + 1) as writer:
        writer.append(tokens, _document_lengths(shape.tokens), text_bytes=0)
        index = writer.finish()
    return {
        **dataclasses.asdict(shape),
        "directory": str(directory),
        "index": dataclasses.asdict(index),
        "file": str(directory / index.shards[0].file),
        "vocab_size": VOCAB_SIZE,
    }


def _document_lengths(tokens: int) -> np.ndarray:
    rest = tokens % DOCUMENT_TOKENS
    lengths: Sequence[int] = [DOCUMENT_TOKENS] * (tokens // DOCUMENT_TOKENS) + [rest] * (rest > 0)
    return np.array(lengths, dtype=np.int64)


def _peers(settings: Mapping[str, Any]) -> Iterator[Side]:
    for workers, words in ((0, "no workers"), (1, "1 worker")):
        told = {**settings, "workers": workers}
        yield Side(name=f"DataLoader, {words}", file="dataloader_batches.py", settings=told)
    if python := peer_python("datasets"):
        yield Side(name="datasets", file="datasets_batches.py", settings=settings, python=python)

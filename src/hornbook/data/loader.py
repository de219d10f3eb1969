"""From windows, rows or pairs to the micro-batches of a step, and threads that read them ahead.

Step s consumes the global samples [s*G, (s+1)*G), G = samples_per_step. They are cut into micro-batches of B rows, and
the micro-batches are dealt to the ranks like cards: global micro-batch k = m * world_size + rank is number m of its
rank and holds the samples s*G + [k*B, (k+1)*B).

    G = 12, B = 2, world_size = 3        rank 0: samples 0 1 | 6 7     rank 1: 2 3 | 8 9     rank 2: 4 5 | 10 11

What a step consumes is therefore the same for every world size and micro-batch size, and depends on nothing but s.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch

from hornbook.data.batch import B, TokenBatch
from hornbook.data.shards import Place
from hornbook.data.windows import WindowSet
from hornbook.errors import DataError

Given = TypeVar("Given", covariant=True)


class BatchSource(Protocol[B]):
    """What gives the batches of a step, as a pure function of the step: it may be asked in any order, by any thread."""

    def step(self, step: int) -> list[B]:
        """This rank's micro-batches of `step`, counted from 0."""
        ...


class Readable(Protocol[Given]):
    """What samples are read from: windows, rows or pairs, numbered from 0."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def batch(self, numbers: Sequence[int], sample_ids: Sequence[int]) -> Given:
        """Some of them as one batch, which knows them as the samples `sample_ids`."""
        ...

    def place(self, number: int) -> Place:
        """Where the first token of one of them lies on disk."""
        ...


class Order(Protocol):
    """Which window each global sample reads: a pure function of the sample's number."""

    n_windows: int

    def window(self, sample: int) -> int:
        """The window of global sample `sample` >= 0."""
        ...


@dataclass(frozen=True, kw_only=True)
class RowOrigin:
    """Where a row of a step comes from."""

    micro_batch: int
    """Of the step, from 0; number k is on rank k % world_size."""
    row: int
    """In its micro-batch."""
    sample: int
    """The global sample number."""
    window: int
    shard: str
    """File of the row's first token."""
    token: int
    """Number of that token in the file."""
    document: int
    """The document of the split that this token belongs to."""


class StepBatches(Generic[B]):
    """The micro-batches of each step, from its own range of global samples."""

    def __init__(
        self,
        samples: Readable[B],
        order: Order,
        *,
        samples_per_step: int,
        micro_batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        assert order.n_windows == len(samples)
        assert 0 <= rank < world_size
        rows = micro_batch_size * world_size
        if samples_per_step <= 0 or samples_per_step % rows:
            below = samples_per_step // rows * rows
            raise DataError(
                f"a step of {samples_per_step} samples cannot be cut into micro-batches of {micro_batch_size} on "
                f"{world_size} process(es); nearest: {f'{below} or ' if below else ''}{below + rows} samples"
            )
        self.samples = samples
        self.order = order
        self.samples_per_step = samples_per_step
        self.micro_batch_size = micro_batch_size
        self.rank = rank
        self.world_size = world_size

    @property
    def n_micro_batches(self) -> int:
        """Micro-batches of one step on this rank."""
        return self.samples_per_step // (self.micro_batch_size * self.world_size)

    def step(self, step: int) -> list[B]:
        """This rank's micro-batches of `step`, counted from 0."""
        return [
            self.samples.batch([self.order.window(number) for number in ids], ids)
            for ids in self._samples(step, self.rank)
        ]

    def rows(self, step: int, *, most: int | None = None) -> list[RowOrigin]:
        """Where each row of `step`, on all ranks, lies, their micro-batches cut into pieces of at most `most` rows."""
        size = most or self.micro_batch_size
        by_rank = [
            [samples[i : i + size] for samples in self._samples(step, rank) for i in range(0, len(samples), size)]
            for rank in range(self.world_size)
        ]
        origins = []
        for number, samples in enumerate(piece for pieces in zip(*by_rank, strict=True) for piece in pieces):
            for row, sample in enumerate(samples):
                window = self.order.window(sample)
                at = self.samples.place(window)
                origins.append(
                    RowOrigin(
                        micro_batch=number,
                        row=row,
                        sample=sample,
                        window=window,
                        shard=at.shard,
                        token=at.token,
                        document=at.document,
                    )
                )
        return origins

    def _samples(self, step: int, rank: int) -> list[range]:
        """The global samples of each of a rank's micro-batches."""
        size, start = self.micro_batch_size, step * self.samples_per_step
        firsts = [start + (k * self.world_size + rank) * size for k in range(self.n_micro_batches)]
        return [range(first, first + size) for first in firsts]


def evenly_spaced(n: int, most: int) -> list[int]:
    """At most so many of the numbers below `n`, as far apart as they can be."""
    count = min(n, most)
    return [i * n // count for i in range(count)]


def fixed_batches(
    samples: Readable[B],
    *,
    n_samples: int,
    batch_size: int,
    sample_ids: Sequence[int] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> list[B]:
    """The same evenly spaced samples at every call, for validation; all of them if there are fewer than `n_samples`.

    Each rank has a share of them, in which the last batch may have fewer rows; where there are fewer samples than
    ranks, some have one in which nothing counts. `sample_ids` count the samples of this set from 0, unless they are
    given.
    """
    count = min(n_samples, len(samples))
    ids = range(count) if sample_ids is None else sample_ids
    chosen = evenly_spaced(len(samples), n_samples)
    own = range(count * rank // world_size, count * (rank + 1) // world_size)
    if not own and count:
        return [samples.batch(chosen[:1], ids[:1]).blank()]
    firsts = range(own.start, own.stop, batch_size)
    pieces = [slice(first, min(first + batch_size, own.stop)) for first in firsts]
    return [samples.batch(chosen[piece], ids[piece]) for piece in pieces]


class WindowSamples:
    """Windows as samples, in which every token counts."""

    def __init__(self, windows: WindowSet) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, numbers: Sequence[int], sample_ids: Sequence[int]) -> TokenBatch:
        """Some of them as one batch."""
        tokens = torch.from_numpy(np.stack([self.windows[number] for number in numbers]))
        return TokenBatch(
            tokens=tokens,
            loss_mask=torch.ones_like(tokens, dtype=torch.bool),
            sample_ids=torch.tensor(list(sample_ids), dtype=torch.int64),
        )

    def place(self, number: int) -> Place:
        """Where the first token of one of them lies on disk."""
        return self.windows.place(number)


class Prefetcher(Generic[B]):
    """Yields (step, micro-batches) for range(first_step, last_step), in order, read ahead by threads.

    `depth` steps are read or being read ahead of the consumer, and at least one for each thread. An error while reading
    a step is raised where the consumer asks for that step. Leaving the `with` block waits for the threads, which stop
    after the step that they are at.
    """

    def __init__(
        self, source: BatchSource[B], *, first_step: int, last_step: int, threads: int, depth: int, pin: bool = False
    ) -> None:
        """`pin`: the threads also move what they read to memory from which a CUDA device copies by itself."""
        self._source = source
        self._pin = pin
        self._steps = iter(range(first_step, last_step))
        self._ahead = max(threads, depth)
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="loader")
        self._pending: deque[tuple[int, Future[list[B]]]] = deque()

    def _read_ahead(self) -> None:
        while len(self._pending) < self._ahead and (step := next(self._steps, None)) is not None:
            self._pending.append((step, self._pool.submit(self._read, step)))

    def _read(self, step: int) -> list[B]:
        batches = self._source.step(step)
        return [batch.pin() for batch in batches] if self._pin else batches

    def __iter__(self) -> Iterator[tuple[int, list[B]]]:
        return self

    def __next__(self) -> tuple[int, list[B]]:
        self._read_ahead()
        if not self._pending:
            self.close()
            raise StopIteration
        step, future = self._pending.popleft()
        batches = future.result()
        self._read_ahead()  # before the consumer starts to work, so that reading and training overlap
        return step, batches

    def close(self) -> None:
        """Drop what was read ahead and wait for the threads; may be called again."""
        self._pending.clear()
        self._steps = iter(range(0))
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        self._read_ahead()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

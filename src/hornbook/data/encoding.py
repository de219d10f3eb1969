"""Batches of documents to batches of ids, by several threads at once, always in order.

    read (calling thread) -> batches of ~2 MiB -> at most 2 per worker under way -> ids, in the order of reading

The batches are cut by the text alone, so what comes out does not depend on the number of workers. Threads are enough:
compiled kernels run beside one another and beside the reading; pure Python, for little text, gains nothing from more.
"""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from hornbook.config.data import OnError
from hornbook.data.documents import SourceReport
from hornbook.data.splits import Pieces
from hornbook.errors import DataError, HornbookError, TokenizerError
from hornbook.storage.cores import available_cores
from hornbook.tokenizer.tokenizer import Tokenizer

BATCH_BYTES = 1 << 21
BATCH_DOCUMENTS = 1 << 16
_MOST_WORKERS = 4
"""More are used only if asked for: one thread reads, and feeds no more than a few."""


@dataclass(frozen=True)
class Batch:
    """Consecutive pieces, and what their source had read when the last of them came."""

    parts: list[Pieces]
    report: SourceReport

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    @cached_property
    def texts(self) -> list[bytes]:
        """Of each piece."""
        return [text for part in self.parts for text in part.block.texts]

    @cached_property
    def splits(self) -> np.ndarray:
        """uint8, one a piece: its number in `splits.SPLITS`."""
        return np.concatenate([part.splits for part in self.parts])

    def where(self, number: int) -> str:
        """The place that a piece comes from."""
        for part in self.parts:
            if number < len(part):
                return part.block.where(number)
            number -= len(part)
        raise IndexError(number)


@dataclass(frozen=True)
class Encoded:
    """Ids of the pieces of a batch, sorted by split, so that each split's ids stand together."""

    ids: np.ndarray
    order: np.ndarray
    """int64: which piece of the batch is first, second, ... here; within a split in the order of reading."""
    lengths: np.ndarray
    """int64: ids of each piece here, its end-of-text token included; 0 for one that cannot be encoded."""
    sizes: np.ndarray
    """int64: bytes of text of each piece here; 0 for one that cannot be encoded."""
    refused: list[str] = field(default_factory=list)
    """What was said of those."""


@dataclass(frozen=True)
class Encoder:
    """All that encoding needs beside the text."""

    tokenizer: Tokenizer
    dtype: str
    end_of_text_id: int | None
    on_error: OnError

    def encode(self, batch: Batch) -> Encoded:
        """Encode a batch.

        Raises:
            DataError: naming the place of a piece that the tokenizer cannot encode, if bad input stops everything.
        """
        order = np.argsort(batch.splits, kind="stable")
        texts = [batch.texts[i] for i in order.tolist()]
        try:
            ids, offsets = self._encode(texts)
        except TokenizerError:
            return self._encode_singly(batch, order)
        return Encoded(ids, order, np.diff(offsets), np.array([len(text) for text in texts]))

    def _encode_singly(self, batch: Batch, order: np.ndarray) -> Encoded:
        """The same piece by piece, in the order of reading: which of them is it that cannot be encoded?"""
        found: list[np.ndarray] = []
        refused = []
        for i, text in enumerate(batch.texts):
            try:
                found.append(self._encode([text])[0])
            except TokenizerError as error:
                message = f"{batch.where(i)}: {error}"
                if self.on_error == "stop":
                    raise DataError(f"{message}; or leave out what cannot be encoded: --on-error skip") from None
                refused.append(message)
                found.append(np.empty(0, dtype=self.dtype))
        ids = np.concatenate([found[i] for i in order.tolist()])
        lengths = np.array([len(each) for each in found])[order]
        sizes = np.array([len(text) for text in batch.texts])[order]
        return Encoded(ids, order, lengths, np.where(lengths, sizes, 0), refused)

    def _encode(self, texts: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
        return self.tokenizer.encode_batch(texts, end_id=self.end_of_text_id, dtype=self.dtype)


def batched(pieces: Iterator[Pieces], report: SourceReport) -> Iterator[Batch]:
    """Join blocks to batches; `report` is that of the source, which reading it keeps up to date."""
    held: list[Pieces] = []
    n_documents = n_bytes = 0
    for block in pieces:
        held.append(block)
        n_documents += len(block)
        n_bytes += sum(map(len, block.block.texts))
        if n_bytes >= BATCH_BYTES or n_documents >= BATCH_DOCUMENTS:
            yield Batch(held, report.snapshot())
            held, n_documents, n_bytes = [], 0, 0
    if held:
        yield Batch(held, report.snapshot())


def encoded(batches: Iterator[Batch], encoder: Encoder, *, workers: int | None) -> Generator[tuple[Batch, Encoded]]:
    """Each batch with its ids, in order; while they are made, the calling thread reads the next.

    What reading raises is raised after all that was read before it: how far ahead the workers let it read does not
    decide whether a caller who wants no more than that meets it.

    Raises:
        DataError: as `Encoder.encode`.
    """
    workers = workers or min(available_cores(), _MOST_WORKERS)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="encode")
    under_way: deque[tuple[Batch, Future[Encoded]]] = deque()
    failures: list[HornbookError] = []
    try:
        for batch in _until_failure(batches, failures):
            under_way.append((batch, pool.submit(encoder.encode, batch)))
            if len(under_way) > 2 * workers:
                first, future = under_way.popleft()
                yield first, future.result()
        while under_way:
            first, future = under_way.popleft()
            yield first, future.result()
        for failure in failures:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _until_failure(batches: Iterator[Batch], failures: list[HornbookError]) -> Iterator[Batch]:
    """The batches up to an error, which becomes one of the `failures`; a Ctrl-C is none, and stays prompt."""
    try:
        yield from batches
    except HornbookError as error:
        failures.append(error)

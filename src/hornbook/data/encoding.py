"""Batches of documents to batches of ids, in this process or in several, always in order.

    read (this process) -> batches of ~1 MiB -> at most 2 per worker under way -> ids, in the order of reading

The batches are cut by the text alone, so what comes out does not depend on the number of workers. Workers are spawned,
which works on every system, and load the tokenizer from its directory.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hornbook.config.data import OnError
from hornbook.data.documents import SourceReport
from hornbook.data.splits import Piece
from hornbook.errors import DataError, TokenizerError
from hornbook.tokenizer.tokenizer import Tokenizer

BATCH_BYTES = 1 << 20
BATCH_DOCUMENTS = 4096


@dataclass(frozen=True)
class Batch:
    """Consecutive pieces, and what their source had read when the last of them came."""

    pieces: list[Piece]
    report: SourceReport


@dataclass(frozen=True)
class Encoded:
    """Ids of the pieces of a batch, one piece after another."""

    ids: np.ndarray
    lengths: np.ndarray
    """Ids of each piece, its end-of-text token included; 0 for one that cannot be encoded."""
    refused: list[str] = field(default_factory=list)
    """What was said of those."""


@dataclass(frozen=True)
class Encoder:
    """All that encoding needs beside the text."""

    tokenizer: Tokenizer
    dtype: str
    end_of_text_id: int | None
    on_error: OnError

    def encode(self, pieces: list[Piece]) -> Encoded:
        """Encode a batch.

        Raises:
            DataError: naming the place of a piece that the tokenizer cannot encode, if bad input stops everything.
        """
        try:
            ids, offsets = self.tokenizer.encode_batch([piece.text for piece in pieces])
        except TokenizerError:
            return self._encode_singly(pieces)
        if self.end_of_text_id is not None:
            ids = np.insert(ids, offsets[1:], self.end_of_text_id)
        lengths = np.diff(offsets) + (self.end_of_text_id is not None)
        return Encoded(ids.astype(self.dtype), lengths)

    def _encode_singly(self, pieces: list[Piece]) -> Encoded:
        """The same piece by piece: which of them is it that cannot be encoded?"""
        ids, lengths, refused = [], [], []
        for piece in pieces:
            try:
                own, _ = self.tokenizer.encode_batch([piece.text])
            except TokenizerError as error:
                message = f"{piece.where}: {error}"
                if self.on_error == "stop":
                    raise DataError(f"{message}; or leave out what cannot be encoded: --on-error skip") from None
                refused.append(message)
                lengths.append(0)
                continue
            own = own if self.end_of_text_id is None else np.append(own, np.uint32(self.end_of_text_id))
            ids.append(own.astype(self.dtype))
            lengths.append(len(own))
        joined = np.concatenate(ids) if ids else np.empty(0, dtype=self.dtype)
        return Encoded(joined, np.array(lengths, dtype=np.int64), refused)


def batched(pieces: Iterator[Piece], report: SourceReport) -> Iterator[Batch]:
    """Cut a stream of pieces into batches; `report` is that of the source, which reading it keeps up to date."""
    held: list[Piece] = []
    n_bytes = 0
    for piece in pieces:
        held.append(piece)
        n_bytes += len(piece.text)
        if n_bytes >= BATCH_BYTES or len(held) >= BATCH_DOCUMENTS:
            yield Batch(held, report.snapshot())
            held, n_bytes = [], 0
    if held:
        yield Batch(held, report.snapshot())


def encoded(
    batches: Iterator[Batch], encoder: Encoder, *, workers: int, tokenizer_path: Path
) -> Generator[tuple[Batch, Encoded]]:
    """Each batch with its ids, in order.

    Raises:
        DataError: as `Encoder.encode`, or if a worker dies.
    """
    if workers == 1:
        for batch in batches:
            yield batch, encoder.encode(batch.pieces)
        return
    pool = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(tokenizer_path, encoder.dtype, encoder.end_of_text_id, encoder.on_error),
    )
    under_way: deque[tuple[Batch, Future[Encoded]]] = deque()
    try:
        for batch in batches:
            under_way.append((batch, pool.submit(_encode_in_worker, batch.pieces)))
            if len(under_way) > 2 * workers:
                first, future = under_way.popleft()
                yield first, future.result()
        while under_way:
            first, future = under_way.popleft()
            yield first, future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a process that tokenises died ({error}); if memory is short, lower data.workers. A script that prepares "
            'data with several workers needs `if __name__ == "__main__":`'
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_worker: list[Encoder] = []
"""Of a worker process, its one encoder."""


def _start_worker(tokenizer_path: Path, dtype: str, end_of_text_id: int | None, on_error: OnError) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the parent ends the workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker.append(Encoder(Tokenizer.load(tokenizer_path), dtype, end_of_text_id, on_error))


def _end_with_parent() -> None:
    """A killed parent cannot end its workers, so they watch it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _encode_in_worker(pieces: list[Piece]) -> Encoded:
    return _worker[0].encode(pieces)

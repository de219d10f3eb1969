"""The work of preparation: read, split, tokenise, append, commit; parallel, and able to go on after a kill.

    source -> documents -> pieces, each for one split -> batches -> ids -> ShardWriter of the split
                                                              and every two seconds: sync, journal.json

Memory holds a few batches for each worker, never a shard. What is written depends on neither workers nor interruptions.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Generator, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from hornbook.config.data import DataConfig, HubSource, Source, TextSource, TokensSource
from hornbook.data import splits
from hornbook.data.documents import SourceReport
from hornbook.data.encoding import Batch, Encoded, Encoder, batched, encoded
from hornbook.data.index import (
    TOKENIZER_DIRECTORY,
    DatasetIndex,
    Skipped,
    SplitIndex,
    SplitName,
    write_index,
)
from hornbook.data.journal import Journal, write_journal
from hornbook.data.pieces import read_blocks
from hornbook.data.plan import held_out, stages, wanted_splits
from hornbook.data.shards import ShardWriter
from hornbook.data.sources import input_state
from hornbook.data.splits import SPLITS, Pieces
from hornbook.data.token_files import index_token_files
from hornbook.errors import DataError
from hornbook.storage.atomic import discard_directory
from hornbook.storage.faults import crash_point
from hornbook.tokenizer.tokenizer import Tokenizer

COMMIT_SECONDS = 2.0
"""Between two commits, and what a kill costs at most. A commit takes tens of milliseconds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrepareProgress:
    """How far a preparation is."""

    stage: SplitName
    """train is the main source, valid and test are explicit ones."""
    documents: int
    text_bytes: int
    total_bytes: int | None
    """Bytes of text in this stage, where that is known without reading."""
    tokens: int
    """In all splits so far."""
    skipped: int


ProgressCallback = Callable[[PrepareProgress], None]


class Build:
    """One attempt at filling the directory `work`, from the state that `journal` holds."""

    def __init__(
        self, config: DataConfig, tokenizer: Tokenizer, work: Path, journal: Journal, progress: ProgressCallback | None
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._work = work
        self._journal = journal
        self._progress = progress
        self._before = journal.before.snapshot()
        self._end_of_text_id = tokenizer.end_of_text_id if config.end_of_text else None
        self._dtype = "uint16" if tokenizer.vocab_size <= 1 << 16 else "uint32"
        self._writers: dict[SplitName, ShardWriter] = {}
        self._committed_at = time.monotonic()

    def run(self) -> None:
        """Do every stage that is left and write the index."""
        self._tokenizer.save(self._work / TOKENIZER_DIRECTORY)
        found: dict[SplitName, SplitIndex] = {}
        with contextlib.ExitStack() as stack:
            for split in self._written_splits():
                self._writers[split] = stack.enter_context(self._writer(split))
            for number, (split, source) in enumerate(stages(self._config)):
                if isinstance(source, TokensSource):
                    found |= self._index_tokens(split, source)
                elif number >= self._journal.stage:
                    self._read_stage(number, split, source)
            found |= {split: writer.finish() for split, writer in self._writers.items()}
        crash_point("data:index")
        self._write_index({split: found[split] for split in wanted_splits(self._config)})

    def _written_splits(self) -> list[SplitName]:
        """The splits that text is tokenised for; the others are token files that stay where they are."""
        of_tokens = {split: isinstance(source, TokensSource) for split, source in stages(self._config)}
        return [split for split in wanted_splits(self._config) if not of_tokens.get(split, of_tokens["train"])]

    def _writer(self, split: SplitName) -> ShardWriter:
        committed = self._journal.splits.get(split)
        return ShardWriter(
            self._work, split, dtype=self._dtype, shard_tokens=self._config.shard_tokens, committed=committed
        )

    def _index_tokens(self, split: SplitName, source: TokensSource) -> dict[SplitName, SplitIndex]:
        if split != "train":
            return index_token_files(self._work, source, self._tokenizer, shares={split: Fraction(1)}, max_tokens=None)
        valid, test = held_out(self._config)
        exact_valid, exact_test = splits.exactly(valid), splits.exactly(test)
        shares: dict[SplitName, Fraction] = {"valid": exact_valid, "test": exact_test}
        shares = {"train": 1 - exact_valid - exact_test, **{name: share for name, share in shares.items() if share}}
        return index_token_files(self._work, source, self._tokenizer, shares=shares, max_tokens=self._config.max_tokens)

    def _read_stage(self, number: int, split: SplitName, source: Source) -> None:
        """Read one source from where the journal stands, to its end or the limit of tokens."""
        if isinstance(source, HubSource):  # a stream can skip rows
            report = self._journal.report.snapshot()
            pieces = read_blocks(self._config, split, source, report)
        else:  # anything local is read again, though not tokenised again
            report = SourceReport()
            pieces = _after(read_blocks(self._config, split, source, report), self._journal.pieces)
        total_bytes = self._total_bytes(source)
        limit = self._config.max_tokens if split == "train" else None
        done = self._journal.pieces
        with contextlib.closing(self._encoded(pieces, report)) as batches:
            for batch, ids in batches:
                full = self._append(batch, ids, limit)
                self._tell(split, batch.report, total_bytes)
                if full:
                    report = batch.report
                    break
                done += len(batch)
                if time.monotonic() - self._committed_at >= COMMIT_SECONDS:
                    self._commit(dataclasses.replace(self._journal, pieces=done, report=batch.report))
        self._before.add(report)
        self._commit(dataclasses.replace(self._journal, stage=number + 1, pieces=0, report=SourceReport()))

    def _encoded(self, pieces: Iterator[Pieces], report: SourceReport) -> Generator[tuple[Batch, Encoded]]:
        encoder = Encoder(self._tokenizer, self._dtype, self._end_of_text_id, self._config.on_error)
        return encoded(batched(pieces, report), encoder, workers=self._config.workers)

    def _append(self, batch: Batch, encoded: Encoded, limit: int | None) -> bool:
        """Append a batch to the writers; true if it reached the limit of tokens, after which no document is taken."""
        order, lengths = encoded.order, encoded.lengths
        ends = self._n_tokens() + np.cumsum(lengths[np.argsort(order)])  # in the order of reading
        full = limit is not None and int(ends[-1]) >= limit
        taken = int(np.searchsorted(ends, limit)) + 1 if limit is not None else len(order)
        firsts = np.searchsorted(batch.splits[order], np.arange(len(SPLITS) + 1))
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        for split, first, end in zip(SPLITS, firsts, firsts[1:], strict=False):
            last = first + np.searchsorted(order[first:end], taken)  # the pieces of a split are in the order of reading
            if last > first:
                mine = slice(first, last)
                self._writers[split].append(
                    encoded.ids[offsets[first] : offsets[last]],
                    lengths[mine][lengths[mine] > 0],
                    int(encoded.sizes[mine].sum()),
                )
        for message in encoded.refused:
            self._before.skip("cannot be encoded", message)
        return full

    def _n_tokens(self) -> int:
        return sum(writer.n_tokens for writer in self._writers.values())

    def _commit(self, state: Journal) -> None:
        crash_point("data:append")
        written = {split: writer.commit() for split, writer in self._writers.items()}
        crash_point("data:sync")
        self._journal = dataclasses.replace(state, splits=written, before=self._before.snapshot())
        write_journal(self._work, self._journal)
        crash_point("data:commit")
        self._committed_at = time.monotonic()

    def _total_bytes(self, source: Source) -> int | None:
        """Only uncompressed text files say how much text there is, and only without a limit is all of it read."""
        if not isinstance(source, TextSource) or self._config.max_tokens or self._config.max_documents:
            return None
        files = input_state(source)
        compressed = any(path.endswith((".gz", ".zst")) for path, _, _ in files)
        return None if compressed else sum(size for _, size, _ in files)

    def _tell(self, stage: SplitName, report: SourceReport, total_bytes: int | None) -> None:
        if self._progress is None:
            return
        self._progress(
            PrepareProgress(
                stage=stage,
                documents=report.documents,
                text_bytes=report.text_bytes,
                total_bytes=total_bytes,
                tokens=self._n_tokens(),
                skipped=sum(report.skipped.values()) + sum(self._before.skipped.values()),
            )
        )

    def _write_index(self, found: dict[SplitName, SplitIndex]) -> None:
        skipped = self._before.left_out()
        if not found["train"].tokens:
            discard_directory(self._work)  # or it would stand in the way of a preparation with better settings
            raise DataError(
                f"{self._config.path}: nothing to train on: {self._before.documents} documents were read"
                f"{_first_words(skipped)}; add text, or lower data.valid_fraction and data.test_fraction"
            )
        main = self._config.source
        write_index(
            self._work,
            DatasetIndex(
                tokenizer_fingerprint=self._tokenizer.fingerprint,
                vocab_size=self._tokenizer.vocab_size,
                end_of_text_id=main.end_of_text_id if isinstance(main, TokensSource) else self._end_of_text_id,
                splits=found,
                skipped=skipped,
                made_from=self._journal.plan,
            ),
        )


def _after(blocks: Iterator[Pieces], count: int) -> Iterator[Pieces]:
    """All but the first `count` pieces."""
    for pieces in blocks:
        if count < len(pieces):
            yield pieces.after(count) if count else pieces
        count = max(0, count - len(pieces))


def _first_words(skipped: dict[str, Skipped]) -> str:
    return "".join(f", {reason.count} skipped ({reason.first})" for reason in skipped.values())

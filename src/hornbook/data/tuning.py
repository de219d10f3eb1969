"""`prepare_tuning`: records to conversations or pairs as ids, with the bits that say which of them are trained.

The data set is like one of text, in the same files, with a loss mask beside each split; its tokenizer has the chat
template and the control tokens of that. A preparation that was interrupted starts over: it takes seconds.
"""

import contextlib
import dataclasses
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hornbook.config.run import Config
from hornbook.data.build import PrepareProgress, ProgressCallback
from hornbook.data.dataset import Dataset
from hornbook.data.index import TOKENIZER_DIRECTORY, DatasetIndex, SplitIndex, SplitName, write_index
from hornbook.data.loss_mask import LossMaskWriter
from hornbook.data.plan import make_tuning_plan, wanted_splits
from hornbook.data.prepare import find_made, make
from hornbook.data.rendering import Answers, TuningReport
from hornbook.data.shards import ShardWriter
from hornbook.data.tuning_rows import read_rows
from hornbook.errors import DataError
from hornbook.storage.atomic import discard_directory
from hornbook.storage.faults import crash_point
from hornbook.tokenizer.chat import load_template
from hornbook.tokenizer.tokenizer import Tokenizer

_HELD_TOKENS = 1 << 16
"""Tokens that are gathered before they are written."""
_ROWS_A_TELLING = 64


def prepare_tuning(
    config: Config, tokenizer: Tokenizer, *, force: bool = False, progress: ProgressCallback | None = None
) -> Dataset:
    """Make the data set of conversations or pairs at `config.data.path` and open it, unless it is made already.

    Args:
        config: `data.stage` is sft or dpo; `chat` names the template.
        tokenizer: it may lack the template and its control tokens; in the data set it has them.
        force: make it anew, and replace a different one.
        progress: called after every few rows.

    Raises:
        DataError: for bad input; if a different data set stands there; if nothing is left to train on.
        TokenizerError: if there is no such template.
        StorageError: if the disk refuses.
    """
    grown = with_template(config, tokenizer)
    plan = make_tuning_plan(config, grown)
    return make(
        config.data.path,
        plan,
        lambda work, _: _Build(config, grown, plan, work, progress).run(),
        force=force,
        after_refusal="The same command starts over",
    )


def find_tuning(config: Config, tokenizer: Tokenizer) -> Dataset | None:
    """The data set that `prepare_tuning` would make, if it is made already; None if nothing is.

    Raises:
        DataError: if what is made differs, naming how.
    """
    return find_made(config.data.path, make_tuning_plan(config, with_template(config, tokenizer)))


def with_template(config: Config, tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with the chat template that `[chat]` names, and its control tokens after all others."""
    return tokenizer.with_chat_template(load_template(config.chat))


class _Build:
    """Fills the directory `work`."""

    def __init__(
        self,
        config: Config,
        tokenizer: Tokenizer,
        plan: dict[str, object],
        work: Path,
        progress: ProgressCallback | None,
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._plan = plan
        self._work = work
        self._progress = progress
        self._report = TuningReport()

    def run(self) -> None:
        """Write every split and the index."""
        self._tokenizer.save(self._work / TOKENIZER_DIRECTORY, overwrite=True)
        dtype = "uint16" if self._tokenizer.vocab_size <= 1 << 16 else "uint32"
        with contextlib.ExitStack() as stack:
            writers = {
                split: stack.enter_context(
                    _SplitWriter(self._work, split, dtype, self._config.data.shard_tokens, self._tokenizer)
                )
                for split in wanted_splits(self._config.data)
            }
            for row in read_rows(self._config, self._tokenizer, self._report):
                writers[row.split].append(row.answers)
                if self._report.documents % _ROWS_A_TELLING == 1:
                    self._tell(row.stage, writers)
            found = {split: writer.finish() for split, writer in writers.items()}
        crash_point("data:index")
        self._write_index(found)

    def _tell(self, stage: SplitName, writers: "dict[SplitName, _SplitWriter]") -> None:
        if self._progress is None:
            return
        self._progress(
            PrepareProgress(
                stage=stage,
                documents=self._report.documents,
                text_bytes=sum(writer.text_bytes for writer in writers.values()),
                total_bytes=None,
                tokens=sum(writer.n_tokens for writer in writers.values()),
                skipped=sum(self._report.skipped.values()),
            )
        )

    def _write_index(self, found: dict[SplitName, SplitIndex]) -> None:
        skipped = self._report.left_out()
        if not found["train"].tokens:
            discard_directory(self._work)  # or it would stand in the way of a preparation with better settings
            left_out = "".join(f", {each.count} left out: {reason} ({each.first})" for reason, each in skipped.items())
            raise DataError(
                f"{self._config.data.path}: nothing to train on: {self._report.documents} records were read{left_out}; "
                "add records, or lower data.valid_fraction and data.test_fraction"
            )
        write_index(
            self._work,
            DatasetIndex(
                tokenizer_fingerprint=self._tokenizer.fingerprint,
                vocab_size=self._tokenizer.vocab_size,
                end_of_text_id=None,
                splits=found,
                skipped=skipped,
                made_from=self._plan,
                stage=self._config.data.stage,
                notes=self._report.notes,
            ),
        )


class _SplitWriter:
    """Tokens and loss mask of one split."""

    def __init__(self, work: Path, split: SplitName, dtype: str, shard_tokens: int, tokenizer: Tokenizer) -> None:
        self._shards = ShardWriter(work, split, dtype=dtype, shard_tokens=shard_tokens)
        self._mask = LossMaskWriter(work, split)
        self._byte_lengths = tokenizer.byte_lengths()
        self._ids: list[int] = []
        self._trained: list[bool] = []
        self._lengths: list[int] = []
        self.n_tokens = 0
        self.text_bytes = 0

    def append(self, answers: Answers) -> None:
        """Append a document for each."""
        for one in answers:
            self._ids += one.ids
            self._trained += one.trained
            self._lengths.append(len(one.ids))
            self.n_tokens += len(one.ids)
        if len(self._ids) >= _HELD_TOKENS:
            self._write()

    def _write(self) -> None:
        ids = np.array(self._ids, dtype=np.int64)
        text_bytes = int(self._byte_lengths[ids].sum())
        self._shards.append(ids, np.array(self._lengths, dtype=np.int64), text_bytes)
        self._mask.append(np.array(self._trained, dtype=bool))
        self.text_bytes += text_bytes
        self._ids, self._trained, self._lengths = [], [], []

    def finish(self) -> SplitIndex:
        """Write what is left and describe the split."""
        self._write()
        return dataclasses.replace(
            self._shards.finish(), loss_mask_sha256=self._mask.finish(), trained_tokens=self._mask.n_trained
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._shards.close()
        self._mask.close()

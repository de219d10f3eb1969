"""The rows of tuning data, each for its split: what preparing writes and counting counts.

By hash: the first message of the user decides, so that rows with the same prompt are on the same side, wherever they
stand. By position: the first records of the source are for training, the next for validation, the last for testing.
"""

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import NamedTuple

from hornbook.config.data import DataConfig, Source
from hornbook.config.run import Config
from hornbook.data.documents import Gate, SourceReport
from hornbook.data.index import SplitName
from hornbook.data.plan import held_out, stages
from hornbook.data.records import open_records
from hornbook.data.rendering import Answers, Renderer, TuningReport
from hornbook.data.splits import boundaries
from hornbook.tokenizer.tokenizer import Tokenizer

Side = Callable[[int, bytes], SplitName]
"""Number of a record in its source and hash of its prompt -> split."""


class TuningRow(NamedTuple):
    """A conversation or a pair."""

    split: SplitName
    answers: Answers
    stage: SplitName
    """Where it was read: train is the main source, valid and test are explicit ones."""


def read_rows(config: Config, tokenizer: Tokenizer, report: TuningReport) -> Iterator[TuningRow]:
    """The rows of all sources.

    Args:
        config: sources, splits, and what becomes of rows that do not fit.
        tokenizer: one that has the chat template and its control tokens.
        report: kept up to date while rows are read.

    Raises:
        DataError: at the first bad record or row, if that is to stop everything; if a source holds no records.
    """
    renderer = Renderer(config, tokenizer, report)
    by_hash = config.data.split == "documents" and config.data.valid is None and config.data.test is None
    trained_on: set[bytes] = set()
    for stage, source in stages(config.data):
        limit, n_tokens = config.data.max_tokens if stage == "train" else None, 0
        for split, answers, prompt in _placed(config.data, stage, source, renderer, report):
            if split == "train" and not by_hash:
                trained_on.add(prompt)
            elif prompt in trained_on:
                report.note(f"rows of {split} whose prompt is one of train as well")
            yield TuningRow(split, answers, stage)
            n_tokens += sum(len(one.ids) for one in answers)
            if limit is not None and n_tokens >= limit:
                break


def _placed(
    config: DataConfig, stage: SplitName, source: Source, renderer: Renderer, report: TuningReport
) -> Iterator[tuple[SplitName, Answers, bytes]]:
    """The rows of one source, with their splits and the hashes of their prompts."""
    most = config.max_documents if stage == "train" else None
    first = report.documents
    gate = Gate(config.on_error, report, None if most is None else first + most)
    side: Side = _sides(config, renderer, most) if stage == "train" else lambda number, prompt: stage
    for record in open_records(source, gate, stage=renderer.stage):
        number = report.documents - first - 1
        if (found := renderer.render(record, gate)) is not None:
            answers, prompt = found
            digest = blake2b(prompt.encode(), digest_size=8).digest()
            yield side(number, digest), answers, digest


def _sides(config: DataConfig, renderer: Renderer, most: int | None) -> Side:
    """How the main source is split."""
    valid, test = held_out(config)
    if config.split == "position" and (valid or test):
        # Counted before anything is left out, so that no row changes sides when a template or a limit does.
        gate = Gate("skip", SourceReport(), most)
        total = sum(1 for _ in open_records(config.source, gate, stage=renderer.stage))
        train_end, valid_end = boundaries(total, valid_fraction=valid, test_fraction=test)
        return lambda number, _: "train" if number < train_end else "valid" if number < valid_end else "test"

    def by_hash(_: int, prompt: bytes) -> SplitName:
        place = int.from_bytes(prompt, "little") / 2**64
        return "valid" if place < valid else "test" if place < valid + test else "train"

    return by_hash

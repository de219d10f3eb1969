"""`hornbook data` for conversations and pairs of answers: preparing them, and how much there is."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hornbook.config.run import Config
    from hornbook.data.dataset import Dataset
    from hornbook.data.index import SplitName
    from hornbook.data.tuning_count import TuningCounts


def counts(dataset: Dataset) -> dict[SplitName, dict[str, float | int]]:
    """Conversations or pairs, tokens, trained tokens and lengths of each split."""
    from hornbook.data.tuning_count import count_prepared

    return {name: numbers(found, dataset.stage) for name, found in count_prepared(dataset).items()}


def numbers(found: TuningCounts, stage: str) -> dict[str, float | int]:
    """The same of one split, with the rows called what they are."""
    rest = asdict(found)
    return {"pairs" if stage == "dpo" else "conversations": rest.pop("rows"), **rest}


def count_sources(config: Config, tokenizer_path: Path | None, what: str) -> None:
    """Count what preparing would give.

    Raises:
        DataError: if there is no tokenizer to count with; as preparing.
    """
    from hornbook.cli.data_view import print_table
    from hornbook.data.rendering import TuningReport
    from hornbook.data.tuning import with_template
    from hornbook.data.tuning_count import count_rows
    from hornbook.errors import DataError
    from hornbook.tokenizer.tokenizer import Tokenizer
    from hornbook.tracking.console import emit, speaks_to_people
    from hornbook.tracking.progress import Progress

    if tokenizer_path is None:
        raise DataError(
            f"{config.tokenizer.path}: no tokenizer there, and {config.data.stage} data are counted in tokens; train "
            "it, or name one: --tokenizer"
        )
    report = TuningReport()
    with Progress("count", unit="records") as progress:
        tokenizer = with_template(config, Tokenizer.load(tokenizer_path))
        found = count_rows(config, tokenizer, report, progress=lambda done: progress.update(done))
    by_split = {name: numbers(each, config.data.stage) for name, each in found.items()}
    if speaks_to_people():
        print_table(by_split)
    for name, each in by_split.items():
        emit("count", console="auto", source=what, split=name, tokenizer=tokenizer_path, **each)
    show_left_out({reason: (n, report.examples[reason]) for reason, n in report.skipped.items()}, report.notes)


def show_left_out(left_out: Mapping[str, tuple[int, str]], notes: Mapping[str, int]) -> None:
    """What became of rows: reason -> how many were left out and the first, and what was done to others."""
    from hornbook.tracking.console import emit, speaks_to_people

    if speaks_to_people():
        for reason, (count, first) in left_out.items():
            print(f"left out {count:,}: {reason}, first {first}")
        for note, count in notes.items():
            print(f"{note}: {count:,}")
    for reason, (count, first) in left_out.items():
        emit("skipped", reason=reason, count=count, first=first)
    for note, count in notes.items():
        emit("note", note=note, count=count)

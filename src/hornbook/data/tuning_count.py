"""How much there is in tuning data, prepared or not: conversations or pairs, tokens, trained ones, and lengths."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.data.index import SplitName
from hornbook.data.plan import wanted_splits
from hornbook.data.rendering import TuningReport
from hornbook.data.tuning_rows import read_rows
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class TuningCounts:
    """Of one split."""

    rows: int
    """Conversations or pairs."""
    tokens: int
    """Of pairs, the prompt counts with either answer."""
    trained_tokens: int
    mean_tokens: float
    """Of a conversation, or of a prompt with one of its answers; so are the following."""
    median_tokens: int
    p95_tokens: int
    """19 of 20 have no more."""
    most_tokens: int


@dataclass
class _Lengths:
    """Of the documents of one split."""

    lengths: list[int] = field(default_factory=list)
    trained_tokens: int = 0


def count_prepared(dataset: Dataset) -> dict[SplitName, TuningCounts]:
    """What a prepared data set of conversations or pairs holds, empty splits included."""
    found = {}
    for name, split in dataset.index.splits.items():
        lengths = dataset.split(name).document_lengths() if split.tokens else np.empty(0, dtype=np.int64)
        found[name] = _counts(lengths, split.trained_tokens or 0, is_pairs=dataset.stage == "dpo")
    return found


def count_rows(
    config: Config, tokenizer: Tokenizer, report: TuningReport, *, progress: Callable[[int], None] | None = None
) -> dict[SplitName, TuningCounts]:
    """What preparing would give, without writing anything.

    Args:
        config: as for `prepare_tuning`.
        tokenizer: with the chat template.
        report: what is left out is counted here.
        progress: called with the number of records read, after each row.

    Raises:
        DataError: as `prepare_tuning`.
    """
    found = {name: _Lengths() for name in wanted_splits(config.data)}
    for row in read_rows(config, tokenizer, report):
        found[row.split].lengths += [len(one.ids) for one in row.answers]
        found[row.split].trained_tokens += sum(sum(one.trained) for one in row.answers)
        if progress is not None:
            progress(report.documents)
    is_pairs = config.data.stage == "dpo"
    return {
        name: _counts(np.array(each.lengths, dtype=np.int64), each.trained_tokens, is_pairs=is_pairs)
        for name, each in found.items()
    }


def _counts(lengths: np.ndarray, trained_tokens: int, *, is_pairs: bool) -> TuningCounts:
    median, p95, most = (
        np.percentile(lengths, (50, 95, 100), method="inverted_cdf").tolist() if len(lengths) else (0, 0, 0)
    )
    return TuningCounts(
        rows=len(lengths) // 2 if is_pairs else len(lengths),
        tokens=int(lengths.sum()),
        trained_tokens=trained_tokens,
        mean_tokens=round(float(lengths.mean()), 1) if len(lengths) else 0.0,
        median_tokens=int(median),
        p95_tokens=int(p95),
        most_tokens=int(most),
    )

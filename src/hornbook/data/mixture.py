"""What a run is trained on: one prepared data set, or several by weight.

    sample g -> (part, k) = Proportions.place(g) -> window of that part's own order at k

Each part goes through its own windows, epoch after epoch, as it would alone: a small part with a large weight is read
several times while a large one is not read whole. A mixture of one data set is that data set.
"""

import bisect
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from hornbook.config.data import DataConfig
from hornbook.data.batch import TokenBatch
from hornbook.data.card import data_card
from hornbook.data.dataset import Dataset
from hornbook.data.index import SplitName
from hornbook.data.loader import WindowSamples, fixed_batches
from hornbook.data.order import OrderKind, SampleOrder
from hornbook.data.proportions import Proportions
from hornbook.data.windows import JoinedWindows, Windows
from hornbook.errors import DataError
from hornbook.storage.digest import bytes_sha256
from hornbook.tokenizer.tokenizer import Tokenizer


class MixedOrder:
    """Which window each global sample reads, the windows of all parts numbered one after another."""

    def __init__(self, orders: Sequence[SampleOrder], proportions: Proportions) -> None:
        """`orders`: how each part is read, by itself."""
        self.orders = orders
        self.proportions = proportions
        self._firsts = [0, *accumulate(order.n_windows for order in orders)]
        self.n_windows = self._firsts[-1]

    def window(self, sample: int) -> int:
        """The window that global sample `sample` >= 0 reads."""
        part, own = self.locate(sample)
        return self._firsts[part] + own

    def locate(self, sample: int) -> tuple[int, int]:
        """The part that global sample `sample` >= 0 reads, and which of the part's own windows."""
        part, number = self.proportions.place(sample)
        return part, self.orders[part].window(number)

    def epochs(self, samples: int) -> list[float]:
        """How often the first `samples` samples go through each part."""
        counts = self.proportions.counts(samples)
        return [count / order.n_windows for count, order in zip(counts, self.orders, strict=True)]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Windows, rows or pairs to validate on."""

    batches: list[Any]
    """Each of one data set."""
    parts: list[str]
    """The name of each batch's data set."""
    remark: str | None
    """For people: why there are fewer than were asked for."""


class Mixture:
    """One or several prepared data sets, opened, with what a run asks of one."""

    def __init__(self, datasets: Sequence[Dataset], weights: Sequence[float]) -> None:
        self.datasets = datasets
        self.weights = weights
        self.proportions = Proportions(weights)
        self.names = _names([dataset.path for dataset in datasets])

    @classmethod
    def open(cls, config: DataConfig) -> "Mixture":
        """What `[data]` says to train on.

        Raises:
            DataError: if a data set is absent or incomplete, or was prepared for another stage.
        """
        paths = config.mixture or (config.path,)
        datasets = [Dataset.open(path) for path in paths]
        for dataset in datasets:
            _check_stage(config, dataset)
        return cls(datasets, config.weights or (1.0,))

    @staticmethod
    def remark(config: DataConfig) -> str | None:
        """For people: that `path` was set and is not trained on."""
        if not config.mixture or config.path in (*config.mixture, DataConfig().path):
            return None
        return f"data.path = {config.path} is not in data.mixture, so training does not read it"

    @property
    def digest(self) -> str:
        """Of all content, in its order; of a single data set its own."""
        digests = [dataset.digest for dataset in self.datasets]
        return digests[0] if len(digests) == 1 else bytes_sha256(" ".join(digests).encode())

    @property
    def words(self) -> str:
        """For people: the paths, with their shares if there are several."""
        if len(self.datasets) == 1:
            return str(self.datasets[0].path)
        shares = zip(self.datasets, self.proportions.shares, strict=True)
        return ", ".join(f"{dataset.path} ({share:.3g})" for dataset, share in shares)

    def cards(self) -> list[dict[str, object]]:
        """What is known of each data set, with its share of the windows."""
        shares = zip(self.datasets, self.proportions.shares, strict=True)
        return [{**data_card(dataset), "share": share} for dataset, share in shares]

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the data set whose tokenizer has the most ids."""
        return max(self.datasets, key=lambda dataset: dataset.vocab_size).tokenizer()

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Refuse a tokenizer under which the ids of any data set would mean something else.

        Raises:
            DataError: naming the data set and the first id that differs.
        """
        for dataset in self.datasets:
            dataset.check_tokenizer(tokenizer)

    def reading(
        self, *, context_length: int, lookahead: int, stride: int, seed: int, kind: OrderKind, rows: int
    ) -> tuple[JoinedWindows, MixedOrder]:
        """All windows to train on, and in which order they are read, `rows` in a step.

        Raises:
            DataError: if a data set is too short for a window.
        """
        windows = self._windows("train", context_length=context_length, lookahead=lookahead, stride=stride)
        lanes = [max(1, round(rows * share)) for share in self.proportions.shares]
        orders = [
            SampleOrder(len(own), seed=seed, kind=kind, lanes=own_lanes)
            for own, own_lanes in zip(windows, lanes, strict=True)
        ]
        return JoinedWindows(windows), MixedOrder(orders, self.proportions)

    def _windows(self, split: SplitName, *, context_length: int, lookahead: int, stride: int) -> list[Windows]:
        cut = functools.partial(Windows, context_length=context_length, lookahead=lookahead, stride=stride)
        return [cut(dataset.split(split)) for dataset in self.datasets]

    def held_out(
        self,
        *,
        context_length: int,
        lookahead: int,
        n_windows: int,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> HeldOut:
        """A rank's share of evenly spaced windows of each data set in the mixture's proportions, always the same.

        As many as are asked for or, where a data set has too few for its share, as leave the proportions right. The
        noise that an objective keys by `sample_ids` is spread evenly over each data set.

        Raises:
            DataError: if a data set has no validation split, or it is too short for a window.
        """
        windows = self._windows("valid", context_length=context_length, lookahead=lookahead, stride=context_length)
        most = min(n_windows, sum(map(len, windows)))
        total = bisect.bisect_left(range(1, most + 1), 1, key=lambda n: len(self._scarce(windows, n)))
        ids: list[list[int]] = [[] for _ in windows]
        for sample in range(total):
            ids[self.proportions.place(sample)[0]].append(sample)
        batches: list[TokenBatch] = []
        parts: list[str] = []
        for name, own, own_ids in zip(self.names, windows, ids, strict=True):
            made = fixed_batches(
                WindowSamples(own),
                n_samples=len(own_ids),
                batch_size=batch_size,
                sample_ids=own_ids,
                rank=rank,
                world_size=world_size,
            )
            batches += made
            parts += [name] * len(made)
        remark = None
        if total < most:
            name = self._scarce(windows, total + 1)[0]
            remark = (
                f"validation takes {total} windows instead of {most}: for its share of more, the validation split of "
                f"{name} is too short"
            )
        return HeldOut(batches=batches, parts=parts, remark=remark)

    def _scarce(self, windows: Sequence[Windows], samples: int) -> list[str]:
        """The data sets with too few windows for their part of so many samples."""
        counts = self.proportions.counts(samples)
        return [name for name, own, count in zip(self.names, windows, counts, strict=True) if count > len(own)]


def _check_stage(config: DataConfig, dataset: Dataset) -> None:
    if dataset.stage != config.stage:
        raise DataError(
            f'{dataset.path}: holds data of stage "{dataset.stage}", but data.stage = "{config.stage}"; set data.stage '
            "to what the data are, or data.path to a directory of the other kind: hornbook data prepare CONFIG"
        )


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, or all of it where two are alike."""
    short = [path.name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]

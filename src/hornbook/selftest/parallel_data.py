"""The rows that `hornbook verify-parallel` trains on: those of the configuration's data set, or random ones.

How many tokens of a row count depends on its number in the step: none in the first two, few in the next, all in the
last. A mean of means, or a rank that is weighed like another, then gives another gradient.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hornbook.config.run import Config
from hornbook.data.batch import TokenBatch
from hornbook.data.loader import BatchSource, Order, StepBatches, WindowSamples
from hornbook.data.mixture import Mixture
from hornbook.data.order import SampleOrder
from hornbook.data.shards import Place
from hornbook.data.windows import WindowSet
from hornbook.distributed.process_group import Processes
from hornbook.training.reading import windows_of
from hornbook.training.start import shape_of, tokenizer_of

N_RANDOM_WINDOWS = 500
EMPTY_ROWS = 2


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Where rows come from."""

    data: Mixture | None
    """None: random tokens."""
    vocab_size: int
    mask_id: int | None
    is_small: bool
    """Whether ids are taken modulo the vocabulary, which is smaller than the data set's."""

    @classmethod
    def of(cls, config: Config, *, is_small: bool) -> "Tokens":
        """Those of the data set that `[data]` names, if it is there.

        Raises:
            HornbookError: if it is there and cannot be read.
        """
        paths = config.data.mixture or (config.data.path,)
        data = Mixture.open(config.data) if all(path.exists() for path in paths) else None
        if data is None or is_small:
            vocab_size = config.model.vocab_size or config.tokenizer.vocab_size
            return cls(data=data, vocab_size=vocab_size, mask_id=vocab_size - 1, is_small=is_small)
        tokenizer = tokenizer_of(config, data, None)
        vocab_size = shape_of(config, tokenizer).vocab_size
        return cls(data=data, vocab_size=vocab_size, mask_id=tokenizer.mask_id, is_small=False)

    @property
    def words(self) -> str:
        """For people."""
        return "random tokens, since there is no data set yet" if self.data is None else f"rows of {self.data.words}"

    def source(self, config: Config, *, lookahead: int, rows: int, processes: Processes) -> BatchSource[TokenBatch]:
        """The micro-batches of this process, as training deals them, with uneven masks."""
        assert config.train.micro_batch_size != "auto"
        length, seed = config.model.context_length, config.run.seed
        windows: WindowSet
        order: Order
        if self.data is None:
            windows = _RandomWindows(length + lookahead, self.vocab_size - 1, seed)
            order = SampleOrder(len(windows), seed=seed, kind=config.data.order, lanes=rows)
        else:
            windows, order = windows_of(config, self.data, lookahead=lookahead)
        dealt = StepBatches(
            WindowSamples(_Below(windows, self.vocab_size - 1) if self.is_small else windows),
            order,
            samples_per_step=rows,
            micro_batch_size=config.train.micro_batch_size,
            rank=processes.rank,
            world_size=processes.world_size,
        )
        return UnevenMasks(dealt, rows)


class UnevenMasks:
    """A source whose rows have different numbers of targets, whoever has them."""

    def __init__(self, source: BatchSource[TokenBatch], rows: int) -> None:
        self.source = source
        self.rows = rows

    def step(self, step: int) -> list[TokenBatch]:
        """This rank's micro-batches of `step`."""
        return [replace(batch, loss_mask=self._mask(batch)) for batch in self.source.step(step)]

    def _mask(self, batch: TokenBatch) -> Tensor:
        width = batch.tokens.shape[1]
        masks = [counted(sample, sample % self.rows, self.rows, width) for sample in batch.sample_ids.tolist()]
        return torch.from_numpy(np.stack(masks))


def counted(sample: int, place: int, rows: int, width: int) -> np.ndarray:
    """Which tokens of a row count, (width,) bool: none, or the more the later it stands in its step, and one at least.

    place: of the row in its step of `rows`.
    """
    if place < EMPTY_ROWS:
        return np.zeros(width, dtype=np.bool_)
    share = ((place - EMPTY_ROWS + 1) / (rows - EMPTY_ROWS)) ** 2
    mask: np.ndarray = np.random.default_rng(sample).random(width) < share
    mask[width // 2] = True
    return mask


class _RandomWindows:
    """Tokens of which a few are frequent, as in text; a function of the window's number."""

    def __init__(self, width: int, vocab_size: int, seed: int) -> None:
        self.width, self.vocab_size, self.seed = width, vocab_size, seed

    def __len__(self) -> int:
        return N_RANDOM_WINDOWS

    def __getitem__(self, index: int) -> np.ndarray:
        drawn = np.random.default_rng((self.seed, index)).random(self.width)
        tokens: np.ndarray = (self.vocab_size * drawn**3).astype(np.int64)
        return tokens

    def place(self, index: int) -> Place:
        return Place(shard="random tokens", token=index * self.width, document=index)


class _Below:
    """Windows with ids modulo a number."""

    def __init__(self, windows: WindowSet, below: int) -> None:
        self.windows, self.below = windows, below

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> np.ndarray:
        tokens: np.ndarray = self.windows[index] % self.below
        return tokens

    def place(self, index: int) -> Place:
        return self.windows.place(index)

"""A KV cache whose rows lie end to end as one, so that tokens of several rows are read as one row of tokens.

    rows of 8    a a a . . . . .  b b b b b . . .        read: a's 3rd token and b's 4th and 5th
                       ^ slot 2         ^ ^ slots 11, 12

Each matrix product then serves all of them without padding, and each span of tokens attends to its own row alone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.models.cache import KVCache, Slots


class Reading(NamedTuple):
    """`n_tokens` tokens at positions start, start + 1, ... of a row."""

    row: int
    start: int
    n_tokens: int


class SlotCache(KVCache):
    """Keys and values of `n_rows` rows of `row_length` positions each, as one row of a KVCache.

    Say what is read with `aim`, then give the model the tokens of all readings as one row, and their positions.
    """

    def __init__(
        self,
        config: ModelConfig,
        n_rows: int,
        row_length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(config, 1, n_rows * row_length, dtype=dtype, device=device)
        self.row_length = row_length
        self._aimed = Slots(torch.zeros(1, 0, dtype=torch.int64), None, 0, None)
        self._offsets = torch.zeros(1, 0, dtype=torch.int64)

    def aim(self, readings: Sequence[Reading]) -> Int[Tensor, "1 n"]:
        """The positions of what is read next, reading after reading; the caller sees to it that they fit."""
        device = self.lengths.device
        offsets = [reading.row * self.row_length for reading in readings for _ in range(reading.n_tokens)]
        positions = [position for each in readings for position in range(each.start, each.start + each.n_tokens)]
        self._offsets = torch.tensor([offsets], device=device)
        found = torch.tensor([positions], device=device)
        spans, first = [], 0
        for row, start, n_tokens in readings:
            slot = row * self.row_length
            spans.append((first, first + n_tokens, slot, slot + start + n_tokens))
            first += n_tokens
        origin = spans[0][3] - readings[0].n_tokens if len(readings) == 1 else None
        self._aimed = Slots(found + self._offsets, origin, max(span[3] for span in spans), None, tuple(spans))
        return found

    def place(self, positions: Int[Tensor, "b t"], *, whole: bool = False) -> Slots:
        """Where the readings that were aimed at lie."""
        assert not whole
        assert positions.shape == self._offsets.shape
        return self._aimed

    def earlier(self, tokens: Int[Tensor, "b t"], positions: Int[Tensor, "b t"]) -> Int[Tensor, "length_less_1 b t"]:
        """As KVCache; what stands before a row's first token is not another row's last one."""
        self.tokens.scatter_(1, positions + self._offsets, tokens)
        before = [positions - distance for distance in range(1, self.ngram_length)]
        return torch.stack(
            [torch.where(at >= 0, self.tokens.gather(1, at.clamp(min=0) + self._offsets), -1) for at in before]
        )

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of row `target` those of row `source`."""
        here, there = source * self.row_length, target * self.row_length
        for tensor in (*self.keys, *self.values):
            tensor[:, :, there : there + length] = tensor[:, :, here : here + length]
        if self.tokens.shape[1]:
            self.tokens[:, there : there + length] = self.tokens[:, here : here + length]

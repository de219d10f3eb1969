"""The value that travels from loading to the objective: rows of tokens and which of them count.

A row holds context_length + lookahead tokens. An objective that shifts (next-token) takes `tokens[:, :-1]` as input and
`tokens[:, 1:]` as targets, with `loss_mask[:, 1:]` beside them; a masked objective takes the row as it is.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Noised:
    """What an objective that masks tokens has drawn for the first T tokens of each row of a batch."""

    tokens: Int64[Tensor, "b t"]
    """What the model reads: the batch's own tokens, and the mask token where `masked`."""
    counted: Bool[Tensor, "b t"]
    """True at all tokens that might have been masked; how many they are is the loss's denominator."""
    masked: Bool[Tensor, "b t"]
    """True at those that were: the targets. Nobody may tell them by the mask token's id."""
    mask_probability: Float32[Tensor, "b t"]
    """With which each counted token was masked."""
    weight: Float32[Tensor, "b t"]
    """Of the nll at a masked token: 1 / mask_probability with the linear schedule; 0 elsewhere."""
    document_ids: Int64[Tensor, "b t"] | None = None
    """The batch's own, or those that keep a cut-off end of the window apart."""
    coefficient: float = 1.0
    """Of the whole term, beside others."""

    def with_each(self, change: Callable[[Tensor], Tensor]) -> "Noised":
        """The same with every tensor changed alike."""
        return Noised(
            tokens=change(self.tokens),
            counted=change(self.counted),
            masked=change(self.masked),
            mask_probability=change(self.mask_probability),
            weight=change(self.weight),
            document_ids=None if self.document_ids is None else change(self.document_ids),
            coefficient=self.coefficient,
        )


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Rows of tokens; `loss_mask[i, j]` is true when token j of row i counts as a target."""

    tokens: Int64[Tensor, "b t"]
    loss_mask: Bool[Tensor, "b t"]
    sample_ids: Int64[Tensor, " b"]
    """The global sample numbers: what objective noise is keyed by, so that it does not depend on how a step is cut."""
    document_ids: Int64[Tensor, "b t"] | None = None
    """Of packed rows: tokens may attend to one another only within one id."""
    positions: Int64[Tensor, "b t"] | None = None
    """Of packed rows: the place of each token within its own document."""
    noised: Noised | None = None
    """Once the objective is one that masks and has prepared the batch."""

    @property
    def n_rows(self) -> int:
        """Number of rows, B."""
        return int(self.tokens.shape[0])

    def to(self, device: torch.device | str) -> "TokenBatch":
        """The same batch on `device`. From pinned memory the copy runs beside what the device does."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin(self) -> "TokenBatch":
        """The same batch in memory that a CUDA device can copy from by itself."""
        return self._with(Tensor.pin_memory)

    def cut(self, rows: int) -> list["TokenBatch"]:
        """The same rows in the same order, at most `rows` in a piece."""
        return [self._with(operator.itemgetter(slice(first, first + rows))) for first in range(0, self.n_rows, rows)]

    def _with(self, change: Callable[[Tensor], Tensor]) -> "TokenBatch":
        return TokenBatch(
            tokens=change(self.tokens),
            loss_mask=change(self.loss_mask),
            sample_ids=change(self.sample_ids),
            document_ids=None if self.document_ids is None else change(self.document_ids),
            positions=None if self.positions is None else change(self.positions),
            noised=None if self.noised is None else self.noised.with_each(change),
        )

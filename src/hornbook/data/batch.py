"""The value that travels from loading to the objective: rows of tokens and which of them count.

A row holds context_length + lookahead tokens. An objective that shifts (next-token) takes `tokens[:, :-1]` as input and
`tokens[:, 1:]` as targets, with `loss_mask[:, 1:]` beside them; a masked objective takes the row as it is.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


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
        )

"""The value that travels from loading to the objective: rows of tokens and which of them count.

A row holds context_length + lookahead tokens. An objective that shifts (next-token) takes `tokens[:, :-1]` as input and
`tokens[:, 1:]` as targets, with `loss_mask[:, 1:]` beside them; a masked objective takes the row as it is.
"""

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
        """The same batch on `device`."""
        return TokenBatch(
            tokens=self.tokens.to(device),
            loss_mask=self.loss_mask.to(device),
            sample_ids=self.sample_ids.to(device),
            document_ids=None if self.document_ids is None else self.document_ids.to(device),
            positions=None if self.positions is None else self.positions.to(device),
        )

"""The values that travel from loading to the objective: rows of tokens and which of them count, or pairs of such rows.

A row holds context_length + lookahead tokens. An objective that shifts (next-token) takes `tokens[:, :-1]` as input and
`tokens[:, 1:]` as targets, with `loss_mask[:, 1:]` beside them; a masked objective takes the row as it is.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

PADDING_DOCUMENT = -1
"""In `document_ids`: what fills a row up, and is no part of any document."""


@runtime_checkable
class Batch(Protocol):
    """Whatever an objective trains on, as steps and validation see it."""

    @property
    def n_rows(self) -> int:
        """Samples in it."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """The same batch on `device`."""
        ...

    def pin(self) -> Self:
        """The same batch in memory that a CUDA device can copy from by itself."""
        ...

    def cut(self, rows: int) -> list[Self]:
        """The same samples in the same order, at most `rows` in a piece."""
        ...

    def blank(self) -> Self:
        """The same batch without a token that counts."""
        ...

    def counted_rows(self) -> int:
        """Samples in which something counts."""
        ...

    def tokens_read(self, *, lookahead: int) -> int:
        """Tokens that are neither padding nor the last `lookahead` of a document, which are only predicted."""
        ...


B = TypeVar("B", bound=Batch)


@dataclass(frozen=True, kw_only=True)
class Noised:
    """What an objective that masks tokens has drawn for the first T tokens of each row of a batch.

    Several draws of each row stand one after another: row r has the rows r n .. r n + n - 1 of the n draws here.
    """

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
    """Of rows of several documents, or with padding: tokens may attend to one another only within one id. Documents lie
    one after another; those of one row have different ids, and padding has PADDING_DOCUMENT."""
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
        return self.with_each(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin(self) -> "TokenBatch":
        """The same batch in memory that a CUDA device can copy from by itself."""
        return self.with_each(Tensor.pin_memory)

    def cut(self, rows: int) -> list["TokenBatch"]:
        """The same rows in the same order, at most `rows` in a piece."""
        return [
            self.with_each(operator.itemgetter(slice(first, first + rows))) for first in range(0, self.n_rows, rows)
        ]

    def blank(self) -> "TokenBatch":
        """The same rows without a token that counts."""
        return replace(self, loss_mask=torch.zeros_like(self.loss_mask))

    def counted_rows(self) -> int:
        """Rows in which a token counts."""
        return int(self.loss_mask.any(1).sum())

    def tokens_read(self, *, lookahead: int) -> int:
        """Tokens that are neither padding nor the last `lookahead` of a document, which are only predicted."""
        width = self.tokens.shape[1] - lookahead
        if self.document_ids is None:
            return self.n_rows * width
        documents = self.document_ids[:, :width]
        goes_on = documents == self.document_ids[:, lookahead:]  # not by the row's length, which a cut may change
        return int((goes_on & (documents != PADDING_DOCUMENT)).sum())

    def with_each(self, change: Callable[[Tensor], Tensor]) -> "TokenBatch":
        """The same with every tensor changed alike."""
        return TokenBatch(
            tokens=change(self.tokens),
            loss_mask=change(self.loss_mask),
            sample_ids=change(self.sample_ids),
            document_ids=None if self.document_ids is None else change(self.document_ids),
            positions=None if self.positions is None else change(self.positions),
            noised=None if self.noised is None else self.noised.with_each(change),
        )


@dataclass(frozen=True, kw_only=True)
class PreferenceBatch:
    """Pairs of answers to the same prompts: rows i of `chosen` and `rejected` are a pair, with the same sample id."""

    chosen: TokenBatch
    rejected: TokenBatch
    reference_chosen: Float32[Tensor, " b"] | None = None
    """Log-probabilities of the answers by the reference, summed over their tokens, where they were precomputed."""
    reference_rejected: Float32[Tensor, " b"] | None = None

    @property
    def n_rows(self) -> int:
        """Number of pairs."""
        return self.chosen.n_rows

    def to(self, device: torch.device | str) -> "PreferenceBatch":
        """The same batch on `device`."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pin(self) -> "PreferenceBatch":
        """The same batch in memory that a CUDA device can copy from by itself."""
        return self._with(Tensor.pin_memory)

    def cut(self, rows: int) -> list["PreferenceBatch"]:
        """The same pairs in the same order, at most `rows` in a piece."""
        return [self._with(operator.itemgetter(slice(first, first + rows))) for first in range(0, self.n_rows, rows)]

    def blank(self) -> "PreferenceBatch":
        """The same pairs without a token that counts."""
        return replace(self, chosen=self.chosen.blank(), rejected=self.rejected.blank())

    def counted_rows(self) -> int:
        """Pairs in which a token counts."""
        return int((self.chosen.loss_mask.any(1) | self.rejected.loss_mask.any(1)).sum())

    def tokens_read(self, *, lookahead: int) -> int:
        """Of both answers: tokens that are neither padding nor the last `lookahead` of a document."""
        return self.chosen.tokens_read(lookahead=lookahead) + self.rejected.tokens_read(lookahead=lookahead)

    def _with(self, change: Callable[[Tensor], Tensor]) -> "PreferenceBatch":
        return PreferenceBatch(
            chosen=self.chosen.with_each(change),
            rejected=self.rejected.with_each(change),
            reference_chosen=None if self.reference_chosen is None else change(self.reference_chosen),
            reference_rejected=None if self.reference_rejected is None else change(self.reference_rejected),
        )

"""The seam between a training step and what is learned: noise, denominators, sums.

An objective never returns a mean. It says beforehand how much each term of its loss weighs (`weight`), and then gives
the term as a sum (`__call__`). The step adds the weights over micro-batches and ranks and divides once, so that a step
cut in any way has the same gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Float
from torch import Tensor

from hornbook.data.batch import B
from hornbook.models.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class StepContext:
    """What noise is keyed by, besides the global sample number and a purpose."""

    seed: int
    step: int
    """Counted from 0."""
    samples_per_step: int
    """Samples of one step, or of the validation set, over all ranks."""
    is_validation: bool = False
    """The same noise at every call, and no other difficulty than the objective's own: no curriculum, no truncation."""


@dataclass(frozen=True, kw_only=True)
class LossOutput:
    """What one micro-batch contributes."""

    terms: Mapping[str, Float[Tensor, ""]]
    """Sums, with gradient. The loss is each divided by its global weight, added up; coefficients are already inside."""
    metrics: Mapping[str, tuple[Float[Tensor, ""], Float[Tensor, ""]]]
    """name -> (sum, weight of that sum), on the device and without gradient, so that nothing waits for it. The metrics
    `nll`, in nats, and `bytes`, what its targets stand for, become perplexity and bits per byte."""


class Objective(Protocol[B]):
    """What the model is asked to predict."""

    @property
    def lookahead(self) -> int:
        """Tokens that a window needs beyond context_length."""
        ...

    def prepare(self, batch: B, at: StepContext) -> B:
        """Draw all noise here, outside the model, keyed by (seed, step, global sample, purpose)."""
        ...

    def weight(self, batch: B) -> dict[str, int]:
        """The denominator that this batch adds to each term, known before any forward pass, on the host."""
        ...

    def __call__(self, model: Transformer, batch: B) -> LossOutput:
        """Sums over the batch."""
        ...

"""The card of a diffusion model's likelihood: every number on it is "at most", and says how it was estimated."""

from dataclasses import dataclass
from typing import ClassVar

from hornbook.evaluation.card import EvaluationCard

_HIDDEN = {
    "fixed_count": "each of a uniformly drawn number of its tokens, spread evenly over the readings",
    "bernoulli": "each token with a uniformly drawn probability, spread evenly over the readings",
    "exact": "every set of its tokens, so that nothing is drawn",
}


@dataclass(frozen=True, kw_only=True)
class BoundCard(EvaluationCard):
    """At most how surprised one diffusion checkpoint is by one text."""

    measure: ClassVar[str] = "bound"
    suffix: ClassVar[str] = "_at_most"

    objective: str
    """What the model was trained with."""
    block_length: int | None
    """Of a block diffusion model, whose blocks are measured one given the others; None for whole texts."""
    estimator: str
    draws: int | None
    """Readings of each window; None where all were enumerated."""
    seed: int | None

    @property
    def protocol(self) -> str:
        """How the tokens were measured, in words."""
        unit = "window" if self.block_length is None else f"block of {self.block_length}"
        context = (
            "each window starts cold"
            if self.stride == self.window
            else f"after the first window with {self.window - self.stride} visible tokens before them"
        )
        readings = "enumerated" if self.draws is None else f"{self.draws} readings a window, seed {self.seed}"
        side = "; of the joint model, its diffusion side" if self.objective == "joint" else ""
        return (
            f"diffusion bound, an upper bound in expectation: windows of {self.window} tokens, stride {self.stride}, "
            f"every token measured once, the first included, {context}; hidden per {unit}: {_HIDDEN[self.estimator]} "
            f"({readings}){side}; context is not reset between documents"
        )

    @property
    def identity(self) -> str:
        """What tells this measurement from others of the same checkpoint and text."""
        return f"{super().identity} {self.estimator} {self.draws} {self.seed}"

"""What a project provides so that the suite can question it. Tokens are int64 tensors, numbers float64."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from diffusion_exactness.toys import Toy


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to decode."""

    new_tokens: int
    block_length: int
    is_block_causal: bool = False
    """Of a block diffusion model: blocks count from the beginning of the text, and attend to no later one."""
    steps: int | None = None
    """Over all blocks, which share them by their number of holes, one at least; None: one token a step."""
    remasking: str = "random"
    """random, low_confidence, margin or entropy."""
    temperature: float = 1.0
    guidance_scale: float = 0.0
    confidence_threshold: float | None = None
    """Instead of steps."""
    cache: str = "none"
    """none, prefix, dual (what follows the block, too) or delayed (decided tokens of the block, too)."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What one step of decoding kept in one text."""

    positions: tuple[int, ...]
    tokens: tuple[int, ...]
    confidences: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingStep:
    """The noise of one step and what came of it."""

    hidden: torch.Tensor
    """(n, length) bool: what the model had to name."""
    counted: torch.Tensor
    """(n, length) bool: what might have been hidden; false where a text was cut."""
    probability: torch.Tensor
    """(n, length): with which each token was hidden."""
    loss_sum: float
    denominator: int


class Adapter(Protocol):
    """One project."""

    min_mask_probability: float

    def model(self, toy: Toy) -> Any:
        """Whatever its own code takes for a model, with the toy's logits, in float64.

        What a position may not attend to must be a mask token to the toy.
        """
        ...

    def network(self, *, layers: int, seed: int) -> Any:
        """A real model with random weights, float32, a vocabulary of at least 8 with the mask token last, and a context
        of at least 160."""
        ...

    def train(
        self,
        toy: Toy,
        texts: torch.Tensor,
        *,
        step: int,
        block_length: int | None = None,
        parts: Sequence[int] = (),
        truncation_probability: float = 0.0,
    ) -> TrainingStep:
        """The loss of training step `step` on `texts` (n, length), all tokens of which count.

        `block_length` asks for block diffusion. `parts`: sizes of the micro-batches (or ranks) that the step is cut
        into; nothing is one piece.
        """
        ...

    def likelihood(
        self,
        toy: Toy,
        text: tuple[int, ...],
        *,
        given: int,
        estimator: str,
        draws: int = 1,
        seed: int = 0,
        block_length: int | None = None,
    ) -> float:
        """Nats of text[given:] after text[:given], by `fixed_count`, `bernoulli` (both random) or `exact`."""
        ...

    def sample(self, model: Any, prompt: tuple[int, ...], sampling: Sampling, *, rows: int) -> torch.Tensor:
        """(rows, new_tokens): independent continuations of one prompt."""
        ...

    def decisions(
        self,
        model: Any,
        template: Sequence[int | None],
        sampling: Sampling,
        *,
        seed: int = 0,
    ) -> list[Decision]:
        """The steps by which the holes (None) of `template` are filled; sampling.new_tokens is their number."""
        ...

"""Which updates are left out: those of a loss or gradient that is not finite and, if asked for, those of a spike.

A spike lies above mean + sigma * standard deviation (unbiased) of the last `window` steps, in loss or gradient norm:
the rule of OLMo-core's SkipStepOptimizer, but that values of steps that were left out do not enter the window. After a
step that was left out, weights, optimizer and the time of the schedule are as they were; only the data has moved on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

SkipReason = Literal["loss", "gradient", "loss_spike", "gradient_spike"]
"""`loss` and `gradient`: not finite. With `_spike`: finite, but above its limit."""


@dataclass(frozen=True, kw_only=True)
class SpikeLimits:
    """The largest values that are no spike; infinite where nothing is one."""

    loss: float = math.inf
    grad_norm: float = math.inf


def spike_limits(
    losses: Sequence[float], grad_norms: Sequence[float], *, sigma: float | None, window: int
) -> SpikeLimits:
    """The limits after these steps; none without `sigma` or before the window is half full."""
    if sigma is None or len(losses) < max(2, window / 2):
        return SpikeLimits()
    return SpikeLimits(loss=_limit(losses, sigma), grad_norm=_limit(grad_norms, sigma))


def _limit(values: Sequence[float], sigma: float) -> float:
    return float(np.mean(values) + sigma * np.std(values, ddof=1))


def why_skipped(loss: float, grad_norm: float, limits: SpikeLimits) -> SkipReason | None:
    """The first reason to leave the update out, or None."""
    if not math.isfinite(loss):
        return "loss"
    if not math.isfinite(grad_norm):
        return "gradient"
    if loss > limits.loss:
        return "loss_spike"
    return "gradient_spike" if grad_norm > limits.grad_norm else None

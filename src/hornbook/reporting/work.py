"""What training has cost by a step: tokens read, and floating-point operations spent on them."""

import bisect
import json
import math
from contextlib import suppress
from dataclasses import dataclass

from hornbook.config.model import ModelConfig
from hornbook.config.objective import BlockDiffusionConfig, JointConfig
from hornbook.models.accounting import training_flops_per_token
from hornbook.reporting.least_loss import objective_of
from hornbook.reporting.record import RunRecord

TOKENS_READ = {"block_diffusion": BlockDiffusionConfig().tokens_read, "joint": JointConfig().tokens_read}
"""For each token of a window, where it is not one."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Known points (step, tokens read since the first step of all), ascending from (0, 0), and the price of a token."""

    steps: tuple[int, ...] = (0,)
    tokens: tuple[float, ...] = (0.0,)
    flops_per_token: float | None = None
    """Forward and backward; None where the model's shape is not known."""

    def tokens_by(self, step: int) -> float | None:
        """Tokens read by the end of a step: between points and beyond them along straight lines; None if unknown."""
        if len(self.steps) < 2:
            return None
        right = min(max(1, bisect.bisect_left(self.steps, step)), len(self.steps) - 1)
        (x0, x1), (y0, y1) = self.steps[right - 1 : right + 1], self.tokens[right - 1 : right + 1]
        return y0 + (step - x0) * (y1 - y0) / (x1 - x0)

    def flops_by(self, step: int) -> float | None:
        """Operations spent by the end of a step; None if unknown."""
        tokens = self.tokens_by(step)
        return None if tokens is None or self.flops_per_token is None else tokens * self.flops_per_token


def work_of(record: RunRecord) -> Work:
    """By what the run counted, or else by its batch's size, which in tuning is no number of tokens."""
    counted = record.curve("train/tokens")
    told = zip(counted.steps, counted.values, strict=True)
    points = {0: 0.0, **{step: tokens for step, tokens in told if step > 0 and math.isfinite(tokens)}}
    if len(points) == 1 and record.tokens_per_step:
        points[1] = float(record.tokens_per_step)
    steps = tuple(sorted(points))
    return Work(steps=steps, tokens=tuple(points[step] for step in steps), flops_per_token=flops_per_token(record))


def flops_per_token(record: RunRecord) -> float | None:
    """Of training, for each token that is read: as the run said, or by the shape in its newest checkpoint."""
    said = record.fact("flops_per_token")
    if isinstance(said, int | float):
        return float(said)
    shape = _shape(record)
    if shape is None:
        return None
    read = TOKENS_READ.get(objective_of(record.settings), 1)
    is_frozen = any(key.startswith("lora.") for key in record.settings)
    return read * training_flops_per_token(shape, context=shape.context_length, frozen=is_frozen)


def _shape(record: RunRecord) -> ModelConfig | None:
    for entry in reversed(record.checkpoints):
        with suppress(OSError, ValueError, LookupError, TypeError):
            content = json.loads((entry.path / "model.json").read_bytes())
            return ModelConfig.model_validate_json(json.dumps(content["model"]))
    return None

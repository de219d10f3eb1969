"""Where a run stands: a few numbers. With weights and optimizer state they are all that resuming needs.

No tensors and no generator states: data order and noise are functions of (seed, step).
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from hornbook.distributed.precision import LossScale
from hornbook.errors import CheckpointError

Number = int | float | None
_YOUNGER = {"overflows", "loss_scale", "loss_scale_good_steps"}
"""Fields that checkpoints of format 1 may lack: they were made before there was float16."""


@dataclass(kw_only=True)
class TrainState:
    """What the loop counts; hooks read it and record the best validation in it."""

    step: int = 0
    """Steps of data consumed: the next step to run. It also advances where an update was skipped."""
    tokens_seen: int = 0
    skipped: int = 0
    """Steps whose update was left out, because its loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    overflows: int = 0
    """Steps whose update was left out, because a float16 gradient overflowed under its scale."""
    loss_scale: float | None = None
    """Of the next step; None where the loss is not scaled."""
    loss_scale_good_steps: int = 0
    """Steps since the scale last changed."""
    best_loss: float | None = None
    """Lowest validation loss (nats a token) so far."""
    best_step: int | None = None
    full_checkpoint_step: int | None = None
    """Step of the newest full checkpoint."""

    @property
    def updates(self) -> int:
        """Updates made: the time of the optimizer and of the schedule."""
        return self.step - self.skipped - self.overflows

    def advance(self, *, tokens: int, skipped: bool, overflowed: bool = False) -> None:
        """Count one step; an overflow is not a skipped step but a scale that was too large."""
        self.step += 1
        self.tokens_seen += tokens
        self.skipped += skipped
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        self.overflows += overflowed
        if self.loss_scale is not None and not skipped:
            scale = LossScale(self.loss_scale, self.loss_scale_good_steps).after(overflowed=overflowed)
            self.loss_scale, self.loss_scale_good_steps = scale.value, scale.good_steps

    def record_validation(self, loss: float) -> bool:
        """Whether `loss` is the lowest so far; ties keep the earlier step, and what is not finite is never best."""
        if not math.isfinite(loss) or (self.best_loss is not None and loss >= self.best_loss):
            return False
        self.best_loss, self.best_step = loss, self.step
        return True

    def branched(self) -> "TrainState":
        """Where a branch stands that starts here: the same point of data and schedule, and no best of its own yet."""
        return replace(self, best_loss=None, best_step=None, full_checkpoint_step=None)

    def to_json(self) -> dict[str, Number]:
        """The fields, for state.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "TrainState":
        """The inverse of `to_json`.

        Raises:
            CheckpointError: naming every key that is missing, unknown or of another type.
        """
        names = [field.name for field in fields(cls)]
        problems = [f"missing {name}" for name in names if name not in values and name not in _YOUNGER]
        problems += [f"unknown {name}" for name in values if name not in names]
        optional = {"best_loss", "best_step", "full_checkpoint_step", "loss_scale"}
        numbers: dict[str, Number] = {}
        for name in [name for name in names if name in values]:
            value = values[name]
            if type(value) is int or (type(value) is float and name in ("best_loss", "loss_scale")):
                numbers[name] = value
            elif not (value is None and name in optional):
                problems.append(f"{name} = {value!r} is not a count")
        if problems:
            raise CheckpointError(f"the saved training state cannot be read: {'; '.join(problems)}")
        return cls(**numbers)  # type: ignore[arg-type]

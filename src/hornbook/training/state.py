"""Where a run stands: a few numbers. With weights and optimizer state they are all that resuming needs.

No tensors and no generator states: data order and noise are functions of (seed, step).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hornbook.distributed.precision import LossScale
from hornbook.errors import CheckpointError
from hornbook.training.skipping import SkipReason

_ALWAYS_THERE = ("step", "tokens_seen")


@dataclass(kw_only=True)
class TrainState:
    """What the loop counts; hooks read it and record validations in it."""

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    step: int = 0
    """Steps of data consumed: the next step to run. It also advances where an update was skipped."""
    tokens_seen: int = 0
    skipped_for: dict[SkipReason, int] = field(default_factory=dict)
    """Steps whose update was left out, by reason."""
    skipped_in_a_row: int = 0
    overflows: int = 0
    """Steps whose update was left out, because a float16 gradient overflowed under its scale."""
    loss_scale: float | None = None
    """Of the next step; None where the loss is not scaled."""
    loss_scale_good_steps: int = 0
    """Steps since the scale last changed."""
    recent_losses: list[float] = field(default_factory=list)
    """Of the last steps that were not left out, oldest first; kept only where spikes are looked for."""
    recent_grad_norms: list[float] = field(default_factory=list)
    best_loss: float | None = None
    """Lowest validation loss (nats a token) so far."""
    best_step: int | None = None
    best_due_loss: float | None = None
    """Lowest of the due validations alone, those that an unbroken run makes too."""
    validations_since_best: int = 0
    """Due validations after the best of them."""
    full_checkpoint_step: int | None = None
    """Step of the newest full checkpoint."""

    @property
    def skipped(self) -> int:
        """Steps whose update was left out."""
        return sum(self.skipped_for.values())

    @property
    def updates(self) -> int:
        """Updates made: the time of the optimizer and of the schedule."""
        return self.step - self.skipped - self.overflows

    def advance(self, *, tokens: int, skip: SkipReason | None = None, overflowed: bool = False) -> None:
        """Count one step; an overflow is not a skipped step but a scale that was too large."""
        self.step += 1
        self.tokens_seen += tokens
        self.skipped_in_a_row = 0 if skip is None else self.skipped_in_a_row + 1
        self.overflows += overflowed
        if skip is not None:
            self.skipped_for[skip] = self.skipped_for.get(skip, 0) + 1
        elif self.loss_scale is not None:
            scale = LossScale(self.loss_scale, self.loss_scale_good_steps).after(overflowed=overflowed)
            self.loss_scale, self.loss_scale_good_steps = scale.value, scale.good_steps

    def remember(self, *, loss: float, grad_norm: float, window: int) -> None:
        """Take a step that was not left out into the last `window` ones."""
        self.recent_losses = [*self.recent_losses, loss][-window:]
        self.recent_grad_norms = [*self.recent_grad_norms, grad_norm][-window:]

    def record_validation(self, loss: float, *, due: bool = True) -> bool:
        """Whether `loss` is the lowest so far; ties keep the earlier step, and what is not finite is never best.

        Patience counts and compares `due` ones only: one more at a pause must not end a resumed run earlier or later.
        """
        if due and _is_lower(loss, self.best_due_loss):
            self.best_due_loss, self.validations_since_best = loss, 0
        elif due:
            self.validations_since_best += 1
        if not _is_lower(loss, self.best_loss):
            return False
        self.best_loss, self.best_step = loss, self.step
        return True

    def branched(self) -> "TrainState":
        """Where a branch stands that starts here: the same point of data and schedule, and no best of its own yet."""
        return replace(
            self,
            best_loss=None,
            best_step=None,
            best_due_loss=None,
            validations_since_best=0,
            full_checkpoint_step=None,
        )

    def to_json(self) -> dict[str, object]:
        """The fields, for state.json."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, object]) -> "TrainState":
        """The inverse of `to_json`; counters that an older version did not keep begin at nothing.

        Raises:
            CheckpointError: naming every key that is missing, unknown or of another type.
        """
        problems = [f"missing {name}" for name in _ALWAYS_THERE if name not in values]
        try:
            state = TypeAdapter(cls).validate_json(json.dumps(dict(values)))
        except ValidationError as error:
            problems += [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        if problems:
            raise CheckpointError(f"the saved training state cannot be read: {'; '.join(problems)}")
        return state


def _is_lower(loss: float, than: float | None) -> bool:
    return math.isfinite(loss) and (than is None or loss < than)

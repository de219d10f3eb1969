"""`[optim]` and `[schedule]`: how parameters move and how the learning rate changes over the run."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.table import Table

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Role = Literal["matrix", "embedding", "head", "norm", "bias"]


class OptimConfig(Table):
    """AdamW (decoupled weight decay) or Adam (decay added to the gradient)."""

    kind: Literal["adamw", "adam"] = "adamw"
    learning_rate: PositiveFloat = 1e-3
    """The peak; the schedule multiplies it."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.1
    decay: tuple[Role, ...] = ("matrix", "embedding", "head")
    """Roles of the parameters that decay."""
    clip_grad_norm: PositiveFloat | None = 1.0
    """Largest allowed global gradient norm; "none" in a file, None in Python: no clipping."""


class _Warmup(Table):
    warmup_steps: NonNegativeInt | None = None
    """Steps of linear warm-up."""
    warmup_fraction: Annotated[float, Field(ge=0.0, le=1.0)] | None = None
    """Or the same as a fraction of the run."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_steps is not None and self.warmup_fraction is not None:
            raise ValueError("give warmup_steps or warmup_fraction, not both")
        return self


class ConstantSchedule(_Warmup):
    """Warm-up, then the peak."""

    kind: Literal["constant"] = "constant"


class CosineSchedule(_Warmup):
    """Warm-up, then half a cosine down to final_fraction of the peak at the last step."""

    kind: Literal["cosine"] = "cosine"
    final_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1


class LinearSchedule(_Warmup):
    """Warm-up, then a straight line down to final_fraction of the peak at the last step."""

    kind: Literal["linear"] = "linear"
    final_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0


class WsdSchedule(_Warmup):
    """Warm-up, a plateau, then a decay over the last part of the run."""

    kind: Literal["wsd"] = "wsd"
    decay_fraction: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.2
    """Length of the decay as a fraction of the run; unset where decay_steps gives it."""
    decay_steps: PositiveInt | None = None
    """Or the same as a number of steps."""
    decay_shape: Literal["linear", "sqrt", "cosine"] = "linear"
    """sqrt is 1 - sqrt(x)."""
    final_fraction: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _steps_instead(cls, values: object) -> object:
        if isinstance(values, dict) and values.get("decay_steps") is not None:
            return {"decay_fraction": None, **values}
        return values

    @model_validator(mode="after")
    def _check_decay(self) -> Self:
        if (self.decay_steps is None) == (self.decay_fraction is None):
            raise ValueError('give decay_steps or decay_fraction, and the other as "none"')
        return self


class NoamSchedule(Table):
    """d_model^-0.5 min(s^-0.5, s warmup_steps^-1.5): "Attention is all you need", 5.3. learning_rate is its factor."""

    kind: Literal["noam"] = "noam"
    warmup_steps: PositiveInt = 4000


ScheduleConfig = Annotated[
    ConstantSchedule | CosineSchedule | LinearSchedule | WsdSchedule | NoamSchedule, Field(discriminator="kind")
]

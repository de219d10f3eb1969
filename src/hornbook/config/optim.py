"""`[optim]` and `[schedule]`: how parameters move and how the learning rate changes over the run.

`[optim]` comes in kinds, so that a key which a kind does not read is refused.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.optim_groups import AdamGroups, AveragedGroups, Beta, Groups, LionGroups, PositiveBeta, RestGroups
from hornbook.config.table import Table

Role = Literal["matrix", "embedding", "head", "norm", "bias"]


class _Optim(Table):
    learning_rate: PositiveFloat = 1e-3
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegativeFloat = 0.1
    decay: tuple[Role, ...] = ("matrix", "embedding", "head")
    """Roles of the parameters that decay."""
    clip_grad_norm: PositiveFloat | None = 1.0
    """Largest allowed global gradient norm; "none" in a file, None in Python: no clipping."""


class _WithEma(_Optim):
    ema_decay: PositiveBeta | None = None
    """Keep an exponential moving average of the weights, and evaluate, sample and save that one. Shorter at first:
    update t keeps min(ema_decay, (1 + t) / (10 + t)) of it."""


class _Adam(_WithEma):
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: PositiveFloat = 1e-8
    groups: AdamGroups = AdamGroups()


class AdamWConfig(_Adam):
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"


class AdamConfig(_Adam):
    """Adam, weight decay added to the gradient (arXiv:1412.6980)."""

    kind: Literal["adam"] = "adam"


class NAdamWConfig(_Adam):
    """AdamW with Nesterov momentum (Dozat, 2016), as torch.optim.NAdam with decoupled_weight_decay."""

    kind: Literal["nadamw"] = "nadamw"
    momentum_decay: NonNegativeFloat = 4e-3


class SgdConfig(_WithEma):
    """Gradient descent with momentum, weight decay added to the gradient, as torch.optim.SGD."""

    kind: Literal["sgd"] = "sgd"
    learning_rate: PositiveFloat = 0.1
    """The peak; the schedule multiplies it."""
    momentum: Beta = 0.9
    nesterov: bool = False
    groups: Groups = Groups()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov = true needs momentum: set momentum above 0")
        return self


class SignSgdConfig(_WithEma):
    """The sign of the momentum (arXiv:1802.04434): every weight moves by the learning rate. Decoupled weight decay."""

    kind: Literal["sign_sgd"] = "sign_sgd"
    learning_rate: PositiveFloat = 3e-4
    """The peak; the schedule multiplies it."""
    momentum: Beta = 0.9
    groups: Groups = Groups()


class LionConfig(_WithEma):
    """The sign of momentum and gradient mixed (arXiv:2302.06675). Decoupled weight decay."""

    kind: Literal["lion"] = "lion"
    learning_rate: PositiveFloat = 3e-4
    """The peak; the schedule multiplies it."""
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    """The mixture that moves, and the momentum that is kept."""
    groups: LionGroups = LionGroups()


class ScheduleFreeAdamWConfig(_Optim):
    """AdamW whose iterates are averaged (arXiv:2405.15682), which takes the place of a schedule's decay.

    It needs schedule.kind = "constant", with a warm-up. The average is what is evaluated, sampled and saved.
    """

    kind: Literal["schedule_free_adamw"] = "schedule_free_adamw"
    learning_rate: PositiveFloat = 3e-3
    """The rate after the warm-up."""
    betas: tuple[PositiveBeta, Beta] = (0.9, 0.95)
    """How much of the average and how little of the last iterate gradients are taken at; second moments."""
    eps: PositiveFloat = 1e-8
    groups: AveragedGroups = AveragedGroups()


class MuonConfig(_WithEma):
    """Matrices by Muon: momentum, orthogonalised. Embeddings, head, gains and biases by AdamW."""

    kind: Literal["muon"] = "muon"
    learning_rate: PositiveFloat = 0.02
    """The peak for matrices; the schedule multiplies every peak."""
    momentum: Beta = 0.95
    momentum_start: Beta | None = 0.85
    """Momentum of the first update, from which it rises in a straight line; "none": `momentum` throughout."""
    momentum_warmup_steps: PositiveInt = 300
    """Updates until `momentum` is reached."""
    nesterov: bool = True
    ns_steps: PositiveInt = 5
    """Newton-Schulz iterations of the orthogonalisation."""
    adamw_learning_rate: PositiveFloat = 3e-3
    """The peak for what is no matrix, unless its group has its own."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Of AdamW, as eps is."""
    eps: PositiveFloat = 1e-8
    groups: RestGroups = RestGroups()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.momentum_start is not None and self.momentum_start > self.momentum:
            raise ValueError(
                f"momentum_start = {self.momentum_start} is above momentum = {self.momentum}: it rises; lower it"
            )
        usual = type(self).model_fields["momentum_warmup_steps"].default
        if self.momentum_start is None and self.momentum_warmup_steps != usual:
            raise ValueError("momentum_warmup_steps has no effect without momentum_start; set that, or leave it out")
        return self


OptimConfig = Annotated[
    AdamWConfig
    | AdamConfig
    | NAdamWConfig
    | SgdConfig
    | SignSgdConfig
    | LionConfig
    | ScheduleFreeAdamWConfig
    | MuonConfig,
    Field(discriminator="kind"),
]


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

"""`[optim]` and `[schedule]`: how parameters move and how the learning rate changes over the run.

`[optim]` comes in kinds, so that a key which a kind does not read is refused.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.table import Table

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Role = Literal["matrix", "embedding", "head", "norm", "bias"]


class RoleRates(Table):
    """What the parameters of one role have of their own; what is left out is as in [optim]."""

    learning_rate: PositiveFloat | None = None
    """The peak of this role; the schedule multiplies it as it does every peak."""
    weight_decay: NonNegativeFloat | None = None
    """Given here, it holds whether `decay` lists the role or not."""


class AdamRoleRates(RoleRates):
    """What the parameters of one role have of their own, where they move by a form of Adam."""

    betas: tuple[Beta, Beta] | None = None
    eps: PositiveFloat | None = None


class LionRoleRates(RoleRates):
    """What the parameters of one role have of their own, where they move by Lion."""

    betas: tuple[Beta, Beta] | None = None


class Groups(Table):
    """`[optim.groups.ROLE]`: settings of the parameters of one role."""

    matrix: RoleRates | None = None
    embedding: RoleRates | None = None
    head: RoleRates | None = None
    norm: RoleRates | None = None
    bias: RoleRates | None = None


class AdamGroups(Table):
    """`[optim.groups.ROLE]`: settings of the parameters of one role."""

    matrix: AdamRoleRates | None = None
    embedding: AdamRoleRates | None = None
    head: AdamRoleRates | None = None
    norm: AdamRoleRates | None = None
    bias: AdamRoleRates | None = None


class LionGroups(Table):
    """`[optim.groups.ROLE]`: settings of the parameters of one role."""

    matrix: LionRoleRates | None = None
    embedding: LionRoleRates | None = None
    head: LionRoleRates | None = None
    norm: LionRoleRates | None = None
    bias: LionRoleRates | None = None


class RestGroups(Table):
    """`[optim.groups.ROLE]`: settings of what is no matrix, and so moves by AdamW."""

    embedding: AdamRoleRates | None = None
    head: AdamRoleRates | None = None
    norm: AdamRoleRates | None = None
    bias: AdamRoleRates | None = None


class _Optim(Table):
    learning_rate: PositiveFloat = 1e-3
    """The peak; the schedule multiplies it."""
    weight_decay: NonNegativeFloat = 0.1
    decay: tuple[Role, ...] = ("matrix", "embedding", "head")
    """Roles of the parameters that decay."""
    clip_grad_norm: PositiveFloat | None = 1.0
    """Largest allowed global gradient norm; "none" in a file, None in Python: no clipping."""


class _Adam(_Optim):
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    eps: PositiveFloat = 1e-8
    groups: AdamGroups = AdamGroups()


class AdamWConfig(_Adam):
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    kind: Literal["adamw"] = "adamw"


class AdamConfig(_Adam):
    """Adam, weight decay added to the gradient (arXiv:1412.6980)."""

    kind: Literal["adam"] = "adam"


class MuonConfig(_Optim):
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
        return self


OptimConfig = Annotated[AdamWConfig | AdamConfig | MuonConfig, Field(discriminator="kind")]


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

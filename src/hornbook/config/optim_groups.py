"""`[optim.groups.ROLE]`: what the parameters of one role have of their own. Which keys depends on what moves them."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from hornbook.config.table import Table

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
PositiveBeta = Annotated[float, Field(gt=0.0, lt=1.0)]


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


class AveragedRoleRates(RoleRates):
    """What the parameters of one role have of their own, where they move by schedule-free AdamW."""

    betas: tuple[PositiveBeta, Beta] | None = None
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


class AveragedGroups(Table):
    """`[optim.groups.ROLE]`: settings of the parameters of one role."""

    matrix: AveragedRoleRates | None = None
    embedding: AveragedRoleRates | None = None
    head: AveragedRoleRates | None = None
    norm: AveragedRoleRates | None = None
    bias: AveragedRoleRates | None = None


class RestGroups(Table):
    """`[optim.groups.ROLE]`: settings of what is no matrix, and so moves by AdamW."""

    embedding: AdamRoleRates | None = None
    head: AdamRoleRates | None = None
    norm: AdamRoleRates | None = None
    bias: AdamRoleRates | None = None

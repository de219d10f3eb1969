"""`[model.rope_scaling]`: rotary frequencies for a longer context than they were trained with."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from hornbook.config.table import Table

Factor = Annotated[float, Field(ge=1.0)]


class LinearScaling(Table):
    """All positions divided by one number (Chen et al., 2023, https://arxiv.org/abs/2306.15595)."""

    kind: Literal["linear"] = "linear"
    factor: Factor
    """How much longer the context became."""


class Llama3Scaling(Table):
    """As Llama 3.1: slow frequencies are divided by the factor, fast ones stay, those between are interpolated."""

    kind: Literal["llama3"] = "llama3"
    factor: Factor
    """How much longer the context became."""
    original_context_length: PositiveInt
    """What it was before, in tokens."""
    low_freq_factor: PositiveFloat = 1.0
    """Waves longer than original_context_length over this are slow."""
    high_freq_factor: PositiveFloat = 4.0
    """Waves shorter than original_context_length over this are fast."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                f"high_freq_factor = {self.high_freq_factor} is not above low_freq_factor = {self.low_freq_factor}; "
                "Llama 3.1 has 4 and 1"
            )
        return self


class YarnScaling(Table):
    """YaRN: as llama3, with a ramp over dimensions, and sharper attention (Peng et al., 2023,
    https://arxiv.org/abs/2309.00071)."""

    kind: Literal["yarn"] = "yarn"
    factor: Factor
    """How much longer the context became."""
    original_context_length: PositiveInt
    """What it was before, in tokens."""
    beta_fast: PositiveFloat = 32.0
    """A dimension that turns more often than this in the original context stays as it is."""
    beta_slow: PositiveFloat = 1.0
    """One that turns less often than this is divided by the factor."""
    attention_factor: PositiveFloat | None = None
    """Queries and keys are multiplied by this. Default: 0.1 ln(factor) + 1."""
    truncate: bool = True
    """Whether the ends of the ramp are whole dimensions."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.beta_fast <= self.beta_slow:
            raise ValueError(
                f"beta_fast = {self.beta_fast} is not above beta_slow = {self.beta_slow}; usual are 32 and 1"
            )
        return self


RopeScaling = Annotated[LinearScaling | Llama3Scaling | YarnScaling, Field(discriminator="kind")]

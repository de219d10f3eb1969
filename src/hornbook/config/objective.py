"""`[objective]`: what the model is asked to predict and how its surprise becomes a loss."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.table import Table

BOUND_ALONE = ("masked_diffusion", "block_diffusion")
"""Kinds whose models have a bound on the likelihood and no exact one; those of kind joint have both."""

Probability = Annotated[float, Field(gt=0.0, le=1.0)]


class ObjectiveTable(Table):
    """What all objectives have."""

    tokens_read: ClassVar[int] = 1
    """Tokens that the model reads for each of a window, over all forward passes: what a step costs."""


class NextTokenSettings(ObjectiveTable):
    """The loss of a prediction from the tokens before."""

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """epsilon: targets are (1 - epsilon) one-hot + epsilon / vocab_size, the gold class included."""
    z_loss: NonNegativeFloat = 0.0
    """Weight of the squared log-normaliser, which keeps logits from drifting. 1e-4 is usual."""


class MaskingSettings(ObjectiveTable):
    """How many tokens are replaced by the mask token, and how much each of them then counts."""

    min_mask_probability: Annotated[float, Field(gt=0.0, lt=1.0)] = 1e-3
    """Mask probabilities lie between this and 1; a masked token weighs one over its own."""
    schedule: Literal["linear", "cosine"] = "linear"
    """How mask probabilities are spread: linear: evenly; cosine: more often many, each weighed by less, so that the
    expected loss is the same."""
    mask_draws: Literal["stratified", "independent"] = "stratified"
    """stratified: the mask probabilities of a step lie evenly spaced, which makes its loss less noisy."""
    truncation_probability: Annotated[float, Field(ge=0.0, le=1.0)] = 0.01
    """How often a whole step is trained on windows cut to a random length, so that short texts are known too."""
    curriculum_steps: NonNegativeInt = 0
    """Over so many steps the largest mask probability grows from curriculum_start to 1; 0: it is 1 at once."""
    curriculum_start: Probability | None = None
    """The largest mask probability of the first step, with curriculum_steps."""

    @model_validator(mode="after")
    def _check_curriculum(self) -> Self:
        if (self.curriculum_steps > 0) != (self.curriculum_start is not None):
            raise ValueError(
                f"curriculum_steps = {self.curriculum_steps} with curriculum_start = {self.curriculum_start}: a "
                "curriculum needs both; give both or neither"
            )
        if self.curriculum_start is not None and self.curriculum_start <= self.min_mask_probability:
            raise ValueError(
                f"curriculum_start = {self.curriculum_start} is not above min_mask_probability = "
                f"{self.min_mask_probability}; choose a larger one, such as 0.3"
            )
        return self


class NextTokenConfig(NextTokenSettings):
    """Autoregressive training: each token from those before it."""

    kind: Literal["next_token"] = "next_token"


class MaskedDiffusionConfig(MaskingSettings):
    """Masked diffusion: each masked token from all others, before and behind it, at every share of masked tokens."""

    kind: Literal["masked_diffusion"] = "masked_diffusion"


class BlockDiffusionConfig(MaskingSettings):
    """Masked diffusion within blocks, each of which sees the finished blocks before it: a decoding cache is exact."""

    tokens_read: ClassVar[int] = 2
    kind: Literal["block_diffusion"] = "block_diffusion"
    block_length: PositiveInt = 32
    """Tokens of a block; a divisor of model.context_length."""


class JointConfig(NextTokenSettings, MaskingSettings):
    """Next-token prediction and masked diffusion on the same weights, both in each step."""

    tokens_read: ClassVar[int] = 2
    kind: Literal["joint"] = "joint"
    diffusion_weight: PositiveFloat = 1.0
    """Weight of the diffusion loss; that of the next-token loss is 1."""
    diffusion_weight_start: NonNegativeFloat | None = None
    """Weight at the first step, from where it goes linearly to diffusion_weight over diffusion_weight_steps."""
    diffusion_weight_steps: NonNegativeInt = 0
    """0: it is diffusion_weight at once."""

    @model_validator(mode="after")
    def _check_weight(self) -> Self:
        if (self.diffusion_weight_steps > 0) != (self.diffusion_weight_start is not None):
            raise ValueError(
                f"diffusion_weight_steps = {self.diffusion_weight_steps} with diffusion_weight_start = "
                f"{self.diffusion_weight_start}: a changing weight needs both; give both or neither"
            )
        return self


ObjectiveConfig = Annotated[
    NextTokenConfig | MaskedDiffusionConfig | BlockDiffusionConfig | JointConfig, Field(discriminator="kind")
]

"""`[objective]`: what the model is asked to predict and how its surprise becomes a loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.table import Table

BOUND_ALONE = ("masked_diffusion", "block_diffusion")
"""Kinds whose models have a bound on the likelihood and no exact one; those of kind joint have both."""


def likelihood_kind(objective: Mapping[str, object]) -> str:
    """The kind by which a model trained with `objective` (as checkpoints hold it) is measured and decoded.

    Preferences change what a model says and not how it reads: then it is the one that they were compared by.
    """
    kind = str(objective.get("kind"))
    return str(objective.get("likelihood", "next_token")) if kind == "preference" else kind


def preference_of(objective: Mapping[str, object]) -> Mapping[str, object]:
    """How preferences were trained, of a model trained with `objective` (as checkpoints hold it); empty if not."""
    found = objective.get("preference")
    return found if isinstance(found, Mapping) else {}


def averages(preference: Mapping[str, object]) -> bool:
    """Whether preferences with these settings go by log-probabilities by token, and not by their sums."""
    average = preference.get("average")
    return preference.get("loss") == "ipo" if average is None else bool(average)


Probability = Annotated[float, Field(gt=0.0, le=1.0)]


class ObjectiveTable(Table):
    """What all objectives have."""

    normalize: Literal["token", "sequence"] = "token"
    """token: the loss is a mean over all targets of a step; sequence: over its conversations, each the mean of its own
    targets, so that a long answer weighs no more than a short one."""

    @property
    def tokens_read(self) -> int:
        """Tokens that the model reads for each of a row, over all passes with a gradient: what a step costs."""
        return 1


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

    kind: Literal["block_diffusion"] = "block_diffusion"
    block_length: PositiveInt = 32
    """Tokens of a block; a divisor of model.context_length."""

    @property
    def tokens_read(self) -> int:
        """Noised, and clean."""
        return 2


class JointConfig(NextTokenSettings, MaskingSettings):
    """Next-token prediction and masked diffusion on the same weights, both in each step."""

    kind: Literal["joint"] = "joint"
    diffusion_weight: PositiveFloat = 1.0
    """Weight of the diffusion loss; that of the next-token loss is 1."""
    diffusion_weight_start: NonNegativeFloat | None = None
    """Weight at the first step, from where it goes linearly to diffusion_weight over diffusion_weight_steps."""
    diffusion_weight_steps: NonNegativeInt = 0
    """0: it is diffusion_weight at once."""

    @property
    def tokens_read(self) -> int:
        """As they are, and noised."""
        return 2

    @model_validator(mode="after")
    def _check_weight(self) -> Self:
        if (self.diffusion_weight_steps > 0) != (self.diffusion_weight_start is not None):
            raise ValueError(
                f"diffusion_weight_steps = {self.diffusion_weight_steps} with diffusion_weight_start = "
                f"{self.diffusion_weight_start}: a changing weight needs both; give both or neither"
            )
        return self


class PreferenceConfig(ObjectiveTable):
    """Direct preference optimisation: chosen answers shall gain on rejected ones, as a reference model sees them."""

    kind: Literal["preference"] = "preference"
    likelihood: Literal["next_token", "masked_diffusion"] = "next_token"
    """How an answer's log-probability is had: exactly, or as the bound of masked diffusion by `draws` masks. It must be
    one that the model was trained for."""
    loss: Literal["sigmoid", "robust", "ipo", "hinge"] = "sigmoid"
    """sigmoid is DPO's, with label_smoothing the conservative form; robust corrects for flipped labels; ipo; hinge."""
    beta: PositiveFloat = 0.1
    """How strongly policy and reference are held together: less is freer."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """Share of pairs that are taken to be labelled the wrong way round; for sigmoid and robust."""
    average: bool | None = None
    """Log-probabilities by token of the answer instead of summed over it. Default: only with loss = "ipo"."""
    reference: Literal["copy", "precomputed", "adapter"] | None = None
    """copy: a frozen copy beside the model; precomputed: its scores of all pairs, once at the start; adapter: the model
    without its LoRA adapters. Default: adapter with [lora], else copy."""
    reference_from: Path | None = None
    """A checkpoint. Default: model.init_from."""
    draws: PositiveInt = 8
    """For masked diffusion: masks an answer, each of another number of tokens, the same for policy and reference."""

    @property
    def tokens_read(self) -> int:
        """The chosen and the rejected answer, by every mask."""
        return 2 * (self.draws if self.likelihood == "masked_diffusion" else 1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.label_smoothing and self.loss not in ("sigmoid", "robust"):
            raise ValueError(
                f'label_smoothing = {self.label_smoothing} has no effect with loss = "{self.loss}"; leave it out, or '
                'use "sigmoid" or "robust"'
            )
        if self.likelihood == "next_token" and self.draws != type(self).model_fields["draws"].default:
            raise ValueError('draws has an effect only with likelihood = "masked_diffusion"; leave it out')
        if self.reference == "adapter" and self.reference_from is not None:
            raise ValueError(
                f'reference_from = {self.reference_from} has no effect with reference = "adapter", which is the model '
                'itself without its adapters; leave it out, or use "copy"'
            )
        if self.likelihood == "masked_diffusion" and self.reference == "precomputed":
            raise ValueError(
                'reference = "precomputed" with likelihood = "masked_diffusion": policy and reference must see the '
                'same masks, which are other ones every step; use "copy" or "adapter"'
            )
        return self


ObjectiveConfig = Annotated[
    NextTokenConfig | MaskedDiffusionConfig | BlockDiffusionConfig | JointConfig | PreferenceConfig,
    Field(discriminator="kind"),
]

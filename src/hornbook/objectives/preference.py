"""Direct preference optimisation: the policy shall prefer chosen answers more than a reference does.

    scores      log pi(answer | prompt), summed over its tokens, or by token       of policy and reference
    rewards     beta (log pi - log ref) of the chosen and of the rejected answer
    margin      (log pi - log ref)(chosen) - (log pi - log ref)(rejected)
    loss        of each pair by its margin (objectives/preference_losses.py), a mean over the pairs of a step

Rafailov et al., 2023, https://arxiv.org/abs/2305.18290. At the start policy and reference are one, and every margin is
zero. That chosen answers too become less probable is usual: it is the difference that is trained. Dropout would be
noise of the policy alone, so there is none: whoever builds the policy sees to it. Of a diffusion model a score is the
estimate of a bound, by the same masks for policy and reference (objectives/answer_noise.py).
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hornbook.config.objective import PreferenceConfig, averages
from hornbook.data.batch import PreferenceBatch, TokenBatch
from hornbook.models.transformer import Transformer
from hornbook.objectives.answer_noise import AnswerMasks
from hornbook.objectives.answer_scores import answer_lengths, draw_scores
from hornbook.objectives.noise import CHOSEN, REJECTED
from hornbook.objectives.objective import LossOutput, StepContext
from hornbook.objectives.preference_losses import preference_loss
from hornbook.objectives.reference import Reference

TERM = "preference"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One answer of each pair, as policy and reference see it."""

    policy: Float[Tensor, "b draws"]
    ratio: Float[Tensor, "b draws"]
    """log pi - log ref, by the same masks."""


class Preference:
    """The objective `preference`. Where `loss_mask` is false, tokens are read and not scored."""

    def __init__(
        self, settings: PreferenceConfig, *, mask_id: int | None, chunk_tokens: int, reference: Reference | None
    ) -> None:
        """`mask_id`: needed by the bound of masked diffusion. Without `reference` the batches hold its scores."""
        self.settings = settings
        self.chunk_tokens = chunk_tokens
        self.reference = reference
        self.masks: AnswerMasks | None = None
        if settings.likelihood == "masked_diffusion":
            assert mask_id is not None
            self.masks = AnswerMasks(draws=settings.draws, mask_id=mask_id)
        self.lookahead = 0 if self.masks else 1
        self.averages = averages({"loss": settings.loss, "average": settings.average})

    def prepare(self, batch: PreferenceBatch, at: StepContext) -> PreferenceBatch:
        """The batch with the masks of both answers, if there are any."""
        if self.masks is None:
            return batch
        chosen, rejected = self.masks(batch.chosen, at, CHOSEN), self.masks(batch.rejected, at, REJECTED)
        return replace(batch, chosen=chosen, rejected=rejected)

    def weight(self, batch: PreferenceBatch) -> dict[str, int]:
        """Pairs; one without a token to score on either side does not count."""
        return {TERM: int(_counted(batch).sum())}

    def __call__(self, model: Transformer, batch: PreferenceBatch) -> LossOutput:
        """The sum of the pairs' losses, and their metrics."""
        assert not (model.training and has_dropout(model)), "preferences are trained without dropout"
        chosen = self._compared(model, batch.chosen, batch.reference_chosen)
        rejected = self._compared(model, batch.rejected, batch.reference_rejected)
        counted = _counted(batch)
        margin = chosen.ratio.mean(dim=1) - rejected.ratio.mean(dim=1)
        losses = torch.where(counted, preference_loss(margin, self.settings), 0.0)
        with torch.no_grad():
            metrics = self._metrics(chosen, rejected, losses, counted)
        return LossOutput(terms={TERM: losses.sum()}, metrics=metrics)

    def _compared(self, model: Transformer, answers: TokenBatch, reference: Float[Tensor, " b"] | None) -> Compared:
        """Scores of the policy, with a gradient, and of the reference, without."""
        is_training = torch.is_grad_enabled()
        with model.computing_as(training=is_training):  # layers below the first adapter have no gradient either
            policy = draw_scores(model, answers, chunk_tokens=self.chunk_tokens)
        if reference is not None:
            expected = reference[:, None].to(policy.dtype)
        else:
            assert self.reference is not None, "the batch holds no scores of the reference"
            with torch.no_grad(), self.reference(model) as other, other.computing_as(training=is_training):
                expected = draw_scores(other, answers, chunk_tokens=self.chunk_tokens)
        if self.averages:
            length = answer_lengths(answers).clamp(min=1)[:, None]
            policy, expected = policy / length, expected / length
        return Compared(policy=policy, ratio=policy - expected)

    def _metrics(
        self, chosen: Compared, rejected: Compared, losses: Float[Tensor, " b"], counted: Bool[Tensor, " b"]
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each pair; the names of log-probabilities say whether they are sums over the answer."""
        beta, pairs = self.settings.beta, counted.sum().float()
        gains = [beta * side.ratio.mean(dim=1) for side in (chosen, rejected)]
        margin = gains[0] - gains[1]
        logps = "logps_per_token" if self.averages else "logps"
        values = {
            "loss": losses,
            "rewards/chosen": gains[0],
            "rewards/rejected": gains[1],
            "rewards/margin": margin,
            "rewards/accuracy": (margin > 0).to(margin.dtype) + 0.5 * (margin == 0),
            f"{logps}/chosen": chosen.policy.mean(dim=1),
            f"{logps}/rejected": rejected.policy.mean(dim=1),
        }
        if self.settings.draws > 1 and self.masks is not None:
            draws = self.settings.draws
            variances = (side.ratio.var(dim=1) / draws for side in (chosen, rejected))
            values["rewards/score_variance"] = beta**2 * sum(variances, torch.zeros_like(margin))
        return {name: (torch.where(counted, value, 0.0).sum(), pairs) for name, value in values.items()}


def has_dropout(model: Transformer) -> bool:
    """Whether passes of a model in training are noisy."""
    return model.config.dropout > 0 or model.config.ngram_dropout > 0


def _counted(batch: PreferenceBatch) -> Bool[Tensor, " b"]:
    sides = (batch.chosen, batch.rejected)
    first, second = (answer_lengths(side) > 0 for side in sides)
    return first & second

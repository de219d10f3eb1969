"""Masked diffusion: fill in masked tokens from all the others, at every mask probability.

    row       x0 x1 x2 x3 x4         T = context_length, nothing is shifted
    read      x0 M  x2 M  x4         each token masked with probability p, one p a row
    targets      x1    x3

    loss = sum over masked tokens of nll / p,  over all tokens that count, masked or not

The mean of that over p and masks bounds the row's negative log-likelihood from above (LLaDA, Nie et al., 2025,
https://arxiv.org/abs/2502.09992, equations 3 and 4): in nats a token, it compares with the nll of next-token training
as "at most". The model sees both sides and is not told p. N-gram embeddings still look backwards only, at the noised
row: what they see is part of what the model reads.
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from hornbook.config.objective import MaskingSettings
from hornbook.data.batch import Noised, TokenBatch
from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.objectives.noise import Masking
from hornbook.objectives.normalise import Normalize, denominator, weights
from hornbook.objectives.objective import LossOutput, StepContext

BUCKETS = {"nll_p0_25": (0.0, 0.25), "nll_p25_50": (0.25, 0.5), "nll_p50_75": (0.5, 0.75), "nll_p75_100": (0.75, 2.0)}
"""Metric -> mask probabilities from .. to below: the mean nll of a masked token, by how much is masked around it."""
TERM = "masked_cross_entropy"


class MaskedDiffusion:
    """The objective `masked_diffusion`. Where `loss_mask` is false, tokens are read as they are and not counted."""

    lookahead = 0

    def __init__(
        self,
        config: MaskingSettings,
        *,
        mask_id: int,
        chunk_tokens: int,
        byte_lengths: Int[Tensor, " v"] | None = None,
    ) -> None:
        """`byte_lengths` (bytes of each token, 0 for special ones) adds the metric `bytes`."""
        self.masking = Masking(config, mask_id=mask_id)
        self.normalize = config.normalize
        self.chunk_tokens = chunk_tokens
        self.byte_lengths = byte_lengths

    def prepare(self, batch: TokenBatch, at: StepContext) -> TokenBatch:
        """The batch with its noise."""
        return replace(batch, noised=self.masking(batch, at, length=batch.tokens.shape[1]))

    def weight(self, batch: TokenBatch) -> dict[str, int]:
        """All tokens that might have been masked, or all conversations that have any."""
        noised = noise_of(batch)
        return {TERM: denominator(noised.counted, noised.document_ids, self.normalize)}

    def __call__(self, model: Transformer, batch: TokenBatch) -> LossOutput:
        """The sum of weighted nll; metrics `nll` (the same: a bound), `mask_ratio`, the buckets, maybe `bytes`."""
        noised = noise_of(batch)
        length = noised.tokens.shape[1]
        targets = batch.tokens[:, :length]
        scores: TokenScores = model(
            noised.tokens,
            positions=None if batch.positions is None else batch.positions[:, :length],
            mask=FULL if noised.document_ids is None else AttentionMask("full", document_ids=noised.document_ids),
            targets=targets,
            asked=noised.masked,
            chunk_tokens=self.chunk_tokens,
            nll_only=True,
        )
        if self.byte_lengths is not None:
            self.byte_lengths = self.byte_lengths.to(targets.device)  # moved once, then kept
        return weighted_sum(scores, targets, noised, self.byte_lengths, self.normalize)


def noise_of(batch: TokenBatch) -> Noised:
    """What `prepare` drew."""
    assert batch.noised is not None, "the batch was not prepared"
    return batch.noised


def weighted_sum(
    scores: TokenScores,
    targets: Int[Tensor, "b t"],
    noised: Noised,
    byte_lengths: Int[Tensor, " v"] | None,
    normalize: Normalize,
) -> LossOutput:
    """The loss of the masked tokens by their scores, and its metrics, which are always by token."""
    nll = torch.where(noised.masked, scores.nll, 0.0)  # other scores may be anything, infinite included
    weighted = noised.weight * nll
    loss = bound = weighted.sum()
    if normalize != "token":
        loss = (weighted * weights(noised.counted, noised.document_ids, normalize)).sum()
    count = noised.counted.sum().float()
    metrics = {"nll": (bound.detach(), count), "mask_ratio": (noised.masked.sum().float(), count)}
    for name, (low, high) in BUCKETS.items():
        inside = noised.masked & (noised.mask_probability >= low) & (noised.mask_probability < high)
        metrics[name] = (torch.where(inside, nll.detach(), 0.0).sum(), inside.sum().float())
    if byte_lengths is not None:
        metrics["bytes"] = (torch.where(noised.counted, byte_lengths[targets], 0).sum().float(), count)
    return LossOutput(terms={TERM: noised.coefficient * loss}, metrics=metrics)

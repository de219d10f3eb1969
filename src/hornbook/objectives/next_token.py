"""Autoregressive training: each token from those before it.

    row      x0 x1 x2 x3 ... xT            T = context_length, lookahead 1
    inputs   x0 x1 x2 ... x(T-1)
    targets     x1 x2 x3 ... xT            the only shift: batches are not shifted, the model does not shift

With smoothing epsilon the target distribution is (1 - epsilon) one-hot + epsilon / vocab_size, the gold token included
(torch's definition; Szegedy et al., arXiv:1512.00567, section 7). With l the logits and Z their log-normaliser,

    cross-entropy = (1 - epsilon) nll + epsilon (Z - mean(l)),      z-loss = coefficient Z^2   (PaLM, arXiv:2204.02311)
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hornbook.config.objective import NextTokenSettings
from hornbook.data.batch import TokenBatch
from hornbook.models.masks import CAUSAL, AttentionMask
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.objectives.normalise import denominator, weights
from hornbook.objectives.objective import LossOutput, StepContext


class NextToken:
    """The objective `next_token`. Only targets whose `loss_mask` is true count."""

    lookahead = 1

    def __init__(
        self, config: NextTokenSettings, *, chunk_tokens: int, byte_lengths: Int[Tensor, " v"] | None = None
    ) -> None:
        """`byte_lengths` (bytes of each token, 0 for special ones) adds the metric `bytes`."""
        self.label_smoothing = config.label_smoothing
        self.z_loss = config.z_loss
        self.normalize = config.normalize
        self.chunk_tokens = chunk_tokens
        self.byte_lengths = byte_lengths

    def prepare(self, batch: TokenBatch, at: StepContext) -> TokenBatch:
        """Nothing is random here."""
        return batch

    def weight(self, batch: TokenBatch) -> dict[str, int]:
        """Each term is a mean over the targets that count, or over conversations."""
        count = denominator(batch.loss_mask[:, 1:], _documents(batch), self.normalize)
        return {"cross_entropy": count, "z_loss": count} if self.z_loss else {"cross_entropy": count}

    def __call__(self, model: Transformer, batch: TokenBatch) -> LossOutput:
        """Sums of smoothed cross-entropy and z-loss; metrics `nll` (never smoothed), `z` (Z squared), maybe `bytes`."""
        targets = batch.tokens[:, 1:]
        counted = batch.loss_mask[:, 1:]
        scores: TokenScores = model(
            batch.tokens[:, :-1],
            positions=None if batch.positions is None else batch.positions[:, :-1],
            mask=_mask(batch),
            targets=targets,
            chunk_tokens=self.chunk_tokens,
            nll_only=not (self.label_smoothing or self.z_loss),
        )
        cross_entropy = scores.nll
        if self.label_smoothing:
            uniform = scores.logsumexp - scores.mean_logit
            cross_entropy = (1.0 - self.label_smoothing) * scores.nll + self.label_smoothing * uniform
        squared_z = scores.logsumexp.square()
        share = None if self.normalize == "token" else weights(counted, _documents(batch), self.normalize)
        terms = {"cross_entropy": _sum(cross_entropy, counted, share)}
        if self.z_loss:
            terms["z_loss"] = self.z_loss * _sum(squared_z, counted, share)
        count = counted.sum().float()
        metrics = {"nll": (_sum(scores.nll.detach(), counted), count), "z": (_sum(squared_z.detach(), counted), count)}
        if self.byte_lengths is not None:
            self.byte_lengths = self.byte_lengths.to(targets.device)  # moved once, then kept
            metrics["bytes"] = (_sum(self.byte_lengths[targets], counted).float(), count)
        return LossOutput(terms=terms, metrics=metrics)


def _mask(batch: TokenBatch) -> AttentionMask:
    if batch.document_ids is None:
        return CAUSAL
    return AttentionMask("causal", document_ids=batch.document_ids[:, :-1])


def _documents(batch: TokenBatch) -> Int[Tensor, "b t"] | None:
    """Those of the targets."""
    return None if batch.document_ids is None else batch.document_ids[:, 1:]


def _sum(
    values: Float[Tensor, "b t"] | Int[Tensor, "b t"],
    counted: Bool[Tensor, "b t"],
    share: Float[Tensor, "b t"] | None = None,
) -> Tensor:
    """Sum where `counted`, by `share`; a value that does not count may be anything, infinite included."""
    found = torch.where(counted, values, 0)
    return (found if share is None else found * share).sum()

"""How probable a model finds the answers of a batch: exactly, token after token, or at least, by masks of them.

    row         p p p a a a E . .        prompt, answer and its stop token, padding
    loss_mask   . . . x x x x . .        the answer, stop token included; no prompt

A row is one prompt with its answer, from its first token on. Scores are sums over the tokens of the answer, in nats;
logits are computed for these alone.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from hornbook.data.batch import TokenBatch
from hornbook.models.masks import CAUSAL, AttentionMask
from hornbook.models.transformer import Transformer
from hornbook.objectives.masked_diffusion import noise_of


def answer_scores(model: Transformer, batch: TokenBatch, *, chunk_tokens: int = 2048) -> Float[Tensor, " b"]:
    """log p(answer | prompt) of each row, in nats.

    Of a batch with masks (`AnswerMasks`) a bidirectional model's: an estimate of a lower bound, their mean.
    """
    return draw_scores(model, batch, chunk_tokens=chunk_tokens).mean(dim=1)


def draw_scores(model: Transformer, batch: TokenBatch, *, chunk_tokens: int = 2048) -> Float[Tensor, "b draws"]:
    """What each mask of a row alone would say of its answer; of a batch without masks one column, which is exact."""
    if batch.noised is None:
        return _exact(model, batch, chunk_tokens)[:, None]
    return _by_masks(model, batch, chunk_tokens)


def answer_lengths(batch: TokenBatch) -> Int64[Tensor, " b"]:
    """Tokens that `answer_scores` adds up, of each row."""
    if batch.noised is None:
        return batch.loss_mask[:, 1:].sum(dim=1)
    counted = batch.noised.counted
    return counted[:: len(counted) // batch.n_rows].sum(dim=1)


def _exact(model: Transformer, batch: TokenBatch, chunk_tokens: int) -> Float[Tensor, " b"]:
    asked = batch.loss_mask[:, 1:]
    scores = model(  # padding lies behind the answer, where nothing of it looks
        batch.tokens[:, :-1],
        mask=CAUSAL,
        targets=batch.tokens[:, 1:],
        asked=asked,
        chunk_tokens=chunk_tokens,
        nll_only=True,
    )
    return -torch.where(asked, scores.nll, 0.0).sum(dim=1)


def _by_masks(model: Transformer, batch: TokenBatch, chunk_tokens: int) -> Float[Tensor, "b draws"]:
    noised = noise_of(batch)
    draws = len(noised.tokens) // batch.n_rows
    scores = model(
        noised.tokens,
        positions=None if batch.positions is None else batch.positions.repeat_interleave(draws, dim=0),
        mask=AttentionMask("full", document_ids=noised.document_ids),
        targets=batch.tokens.repeat_interleave(draws, dim=0),
        asked=noised.masked,
        chunk_tokens=chunk_tokens,
        nll_only=True,
    )
    log_probability = torch.where(noised.masked, -scores.nll, 0.0)
    return (noised.weight * log_probability).sum(dim=1).view(batch.n_rows, draws)

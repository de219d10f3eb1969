"""How surprised the model is by each target, without ever holding the logits of all tokens.

Logits are (b t, v) numbers: 268 MB for 2,048 tokens of a 32,768-token vocabulary. Here they exist for `chunk_tokens`
rows at a time; each chunk keeps three numbers a row, and its logits are computed again in backward.

    nll = logsumexp(z) - z[target]      logsumexp(z) feeds z-loss      mean(z) feeds label smoothing
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]
"""Hidden rows (n, d) to logits (n, v), float32 at least."""


@dataclass(frozen=True)
class TokenScores:
    """Three numbers per target, nats, float32 (float64 for a float64 model).

    nll: -log p(target). logsumexp: log of the softmax denominator. mean_logit: mean over the vocabulary. Cross-entropy
    with label smoothing s is (1 - s) nll + s (logsumexp - mean_logit).
    """

    nll: Float[Tensor, "b t"]
    logsumexp: Float[Tensor, "b t"]
    mean_logit: Float[Tensor, "b t"]


def token_scores(
    hidden: Float[Tensor, "b t d"],
    targets: Int[Tensor, "b t"],
    head: Head,
    *,
    chunk_tokens: int,
    nll_only: bool = False,
) -> TokenScores:
    """Scores `targets` by the logits head(hidden), at most `chunk_tokens` rows of which exist at once.

    With `nll_only` no gradient flows through the other two, which would cost more passes over the logits in backward.
    Every target must be a token id; positions that do not count are dropped by whoever sums.
    Values and gradients equal those of the unchunked computation up to the order of summation.
    """
    rows, flat = hidden.flatten(0, 1), targets.flatten()
    chunks = zip(torch.split(rows, chunk_tokens), torch.split(flat, chunk_tokens), strict=True)
    if len(flat) <= chunk_tokens or not torch.is_grad_enabled():
        parts = [_score(chunk, wanted, head, nll_only) for chunk, wanted in chunks]
    else:
        parts = [
            checkpoint(_score, chunk, wanted, head, nll_only, use_reentrant=False, preserve_rng_state=False)
            for chunk, wanted in chunks
        ]
    nll, logsumexp, mean_logit = (torch.cat(column).view(targets.shape) for column in zip(*parts, strict=True))
    return TokenScores(nll, logsumexp, mean_logit)


def scores_where(
    asked: Bool[Tensor, "b t"],
    hidden: Float[Tensor, "b t d"],
    targets: Int[Tensor, "b t"],
    head: Head,
    *,
    chunk_tokens: int,
    nll_only: bool = False,
) -> TokenScores:
    """`token_scores` where `asked`, and zeros elsewhere, for which no logits are computed."""
    rows = asked.flatten().nonzero()[:, 0]
    some = token_scores(
        hidden.flatten(0, 1)[rows][None],
        targets.flatten()[rows][None],
        head,
        chunk_tokens=chunk_tokens,
        nll_only=nll_only,
    )
    columns = (some.nll, some.logsumexp, some.mean_logit)
    empty = some.nll.new_zeros(asked.numel())
    return TokenScores(*(empty.index_copy(0, rows, column[0]).view(asked.shape) for column in columns))


def _score(
    rows: Float[Tensor, "n d"], targets: Int[Tensor, " n"], head: Head, nll_only: bool
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    logits = head(rows)
    # torch.logsumexp takes several passes over the logits on a CPU, forward and backward; cross_entropy is fused.
    nll = F.cross_entropy(logits, targets, reduction="none")
    scored, seen = (nll.detach(), logits.detach()) if nll_only else (nll, logits)
    return nll, scored + seen.gather(-1, targets[:, None])[:, 0], seen.mean(dim=-1)

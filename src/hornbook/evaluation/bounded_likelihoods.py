"""Likelihoods of a diffusion model, at least: the context stays visible, tokens of the continuation are hidden.

The bound is that of `hornbook eval bound --answer`, with the same draws for every request, so that choices of one
length are compared under the same masks. What the model would name by itself is found by naming one token at a time,
the surest first, and in a model of blocks the blocks in order.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from hornbook.config.bound import BoundConfig
from hornbook.evaluation.diffusion_bound import Reading, draw_of, draw_weights, score_readings
from hornbook.evaluation.exact_likelihoods import MOST_LOGITS, Found
from hornbook.evaluation.noised_scorer import NoisedScorer, noised_scorer
from hornbook.evaluation.requests import Likelihood, Request
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


def bounded_likelihoods(
    model: Transformer,
    tokenizer: Tokenizer,
    objective: Mapping[str, object],
    requests: Sequence[Request],
    bound: BoundConfig,
    *,
    batch_tokens: int = 2048,
) -> Iterator[list[Found]]:
    """Answers in batches of requests of one length, the longest first; each depends on its request and `bound` alone.

    Raises:
        ConfigError: for an objective or tokenizer without masks, and too long a continuation for `exact`.
        GenerationError: if the nll of a hidden token is not finite.
    """
    with noised_scorer(model, tokenizer, objective) as score:
        draw, seed = draw_of(bound, score.block_length), bound.seed or 0
        for places in _of_one_length(requests, batch_tokens, model.config.vocab_size):
            rows = [requests[place] for place in places]
            tokens = np.array([(*row.context, *row.continuation) for row in rows], dtype=np.int64)
            asked = np.stack([np.arange(tokens.shape[1]) >= len(row.context) for row in rows])
            readings = (
                Reading(number, tokens[number], weights)
                for number in range(len(rows))
                for weights in draw_weights(draw, asked[number], seed, 0)
            )
            nats = score_readings(score, readings, len(rows), batch_size=max(1, batch_tokens // tokens.shape[1]))
            greedy = _names(score, torch.from_numpy(tokens), torch.from_numpy(asked))
            yield [
                (place, Likelihood(-float(own), is_named))
                for place, own, is_named in zip(places, nats, greedy, strict=True)
            ]


def _of_one_length(requests: Sequence[Request], most: int, vocab_size: int) -> Iterator[list[int]]:
    by_length: dict[int, list[int]] = {}
    for place, request in enumerate(requests):
        by_length.setdefault(len(request.context) + len(request.continuation), []).append(place)
    for length in sorted(by_length, reverse=True):
        rows = max(1, min(most, MOST_LOGITS // vocab_size) // length)
        for first in range(0, len(by_length[length]), rows):
            yield by_length[length][first : first + rows]


@torch.no_grad()
def _names(score: NoisedScorer, tokens: Int64[Tensor, "n t"], asked: Bool[Tensor, "n t"]) -> list[bool]:
    """Whether the model names all asked tokens of a row as they are; a row is left at its first mistake."""
    right = [True] * len(tokens)
    hidden = asked.clone()
    while left := [row for row in range(len(tokens)) if right[row] and bool(hidden[row].any())]:
        logits = score.logits(tokens[left], hidden[left]).cpu()
        surest, named = logits.log_softmax(dim=2).max(dim=2)
        places = surest.masked_fill(~_next_block(hidden[left], score.block_length), -torch.inf).argmax(dim=1)
        for number, (row, place) in enumerate(zip(left, places.tolist(), strict=True)):
            right[row] = int(named[number, place]) == int(tokens[row, place])
            hidden[row, place] = False
    return right


def _next_block(hidden: Bool[Tensor, "n t"], block_length: int | None) -> Bool[Tensor, "n t"]:
    """The hidden tokens of the first block of each row that has some; of whole texts all of them."""
    if block_length is None:
        return hidden
    blocks = torch.arange(hidden.shape[1]) // block_length
    first = torch.where(hidden, blocks, hidden.shape[1]).amin(dim=1)
    return hidden & (blocks == first[:, None])

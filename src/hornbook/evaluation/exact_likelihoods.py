"""Likelihoods by the chain rule: each token of a continuation after all tokens before it.

one by one      s a b | c d          read together with requests of about its length, padded on the right
                s e | f g h .
shared context  s a b c  |  d        the context of several requests is read once, into a KV cache, and each
                         |  e f      continuation goes on from there
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hornbook.evaluation.requests import Likelihood, Request
from hornbook.models.cache import KVCache
from hornbook.models.transformer import Transformer

SHARED_FROM = 8
"""Tokens of a context from which on sharing it is worth a second pass."""
MOST_LOGITS = 2**25
"""Numbers, 128 MiB, that the logits of one batch may have."""

Found = tuple[int, Likelihood]
"""The place of a request, and the answer to it."""


def exact_likelihoods(
    model: Transformer, requests: Sequence[Request], *, batch_tokens: int = 2048
) -> Iterator[list[Found]]:
    """Answers in batches, the longest requests first; the model is in evaluation mode, its room is kept to.

    At most about `batch_tokens` tokens are read at a time; it changes no number but for rounding.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(request.context, []).append(place)
    alone: list[_Group] = []
    shared: list[_Group] = []
    for context, places in groups.items():
        if len(places) > 1 and len(context) >= SHARED_FROM:
            shared.append(_Group(places, len(context), max(len(requests[place].continuation) for place in places)))
        else:
            alone += (_Group([place], 0, len(context) + len(requests[place].continuation)) for place in places)
    most = min(batch_tokens, max(1, MOST_LOGITS // model.config.vocab_size))
    for batch in _batches(alone, most, model.config.context_length):
        yield _read_whole(model, requests, [place for group in batch for place in group.places])
    for batch in _batches(shared, most, model.config.context_length):
        yield _read_shared(model, requests, [group.places for group in batch])


class _Group(NamedTuple):
    """Requests that are read together, and the most tokens that any of them has in each of two passes."""

    places: list[int]
    context: int
    rest: int


def _batches(groups: list[_Group], most: int, longest: int) -> Iterator[list[_Group]]:
    """Groups of about one length, so many that padded they have at most `most` tokens and fit the context."""
    batch: list[_Group] = []
    rows = context = rest = 0
    for group in sorted(groups, key=lambda group: -group.context - group.rest):
        width = max(context, group.context) + max(rest, group.rest)
        if batch and ((rows + len(group.places)) * width > most or width - 1 > longest):
            yield batch
            batch, rows, context, rest = [], 0, 0, 0
        batch.append(group)
        rows, context, rest = rows + len(group.places), max(context, group.context), max(rest, group.rest)
    if batch:
        yield batch


@torch.inference_mode()
def _read_whole(model: Transformer, requests: Sequence[Request], places: list[int]) -> list[Found]:
    rows = [requests[place] for place in places]
    device = model.token_embedding.weight.device
    tokens = _padded([(*row.context, *row.continuation[:-1]) for row in rows]).to(device)
    targets = _padded([row.continuation for row in rows]).to(device)
    first = torch.tensor([len(row.context) - 1 for row in rows], device=device)
    columns = (first[:, None] + torch.arange(targets.shape[1], device=device)).clamp(max=tokens.shape[1] - 1)
    return _answers(places, rows, model(tokens, only=columns), targets)


@torch.inference_mode()
def _read_shared(model: Transformer, requests: Sequence[Request], groups: list[list[int]]) -> list[Found]:
    contexts = [requests[group[0]].context for group in groups]
    places = [place for group in groups for place in group]
    rows = [requests[place] for place in places]
    device = model.token_embedding.weight.device
    targets = _padded([row.continuation for row in rows]).to(device)
    longest = max(map(len, contexts))
    dtype = model.token_embedding.weight.dtype
    cache = KVCache(model.config, len(groups), longest - 1 + targets.shape[1], dtype=dtype, device=device)
    model(_padded([context[:-1] for context in contexts]).to(device), cache=cache, only=slice(0, 0))
    cache.reorder(
        torch.tensor([number for number, group in enumerate(groups) for _ in group], dtype=torch.int64, device=device)
    )
    # Slots behind a short context hold padding, over which its continuation is written before anybody looks.
    suffixes = _padded([(row.context[-1], *row.continuation[:-1]) for row in rows]).to(device)
    first = torch.tensor([len(row.context) - 1 for row in rows], device=device)
    positions = first[:, None] + torch.arange(suffixes.shape[1], device=device)
    return _answers(places, rows, model(suffixes, positions=positions, cache=cache), targets)


def _padded(rows: Sequence[Sequence[int]]) -> Int64[Tensor, "n t"]:
    """Rows side by side, filled with 0 on the right, where causal attention never looks; one column at least."""
    block = np.zeros((len(rows), max(1, *map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        block[place, : len(row)] = row
    return torch.from_numpy(block)


def _answers(
    places: list[int], rows: list[Request], logits: Float[Tensor, "n t v"], targets: Int64[Tensor, "n t"]
) -> list[Found]:
    lengths = torch.tensor([len(row.continuation) for row in rows], device=targets.device)
    real: Bool[Tensor, "n t"] = torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]
    scores = logits.gather(2, targets[..., None])[..., 0] - logits.logsumexp(dim=2)
    sums = scores.double().where(real, 0.0).sum(dim=1).tolist()
    greedy = ((logits.argmax(dim=2) == targets) | ~real).all(dim=1).tolist()
    return [(place, Likelihood(*answer)) for place, *answer in zip(places, sums, greedy, strict=True)]

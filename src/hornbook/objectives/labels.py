"""What the loss makes of each token of a prepared batch, row by row, for people to look at.

    loss = sum over terms of  (sum over all tokens of weight x nll) / denominator

with the weights that are given here, the nll that the model gives each token as the term's target, and the denominator
that `Objective.weight` gives for all batches of the step. (Label smoothing and z-loss put other things in the place of
the nll, at the same weights.) A preference is made of log-probabilities: there the sum over a row is minus that of its
answer, and the denominator counts pairs.

Weights are read off what objectives prepare and divide by, never made anew: what is shown is what is used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hornbook.data.batch import PADDING_DOCUMENT, PreferenceBatch, TokenBatch
from hornbook.objectives.masked_diffusion import TERM
from hornbook.objectives.normalise import Normalize, weights

NEXT_TOKEN = "cross_entropy"
LOG_PROBABILITY = "log_probability"
"""Of an answer, with the sign turned: what the loss of preferences is a function of."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """One row; every tensor has a place for each of its tokens."""

    tokens: Int64[Tensor, " t"]
    trained: Bool[Tensor, " t"]
    """The loss mask: true at tokens that count as targets."""
    document_ids: Int64[Tensor, " t"]
    """0 everywhere in rows that are not packed; PADDING_DOCUMENT at what fills them up."""
    positions: Int64[Tensor, " t"]
    weights: Mapping[str, Float[Tensor, " t"]]
    """Term of the loss -> how much the nll of each token counts in its sum."""
    masked: Bool[Tensor, " t"] | None = None
    """Of a batch with noise: where the model reads the mask token instead."""
    counted: Bool[Tensor, " t"] | None = None
    """Of a batch with noise: what might have been masked. Trained tokens that do not count were cut off for this step,
    or are the mask token already."""
    mask_probability: Float[Tensor, " t"] | None = None

    @property
    def is_padding(self) -> Bool[Tensor, " t"]:
        """What fills the row up."""
        return self.document_ids == PADDING_DOCUMENT


def labels_of(batch: TokenBatch, *, predicts_next: bool, normalize: Normalize) -> list[Labels]:
    """The rows of a prepared batch.

    Args:
        batch: as the objective's `prepare` gave it.
        predicts_next: whether each token is predicted from those before it, as a term of the loss.
        normalize: the objective's.
    """
    tokens, noised = batch.tokens, batch.noised
    terms: dict[str, Tensor] = {}
    noise: dict[str, Tensor] = {}
    if predicts_next:
        terms[NEXT_TOKEN] = _next_token(batch, normalize)
    if noised is not None:
        share = weights(noised.counted, noised.document_ids, normalize)
        terms[TERM] = _filled(noised.coefficient * noised.weight * share, tokens)
        noise = {
            "masked": _filled(noised.masked, tokens),
            "counted": _filled(noised.counted, tokens),
            "mask_probability": _filled(noised.mask_probability, tokens),
        }
    documents, positions = _places(batch)
    return [
        Labels(
            tokens=tokens[row],
            trained=batch.loss_mask[row],
            document_ids=documents[row],
            positions=positions[row],
            weights={term: weight[row] for term, weight in terms.items()},
            **{name: values[row] for name, values in noise.items()},
        )
        for row in range(batch.n_rows)
    ]


def pair_labels(batch: PreferenceBatch, *, averages: bool) -> list[tuple[list[Labels], list[Labels]]]:
    """The pairs of a prepared batch: the chosen answer and the rejected one, each once for every mask of it.

    Args:
        batch: as the objective's `prepare` gave it.
        averages: whether log-probabilities are by token of the answer.
    """
    return list(zip(_answers(batch.chosen, averages), _answers(batch.rejected, averages), strict=True))


def _answers(batch: TokenBatch, averages: bool) -> list[list[Labels]]:
    """Every answer of a batch; its noise has several rows for each, which are averaged."""
    plain = labels_of(replace(batch, noised=None), predicts_next=False, normalize="token")
    if batch.noised is None:
        weight = _next_token(batch, "token")
        drawn = [[replace(row, weights={LOG_PROBABILITY: own})] for row, own in zip(plain, weight, strict=True)]
    else:
        drawn = [_draws(batch, number, row) for number, row in enumerate(plain)]
    return [[_averaged(row) for row in rows] for rows in drawn] if averages else drawn


def _draws(batch: TokenBatch, number: int, row: Labels) -> list[Labels]:
    noised = batch.noised
    assert noised is not None
    draws = len(noised.tokens) // batch.n_rows
    return [
        replace(
            row,
            weights={LOG_PROBABILITY: noised.weight[place] / draws},
            masked=noised.masked[place],
            counted=noised.counted[place],
            mask_probability=noised.mask_probability[place],
        )
        for place in range(number * draws, (number + 1) * draws)
    ]


def _averaged(row: Labels) -> Labels:
    counted = row.trained[1:] if row.counted is None else row.counted
    length = max(1, int(counted.sum()))
    return replace(row, weights={name: weight / length for name, weight in row.weights.items()})


def _next_token(batch: TokenBatch, normalize: Normalize) -> Float[Tensor, "b t"]:
    """Nothing is predicted before the first token of a row, so that is no target whatever its mask says."""
    documents = None if batch.document_ids is None else batch.document_ids[:, 1:]
    return torch.nn.functional.pad(weights(batch.loss_mask[:, 1:], documents, normalize), (1, 0))


def _filled(values: Tensor, tokens: Int64[Tensor, "b t"]) -> Tensor:
    """Values of the first tokens of each row, and nothing for those behind."""
    return torch.nn.functional.pad(values, (0, tokens.shape[1] - values.shape[1]))


def _places(batch: TokenBatch) -> Sequence[Int64[Tensor, "b t"]]:
    """Document and position of every token."""
    tokens = batch.tokens
    documents = torch.zeros_like(tokens) if batch.document_ids is None else batch.document_ids
    positions = torch.arange(tokens.shape[1]).expand_as(tokens) if batch.positions is None else batch.positions
    return documents, positions

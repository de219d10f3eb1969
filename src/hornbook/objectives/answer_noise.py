"""Several masks of each answer, one for each of several counts: what its bound is estimated by.

    answer      x x x x x x          L = 6 tokens; the prompt is never masked
    draw 0      x M x x x x          k = 1, weight 6
    draw 1      M M x M x x          k = 3, weight 2
    draw 2      M M M M x M          k = 5, weight 6/5

    log p(answer | prompt)  >=  mean over draws of  L/k  sum of log p over the k masked tokens

k is uniform on 1..L and the places are any k alike: the estimator of LLaDA's algorithm 3 (arXiv:2502.09992), whose mean
is that of Bernoulli masks with weight 1/p, with a smaller variance and none that masks nothing. Spending the budget on
draws of one mask each, and giving policy and reference the same ones, is VRPO (LLaDA 1.5, arXiv:2505.19223): the bias
that the loss's curve makes of noise is bounded by the variance of the estimated margin. The draws of an answer are
stratified,

    k_j = 1 + floor(L t_j),     t_j = (u + j / n) mod 1         u in [0, 1) from (seed, step, sample, answer)

The two answers of a pair have draws of their own, as in the paper: what policy and reference differ by goes up with
training for one and down for the other, so that common counts would add to the variance of their difference.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float64

from hornbook.data.batch import Noised, TokenBatch
from hornbook.objectives.noise import uniforms
from hornbook.objectives.objective import StepContext


class AnswerMasks:
    """Draws the masks of whole batches, on the host."""

    def __init__(self, *, draws: int, mask_id: int) -> None:
        self.draws = draws
        self.mask_id = mask_id

    def __call__(self, batch: TokenBatch, at: StepContext, purpose: int) -> TokenBatch:
        """The batch with `draws` masks of each row's answer, the tokens whose `loss_mask` is true.

        They are a function of (seed, step, sample, purpose) and the answer's length, however rows are padded. A token
        that is the mask token already stays, and is not counted.
        """
        counted = batch.loss_mask & (batch.tokens != self.mask_id)
        rows = [
            _weights(own.numpy(), _uniforms(at, sample, purpose, int(own.sum()), self.draws), self.draws)
            for own, sample in zip(counted.cpu(), batch.sample_ids.tolist(), strict=True)
        ]
        weight = torch.from_numpy(np.concatenate(rows)).to(batch.tokens.device)
        masked = weight > 0
        tokens, counted = (each.repeat_interleave(self.draws, dim=0) for each in (batch.tokens, counted))
        noised = Noised(
            tokens=torch.where(masked, self.mask_id, tokens),
            counted=counted,
            masked=masked,
            mask_probability=torch.where(masked, 1.0 / weight, 0.0).float(),
            weight=weight.float(),
            document_ids=_documents(batch).repeat_interleave(self.draws, dim=0),
        )
        return replace(batch, noised=noised)


def _documents(batch: TokenBatch) -> torch.Tensor:
    """The batch's own; else what stands behind an answer, which is padding, is one that the rest does not see."""
    if batch.document_ids is not None:
        return batch.document_ids
    return (batch.loss_mask.flip(1).cumsum(1).flip(1) == 0).long()


def _uniforms(at: StepContext, sample: int, purpose: int, length: int, draws: int) -> Float64[np.ndarray, " n"]:
    return uniforms(at.seed, at.step, sample, purpose, 1 + draws * length)


def _weights(
    answer: Bool[np.ndarray, " t"], numbers: Float64[np.ndarray, " n"], draws: int
) -> Float64[np.ndarray, "draws t"]:
    """L / k where a draw masks a token of the answer, 0 elsewhere."""
    whole = np.zeros((draws, len(answer)))
    length = int(answer.sum())
    if length:
        times = (numbers[0] + np.arange(draws) / draws) % 1.0
        counts = 1 + np.minimum((times * length).astype(np.int64), length - 1)
        place = numbers[1:].reshape(draws, length).argsort(axis=1).argsort(axis=1)
        whole[:, answer] = np.where(place < counts[:, None], length / counts[:, None], 0.0)
    return whole

"""How much each target counts, and what the loss is divided by.

    normalize    weight of a target                     denominator
    token        1                                      targets
    sequence     1 / targets of its conversation        conversations with a target

The loss of a step is sum(weight * value) / sum(denominator), both over all its micro-batches and ranks. With `token` a
long answer weighs more than a short one; with `sequence` each conversation has the mean of its own targets, whatever
stands in the same row or batch (LLaDA's fine-tuning loss: Nie et al., 2025, https://arxiv.org/abs/2502.09992, eq. 5).
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from hornbook.data.batch import TokenBatch

Normalize = Literal["token", "sequence"]


def target_weights(batch: TokenBatch, normalize: Normalize) -> tuple[Float[Tensor, "b t"], int]:
    """(weight of each token as a target, float32 and 0 where it is none; what the batch adds to the denominator)."""
    given = batch.loss_mask, batch.document_ids, normalize
    return weights(*given), denominator(*given)


def weights(
    counted: Bool[Tensor, "b t"], document_ids: Int[Tensor, "b t"] | None, normalize: Normalize
) -> Float[Tensor, "b t"]:
    """The weight of each target, float32; waits for no device."""
    if normalize == "token":
        return counted.float()
    place = conversations(counted, document_ids)
    return counted / _targets(counted, place).gather(1, place).clamp(min=1)


def denominator(counted: Bool[Tensor, "b t"], document_ids: Int[Tensor, "b t"] | None, normalize: Normalize) -> int:
    """What these targets add to the denominator."""
    if normalize == "token":
        return int(counted.sum())
    return int((_targets(counted, conversations(counted, document_ids)) > 0).sum())


def conversations(like: Tensor, document_ids: Int[Tensor, "b t"] | None) -> Int64[Tensor, "b t"]:
    """The how-manieth of its row each token's document is, from 0; padding counts as one. Without ids a row is one."""
    if document_ids is None:
        return torch.zeros_like(like, dtype=torch.int64)
    is_first = document_ids[:, 1:] != document_ids[:, :-1]
    return F.pad(is_first.long(), (1, 0)).cumsum(1)


def _targets(counted: Bool[Tensor, "b t"], place: Int64[Tensor, "b t"]) -> Float[Tensor, "b t"]:
    """Targets of each row's 0th, 1st, ... conversation."""
    return torch.zeros(counted.shape, device=counted.device).scatter_add_(1, place, counted.float())

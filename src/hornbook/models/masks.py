"""Which key each query may attend to. The mask is an argument of the model: the same weights serve every kind.

    causal        full          causal + documents a a b b
    q0 x . . .    x x x x       x . . .
    q1 x x . .    x x x x       x x . .
    q2 x x x .    x x x x       . . x .
    q3 x x x x    x x x x       . . x x

    block_causal sees like full within a block of `block_length` positions, and like causal between blocks

Without a cache, "before" is the order in the row, whatever `positions` say, so packed rows may restart their positions.
With a cache, slot = position, and "before" is by slot. Every query may attend to itself: a row of the softmax is never
empty, so the outputs at padding are finite (and meaningless), never NaN.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from hornbook.errors import GenerationError
from hornbook.models.cache import Slots


@dataclass(frozen=True)
class AttentionMask:
    """What may be attended to.

    kind: "causal" sees itself and what stands before; "full" sees both sides; "block_causal" sees its own block of
        `block_length` (blocks begin at 0) and all blocks before it.
    document_ids: queries see only keys of the same id, in addition to `kind`; not with a cache.
    key_is_real: false at keys that nobody else may see (padding). With a cache it covers all its max_length slots.
    """

    kind: Literal["causal", "full", "block_causal"]
    document_ids: Int[Tensor, "b t"] | None = None
    key_is_real: Bool[Tensor, "b s"] | None = None
    block_length: int | None = None


CAUSAL = AttentionMask("causal")
FULL = AttentionMask("full")


class Visibility(NamedTuple):
    """A mask as scaled_dot_product_attention takes it: an explicit one, or the flag for plain causal, or neither."""

    allowed: Bool[Tensor, "#b 1 t s"] | None
    is_causal: bool


def resolve(mask: AttentionMask, *, length: int, device: torch.device) -> Visibility:
    """The mask over `length` tokens that attend to one another. Plain causal and plain full need no tensor."""
    if mask.document_ids is None and mask.key_is_real is None and mask.kind != "block_causal":
        return Visibility(None, mask.kind == "causal")
    allowed = torch.ones(1, 1, length, length, dtype=torch.bool, device=device)
    if mask.kind == "causal":
        allowed = allowed.tril()
    elif mask.kind == "block_causal":
        allowed = _block_causal(torch.arange(length, device=device), length, mask)
    if mask.document_ids is not None:
        allowed = allowed & (mask.document_ids[:, None, :, None] == mask.document_ids[:, None, None, :])
    if mask.key_is_real is not None:
        itself = torch.eye(length, dtype=torch.bool, device=device)
        allowed = allowed & mask.key_is_real[:, None, None, :] | itself
    return Visibility(allowed, is_causal=False)


def resolve_cached(mask: AttentionMask, slots: Slots) -> Visibility:
    """The mask of queries at `slots` over the slots [0, slots.end) of a cache.

    Raises:
        GenerationError: with document_ids (one cache row is one document), or a key_is_real that is too short.
    """
    if mask.document_ids is not None:
        raise GenerationError("a KV cache row holds one document: got document_ids with a cache; pass them without one")
    real = mask.key_is_real
    if real is not None and real.shape[1] < slots.end:
        raise GenerationError(f"key_is_real covers {real.shape[1]} slots of the cache, {slots.end} are attended to")
    visibility = _of_kind(mask, slots)
    if real is None:
        return visibility
    slot = torch.arange(slots.end, device=slots.positions.device)
    at = slots.positions[:, None, :, None]
    allowed = visibility.allowed if not visibility.is_causal else slot <= at
    shown = real[:, None, None, : slots.end]
    return Visibility((shown if allowed is None else shown & allowed) | (slot == at), is_causal=False)


def _of_kind(mask: AttentionMask, slots: Slots) -> Visibility:
    match mask.kind:
        case "causal":
            return _causal_slots(slots)
        case "full":
            return _filled_slots(slots)
        case "block_causal":
            return Visibility(_block_causal(slots.positions, slots.end, mask), is_causal=False)


def _block_causal(positions: Int[Tensor, "*b t"], end: int, mask: AttentionMask) -> Bool[Tensor, "#b 1 t s"]:
    """Keys [0, end) by the queries at `positions`: up to the end of each one's block."""
    assert mask.block_length is not None
    stop = (positions // mask.block_length + 1) * mask.block_length
    return (torch.arange(end, device=positions.device) < stop[..., None]).view(-1, 1, positions.shape[-1], end)


def _causal_slots(slots: Slots) -> Visibility:
    """Each query sees the slots up to its own; the two common cases, prefill from 0 and one token, need no tensor."""
    n_queries = slots.positions.shape[1]
    if slots.start == 0:
        return Visibility(None, is_causal=True)
    if slots.start is not None and n_queries == 1:
        return Visibility(None, is_causal=False)
    at = slots.positions if slots.start is None else slots.positions[:1]
    return Visibility(torch.arange(slots.end, device=at.device) <= at[:, None, :, None], is_causal=False)


def _filled_slots(slots: Slots) -> Visibility:
    """Each query sees every slot of its row that holds an entry, before or behind it."""
    if slots.filled is None:
        return Visibility(None, is_causal=False)
    n_queries = slots.positions.shape[1]
    allowed = torch.arange(slots.end, device=slots.filled.device) < slots.filled[:, None, None, None]
    return Visibility(allowed.expand(-1, -1, n_queries, -1), is_causal=False)

"""Which key each query may attend to. The mask is an argument of the model: the same weights serve every kind.

    causal        full          causal + documents a a b b
    q0 x . . .    x x x x       x . . .
    q1 x x . .    x x x x       x x . .
    q2 x x x .    x x x x       . . x .
    q3 x x x x    x x x x       . . x x

    block_causal, block_length 2      block_diffusion, block_length 2: noised n, then the same tokens clean c
    q0 x x . .                            n0 n1 n2 n3 c0 c1 c2 c3
    q1 x x . .                        n0   x  x  .  .  .  .  .  .
    q2 x x x x                        n2   .  .  x  x  x  x  .  .
    q3 x x x x                        c0   .  .  .  .  x  x  .  .
                                      c2   .  .  .  .  x  x  x  x

Block diffusion's two halves are one row of 2T tokens (Arriola et al., 2025, https://arxiv.org/abs/2503.09573): a noised
block sees itself and the clean blocks before it, which is what it sees in decoding under block_causal.

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

    kind: "causal" sees itself and what stands before; "full" sees both sides; "block_causal" sees its own block and
        those before; "block_diffusion" is of rows that hold a noised text and the same text clean.
    block_length: tokens of a block, for these two. Blocks count from the first token of the row, with a cache from slot
        0; whoever decodes by blocks writes whole ones.
    document_ids: queries see only keys of the same id, in addition to `kind`; not with a cache.
    key_is_real: false at keys that nobody else may see (padding). With a cache it covers all its max_length slots.
    """

    kind: Literal["causal", "full", "block_causal", "block_diffusion"]
    document_ids: Int[Tensor, "b t"] | None = None
    key_is_real: Bool[Tensor, "b s"] | None = None
    block_length: int | None = None

    def __post_init__(self) -> None:
        assert (self.block_length is not None) == self.kind.startswith("block")


MAX_STRIPS, MIN_STRIP = 4, 64
"""Into how many strips queries are cut whose keys are known to lie in part of the row, and how few are worth one."""
CAUSAL = AttentionMask("causal")
FULL = AttentionMask("full")


class Strip(NamedTuple):
    """Some neighbouring queries, and all keys that any of them may see: attention for them needs no others."""

    queries: tuple[int, int]
    """From, to below."""
    keys: tuple[tuple[int, int], ...]
    """The same, one after another."""
    allowed: Bool[Tensor, "#b 1 queries keys"] | None
    """None: every query sees all of them."""


class Visibility(NamedTuple):
    """A mask as scaled_dot_product_attention takes it: an explicit one, or the flag for plain causal, or neither."""

    allowed: Bool[Tensor, "#b 1 t s"] | None
    is_causal: bool
    strips: tuple[Strip, ...] = ()
    """The same mask in pieces that leave out most of what is hidden, if that pays; queries in order, all of them."""


def resolve(mask: AttentionMask, *, length: int, device: torch.device) -> Visibility:
    """The mask over `length` tokens that attend to one another. Plain causal and plain full need no tensor."""
    if mask.block_length is None and mask.document_ids is None and mask.key_is_real is None:
        return Visibility(None, mask.kind == "causal")
    allowed = _allowed(mask, length=length, device=device)[None, None]
    if mask.document_ids is not None:
        allowed = allowed & (mask.document_ids[:, None, :, None] == mask.document_ids[:, None, None, :])
    if mask.key_is_real is not None:
        itself = torch.eye(length, dtype=torch.bool, device=device)
        allowed = allowed & mask.key_is_real[:, None, None, :] | itself
    strips = _strips(allowed, mask.block_length) if mask.kind == "block_diffusion" and mask.block_length else ()
    return Visibility(allowed, is_causal=False, strips=strips)


def _strips(allowed: Bool[Tensor, "#b 1 t t"], block_length: int) -> tuple[Strip, ...]:
    """The mask `block_diffusion` in strips of whole blocks: with four a half, 3/8 of all its scores are computed.

    Noised queries from a to below b see keys among the noised a .. b and the clean 0 .. b less one block, clean ones
    among the clean 0 .. b.
    """
    half = allowed.shape[-1] // 2
    height = -(-max(MIN_STRIP, -(-half // MAX_STRIPS)) // block_length) * block_length
    spans = [(start, min(start + height, half)) for start in range(0, half, height)]
    noised = [(span, (span, (half, half + (span[1] - 1) // block_length * block_length))) for span in spans]
    clean = [((half + start, half + stop), ((half, half + stop),)) for start, stop in spans]
    return tuple(
        Strip(queries, keys, cut(allowed[..., slice(*queries), :], keys, dim=-1)) for queries, keys in noised + clean
    )


def cut(whole: Tensor, spans: tuple[tuple[int, int], ...], *, dim: int) -> Tensor:
    """What lies in these spans of a dimension, one after another."""
    pieces = [whole.narrow(dim, start, stop - start) for start, stop in spans if stop > start]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=dim)


def _allowed(mask: AttentionMask, *, length: int, device: torch.device) -> Bool[Tensor, "t t"]:
    """What `mask.kind` alone allows each query, by row, of the keys."""
    if mask.block_length is None:
        everything = torch.ones(length, length, dtype=torch.bool, device=device)
        return everything.tril() if mask.kind == "causal" else everything
    place = torch.arange(length, device=device)
    if mask.kind == "block_causal":
        block = place // mask.block_length
        return block[:, None] >= block
    assert length % 2 == 0
    block, is_clean = place % (length // 2) // mask.block_length, place >= length // 2
    earlier_or_own_clean = block < block[:, None] + is_clean[:, None]
    own_noised = ~is_clean[:, None] & (block == block[:, None])
    return torch.where(is_clean, earlier_or_own_clean, own_noised)


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
    assert mask.kind != "block_diffusion"
    if slots.spans:
        assert mask.kind == "causal"
        assert real is None
        return _causal_spans(slots)
    if mask.kind == "full":
        visibility = _filled_slots(slots)
    else:
        visibility = _causal_slots(slots) if mask.block_length is None else _block_slots(slots, mask.block_length)
    if real is None:
        return visibility
    slot = torch.arange(slots.end, device=slots.positions.device)
    at = slots.positions[:, None, :, None]
    allowed = visibility.allowed if not visibility.is_causal else slot <= at
    shown = real[:, None, None, : slots.end]
    return Visibility((shown if allowed is None else shown & allowed) | (slot == at), is_causal=False)


def _causal_slots(slots: Slots) -> Visibility:
    """Each query sees the slots up to its own; the two common cases, prefill from 0 and one token, need no tensor."""
    n_queries = slots.positions.shape[1]
    if slots.start == 0:
        return Visibility(None, is_causal=True)
    if slots.start is not None and n_queries == 1:
        return Visibility(None, is_causal=False)
    at = slots.positions if slots.start is None else slots.positions[:1]
    return Visibility(torch.arange(slots.end, device=at.device) <= at[:, None, :, None], is_causal=False)


def _causal_spans(slots: Slots) -> Visibility:
    """Each span of queries sees its own slots, and of its last ones those up to its own."""
    strips = []
    for first, below, slot, end in slots.spans:
        n_queries, n_keys = below - first, end - slot
        allowed = None
        if n_queries > 1:
            seen = torch.ones(n_queries, n_keys, dtype=torch.bool, device=slots.positions.device)
            allowed = seen.tril(n_keys - n_queries)[None, None]
        strips.append(Strip((first, below), ((slot, end),), allowed))
    return Visibility(None, is_causal=False, strips=tuple(strips))


def _block_slots(slots: Slots, block_length: int) -> Visibility:
    """Each query sees the slots up to the end of its block; one whole block, the usual case, needs no tensor."""
    last = slots.end - 1
    if slots.start is not None and slots.start // block_length == last // block_length:
        return Visibility(None, is_causal=False)
    at = slots.positions if slots.start is None else slots.positions[:1]
    slot = torch.arange(slots.end, device=at.device)
    return Visibility(slot // block_length <= (at // block_length)[:, None, :, None], is_causal=False)


def _filled_slots(slots: Slots) -> Visibility:
    """Each query sees every slot of its row that holds an entry, before or behind it."""
    if slots.filled is None:
        return Visibility(None, is_causal=False)
    n_queries = slots.positions.shape[1]
    allowed = torch.arange(slots.end, device=slots.filled.device) < slots.filled[:, None, None, None]
    return Visibility(allowed.expand(-1, -1, n_queries, -1), is_causal=False)

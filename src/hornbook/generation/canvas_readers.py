"""From canvases to the logits of their holes, with or without a cache.

FreshReader reads every row from its start, at every step: slow, obvious, and what the others are measured against.
CachedReader keeps keys and values of what it does not read again. c is read from the cache, r is read now:

    full attention, prefix      first step of a block  r r r r r r r r     then  c c c r r r r r
    full attention, dual                               r r r r r r r r     then  c c c r r r c c
    full attention, delayed                            r r r r r r r r     then  c c c r c r c c
    block-causal                first, what was just finished: c r r r     then  c c c c r r r

With full attention what stands in the cache was computed while more of the block was masked, so it is an approximation
(Wu et al. 2025, Fast-dLLM, arXiv:2505.22618); it is made anew for every block. Delayed reads a token of the block once
more after it was decided, and then no longer (Ma et al. 2025, dKV-Cache, arXiv:2505.15781). The finished blocks of a
block-causal model never see what comes after them: what is kept of them is exact (Arriola et al. 2025,
arXiv:2503.09573).
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from hornbook.generation.canvas import Canvas
from hornbook.models.cache import KVCache
from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.transformer import Transformer

Kept = Literal["prefix", "dual", "delayed"]
"""What is not read again within a block."""


@runtime_checkable
class CanvasReader(Protocol):
    """Turns canvases into the logits of their holes."""

    def read(self, rows: Sequence[Canvas], index: int, wanted: Sequence[Sequence[int]]) -> Float[Tensor, "b n v"]:
        """Logits at the `wanted` positions of each row, in its block `index`; a shorter list is padded to n.

        `rows` are those of the last call, in order, without the finished ones.
        """
        ...


class FreshReader:
    """Reads every row anew; rows of one length together, without padding."""

    def __init__(self, model: Transformer, *, causal_block_length: int | None) -> None:
        self._model = model
        self._device = model.token_embedding.weight.device
        self._mask = attention_of(causal_block_length)
        self._is_causal = causal_block_length is not None

    @torch.inference_mode()
    def read(self, rows: Sequence[Canvas], index: int, wanted: Sequence[Sequence[int]]) -> Float[Tensor, "b n v"]:
        """Logits at `wanted`."""
        columns = _padded(wanted)
        lengths = [row.blocks[index].end if self._is_causal else len(row.tokens) for row in rows]
        found: dict[int, Tensor] = {}
        for length in set(lengths):
            group = [number for number, own in enumerate(lengths) if own == length]
            tokens = self._tensor([rows[number].tokens[:length] for number in group])
            only = self._tensor([columns[number] for number in group])
            found |= dict(zip(group, self._model(tokens, mask=self._mask, only=only), strict=True))
        return found[0][None] if len(rows) == 1 else torch.stack([found[number] for number in range(len(rows))])

    def _tensor(self, numbers: list[list[int]]) -> Tensor:
        return torch.tensor(numbers, device=self._device)


class CachedReader:
    """Reads only what the cache lacks.

    A shorter row is padded by repeating its last token at that token's own position, which writes the same entry again.
    """

    def __init__(
        self, model: Transformer, rows: Sequence[Canvas], *, causal_block_length: int | None, keeps: Kept
    ) -> None:
        weight = model.token_embedding.weight
        self._model = model
        self._device = weight.device
        self._mask = attention_of(causal_block_length)
        self._is_causal = causal_block_length is not None
        self._keeps = keeps
        self._read_last: Sequence[Sequence[int]] = []
        self._rows = list(rows)
        self._index = -1
        longest = max((len(row.tokens) for row in rows), default=1)
        self._cache = KVCache(model.config, len(rows), longest, dtype=weight.dtype, device=weight.device)

    @torch.inference_mode()
    def read(self, rows: Sequence[Canvas], index: int, wanted: Sequence[Sequence[int]]) -> Float[Tensor, "b n v"]:
        """Logits at `wanted`."""
        begins = index != self._index
        read_last, self._index, self._read_last = self._read_last, index, wanted
        if begins:
            self._drop_finished(rows)
        if begins and not self._is_causal:
            self._cache.reset()
            spans: list[Sequence[int]] = [range(len(row.tokens)) for row in rows]
            logits = self._forward(rows, spans, FULL, wanted)
            self._cache.advance(self._tensor([len(span) for span in spans]))
            return logits
        if begins:
            self._write_finished(rows, index)
        if self._keeps == "delayed":  # what was masked the last time: it still is, or was decided since
            open_or_new = [sorted({*before, *now}) for before, now in zip(read_last, wanted, strict=True)]
            return self._forward(rows, open_or_new, FULL, wanted)
        blocks = [row.blocks[index] for row in rows]
        to_block_end = self._is_causal or self._keeps == "dual"
        spans = [range(b.start, b.end if to_block_end else len(r.tokens)) for r, b in zip(rows, blocks, strict=True)]
        return self._forward(rows, spans, FULL, wanted)

    def _write_finished(self, rows: Sequence[Canvas], index: int) -> None:
        """Store what was decided since the last time, blocks that nothing after them can change."""
        starts = [row.blocks[index].start for row in rows]
        spans = [range(cached, start) for cached, start in zip(self._cache.lengths.tolist(), starts, strict=True)]
        if not any(spans):
            return
        # A row without news reads the first token of its block, which the block itself then writes over.
        read = [span or range(start, start + 1) for span, start in zip(spans, starts, strict=True)]
        self._forward(rows, read, self._mask, [[span[-1]] for span in read])
        self._cache.advance(self._tensor([len(span) for span in spans]))

    def _forward(
        self,
        rows: Sequence[Canvas],
        read: Sequence[Sequence[int]],
        mask: AttentionMask,
        wanted: Sequence[Sequence[int]],
    ) -> Float[Tensor, "b n v"]:
        """Read some positions of each row, and give the logits of those that are wanted among them."""
        positions = _padded(read)
        tokens = [[row.tokens[at] for at in own] for row, own in zip(rows, positions, strict=True)]
        columns = [[own.index(at) for at in some] for own, some in zip(positions, _padded(wanted), strict=True)]
        logits: Tensor = self._model(
            self._tensor(tokens),
            positions=self._tensor(positions),
            mask=mask,
            cache=self._cache,
            only=self._tensor(columns),
        )
        return logits

    def _drop_finished(self, rows: Sequence[Canvas]) -> None:
        if len(rows) < len(self._rows):
            kept = [number for number, old in enumerate(self._rows) if any(old is row for row in rows)]
            self._cache.reorder(self._tensor(kept))
            self._rows = list(rows)

    def _tensor(self, numbers: Sequence[object]) -> Tensor:
        return torch.tensor(numbers, device=self._device)


def attention_of(causal_block_length: int | None) -> AttentionMask:
    """What a model that was trained so attends to."""
    return FULL if causal_block_length is None else AttentionMask("block_causal", block_length=causal_block_length)


def _padded(own: Sequence[Sequence[int]]) -> list[list[int]]:
    """Lists of one length, each filled up by its last number."""
    width = max(len(numbers) for numbers in own)
    return [[*numbers, *[numbers[-1]] * (width - len(numbers))] for numbers in own]

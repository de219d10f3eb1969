"""Autoregressive decoding of ragged batches: read what is pending, draw one token a row, repeat.

    Row.pending -> reader -> logits (live rows, v) -> filters -> one token a row -> Row.append (end, or slide) ->
    TokenChunk

Two readers answer "what follows each row's window". CachedReader feeds only what the cache lacks: the whole prompt at
first, one token later, half a context after a slide; all three are one case. FreshReader reads every window anew, a
row of one length at a time without padding: slow, obvious, and the oracle that the cached one must equal.
"""

from collections.abc import Collection, Generator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hornbook.config.generate import SamplingConfig
from hornbook.generation.decoder import NO_TOKEN, TokenChunk
from hornbook.generation.filters import choose
from hornbook.generation.noise import row_noise
from hornbook.generation.rows import ContextOverflow, Row, admit
from hornbook.models.cache import KVCache
from hornbook.models.packed import packed
from hornbook.models.transformer import Transformer

LAST = slice(-1, None)


class Autoregressive:
    """Decoder that draws one token after another as `sampling` says.

    A row's tokens depend on its prompt, its seed and the settings alone: not on the batch or the cache, up to
    rounding of the logits, which can matter only where the draw falls within rounding of a border between two tokens.

    `vocab_size` is the tokenizer's, where the model's was rounded up: ids from there on are never drawn, nor are
    `unused_ids` below it, which no token has.
    """

    def __init__(
        self,
        sampling: SamplingConfig,
        *,
        cache: bool = True,
        context_overflow: ContextOverflow = "stop",
        vocab_size: int | None = None,
        unused_ids: Collection[int] = (),
    ) -> None:
        self._sampling = sampling
        self._use_cache = cache
        self._overflow: ContextOverflow = context_overflow
        self._vocab_size = vocab_size
        self._unused_ids = frozenset(unused_ids)

    def __call__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        seeds: Sequence[int],
    ) -> Generator[TokenChunk, None, None]:
        """Chunks of one token until every row is finished. The model is in eval mode meanwhile, as before afterwards.

        Raises:
            GenerationError: at once for prompts that cannot be served (see `rows`); while decoding, for logits that
                are not finite.
        """
        rows = admit(
            prompts,
            seeds,
            context_length=model.config.context_length,
            vocab_size=model.config.vocab_size,
            max_new_tokens=max_new_tokens,
            overflow=self._overflow,
        )
        return self._decode(model, rows, frozenset(stop_ids))

    def _decode(
        self, model: Transformer, rows: list[Row], stop_ids: frozenset[int]
    ) -> Generator[TokenChunk, None, None]:
        seen = _seen(rows, model.config.vocab_size)
        was_training = model.training
        model.eval()
        try:
            reader: Reader = CachedReader(packed(model), rows) if self._use_cache else FreshReader(model)
            while any(row.reason is None for row in rows):
                yield self._step(reader, rows, seen, stop_ids, model.config.context_length)
        finally:
            if was_training:
                model.train()

    def _step(
        self,
        reader: "Reader",
        rows: list[Row],
        seen: Bool[Tensor, "b v"],
        stop_ids: frozenset[int],
        context_length: int,
    ) -> TokenChunk:
        """Draw the next token of every live row. `seen` and `rows` are updated."""
        live = [number for number, row in enumerate(rows) if row.reason is None]
        drawn, logprobs = self._draw(reader.next_logits([rows[number] for number in live]), seen[live], rows, live)
        tokens = torch.full((len(rows), 1), NO_TOKEN)
        scores = torch.zeros(len(rows), 1)
        for number, token, logprob in zip(live, drawn, logprobs, strict=True):
            tokens[number, 0], scores[number, 0] = token, logprob
            seen[number, token] = True
            rows[number].append(token, stop=token in stop_ids, context_length=context_length)
        reasons = tuple(row.reason for row in rows)
        finished = torch.tensor([reason is not None for reason in reasons])
        return TokenChunk(tokens=tokens, finished=finished, reasons=reasons, logprobs=scores)

    @torch.inference_mode()
    def _draw(
        self, logits: Float[Tensor, "live v"], seen: Bool[Tensor, "live v"], rows: list[Row], live: list[int]
    ) -> tuple[list[int], list[float]]:
        if logits.device.type == "mps":
            logits = logits.cpu()  # Apple's GPUs have no float64
        noise = row_noise([rows[number].seed for number in live], [len(rows[number].tokens) for number in live])
        known = self._known_ids(logits)
        chosen = choose(logits[:, known], seen[:, known].to(logits.device), noise.to(logits.device), self._sampling)
        if isinstance(known, Tensor):
            chosen = known[chosen]
        logprobs = logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(dim=-1)
        return chosen.tolist(), logprobs.tolist()

    def _known_ids(self, logits: Float[Tensor, "live v"]) -> slice | Int64[Tensor, " known"]:
        """The ids that may be drawn, as an index; a slice where it can be, which copies nothing."""
        if not self._unused_ids:
            return slice(self._vocab_size)
        ids = range(logits.shape[-1])[: self._vocab_size]
        return torch.tensor([i for i in ids if i not in self._unused_ids], device=logits.device)


@runtime_checkable
class Reader(Protocol):
    """Turns rows into the logits of their next tokens."""

    def next_logits(self, rows: list[Row]) -> Float[Tensor, "live v"]:
        """Logits after each row's window; `rows` are those of the last call, in order, without the finished ones."""
        ...


class FreshReader:
    """Reads every window from its start, with no cache and no padding: rows of one length together."""

    def __init__(self, model: Transformer) -> None:
        self._model = model
        self._device = model.token_embedding.weight.device

    @torch.inference_mode()
    def next_logits(self, rows: list[Row]) -> Float[Tensor, "live v"]:
        """Logits after each row's window."""
        lengths = [len(row.window) for row in rows]
        found: dict[int, Tensor] = {}
        for length in set(lengths):
            group = [number for number, own in enumerate(lengths) if own == length]
            tokens = torch.tensor([rows[number].window for number in group], device=self._device)
            found |= dict(zip(group, self._model(tokens, only=LAST)[:, 0], strict=True))
        return torch.stack([found[number] for number in range(len(rows))])


class CachedReader:
    """Reads only what the KV cache lacks.

    A shorter row is padded by repeating its last token at that token's own position: the repeats write the same cache
    entry again, need no slot beyond the context, and put every row's last real token in the last column.
    """

    def __init__(self, model: Transformer, rows: list[Row]) -> None:
        weight = model.token_embedding.weight
        longest = max((len(row.window) + row.limit for row in rows), default=1)
        self._model = model
        self._device = weight.device
        self._rows = rows
        self._cache = KVCache(
            model.config,
            len(rows),
            min(longest, model.config.context_length),
            dtype=weight.dtype,
            device=weight.device,
        )

    @torch.inference_mode()
    def next_logits(self, rows: list[Row]) -> Float[Tensor, "live v"]:
        """Logits after each row's window; afterwards the cache holds the whole windows."""
        self._drop_finished(rows)
        pending = [row.pending for row in rows]
        width = max(len(tokens) for tokens in pending)
        tokens = torch.tensor([_fill(own, width) for own in pending], device=self._device)
        positions = torch.tensor(
            [_fill(range(row.cached, row.cached + len(own)), width) for row, own in zip(rows, pending, strict=True)],
            device=self._device,
        )
        self._cache.truncate(positions[:, 0])  # a row that slid starts again
        logits: Tensor = self._model(tokens, positions=positions, cache=self._cache, only=LAST)
        self._cache.advance(positions[:, -1] + 1 - positions[:, 0])
        for row, own in zip(rows, pending, strict=True):
            row.cached += len(own)
        return logits[:, 0]

    def _drop_finished(self, rows: list[Row]) -> None:
        if len(rows) < len(self._rows):
            kept = [number for number, old in enumerate(self._rows) if any(old is row for row in rows)]
            self._cache.reorder(torch.tensor(kept, device=self._device))
            self._rows = rows


def _fill(own: Sequence[int], width: int) -> list[int]:
    return [*own, *[own[-1]] * (width - len(own))]


def _seen(rows: list[Row], vocab_size: int) -> Bool[Tensor, "b v"]:
    """Which tokens each row holds already."""
    seen = torch.zeros(len(rows), vocab_size, dtype=torch.bool)
    for number, row in enumerate(rows):
        seen[number, row.tokens] = True
    return seen

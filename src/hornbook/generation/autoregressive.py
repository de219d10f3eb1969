"""Autoregressive decoding of ragged batches: an engine reads and draws; its tokens become chunks.

    prompts -> Engine.submit -> Engine.step -> Drawn -> TokenChunk

Without the cache, FreshReader reads every window anew, a row of one length at a time without padding, and the filters
choose from whole rows of logits: slow, obvious, and the oracle that the engine must equal.
"""

from collections.abc import Callable, Collection, Generator, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hornbook.config.generate import SamplingConfig
from hornbook.generation.decoder import NO_TOKEN, FinishReason, TokenChunk
from hornbook.generation.engine import Drawn, Engine, Request
from hornbook.generation.engines import torch_engine
from hornbook.generation.filters import choose
from hornbook.generation.noise import row_noise
from hornbook.generation.rows import ContextOverflow, Row, admit
from hornbook.models.transformer import Transformer

LAST = slice(-1, None)
OpenEngine = Callable[..., Engine]
"""Takes the model, `slots` and `max_length`."""


class Autoregressive:
    """Decoder that draws one token after another as `sampling` says.

    A row's tokens depend on its prompt, its seed and the settings alone: not on the batch or the cache. In float32 on
    a CPU that is so bit for bit if the engine's backend reads rows alone, as those of `open_backend` do; otherwise up
    to rounding of the logits, which can matter only where the draw falls within rounding of a border between tokens.

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
        open_engine: OpenEngine = torch_engine,
    ) -> None:
        """`open_engine` gives the engine, which nobody else uses meanwhile; not used without `cache`."""
        self._sampling = sampling
        self._use_cache = cache
        self._overflow: ContextOverflow = context_overflow
        self._vocab_size = vocab_size
        self._unused_ids = frozenset(unused_ids)
        self._open_engine = open_engine

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
        was_training = model.training
        model.eval()
        try:
            if rows:
                yield from (self._with_engine if self._use_cache else self._afresh)(model, rows, stop_ids)
        finally:
            if was_training:
                model.train()

    def _with_engine(
        self, model: Transformer, rows: list[Row], stop_ids: frozenset[int]
    ) -> Generator[TokenChunk, None, None]:
        context = model.config.context_length
        longest = max(min(context, len(row.window) + row.limit) for row in rows)
        engine = self._open_engine(model, slots=len(rows), max_length=longest)
        numbers = {engine.submit(self._request(row, stop_ids)): number for number, row in enumerate(rows)}
        reasons: list[FinishReason | None] = [None] * len(rows)
        try:
            while None in reasons:
                if drawn := engine.step():
                    yield _chunk(drawn, numbers, reasons)
        finally:
            for ticket in numbers:
                engine.cancel(ticket)

    def _request(self, row: Row, stop_ids: frozenset[int]) -> Request:
        return Request(
            tokens=row.tokens,
            max_new_tokens=row.limit,
            stop_ids=stop_ids,
            sampling=self._sampling,
            seed=row.seed,
            vocab_size=self._vocab_size,
            unused_ids=self._unused_ids,
            context_overflow=self._overflow,
        )

    def _afresh(
        self, model: Transformer, rows: list[Row], stop_ids: frozenset[int]
    ) -> Generator[TokenChunk, None, None]:
        reader, seen = FreshReader(model), _seen(rows, model.config.vocab_size)
        while any(row.reason is None for row in rows):
            yield self._step(reader, rows, seen, stop_ids, model.config.context_length)

    def _step(
        self,
        reader: "FreshReader",
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


def _chunk(drawn: list[Drawn], numbers: dict[int, int], reasons: list[FinishReason | None]) -> TokenChunk:
    """What one step has drawn; `reasons` is updated. Rows that wait, or whose prompt is being read, have no token."""
    tokens, scores = [[NO_TOKEN] for _ in reasons], [[0.0] for _ in reasons]
    for one in drawn:
        number = numbers[one.ticket]
        tokens[number], scores[number], reasons[number] = [one.token], [one.logprob], one.reason
    finished = torch.tensor([reason is not None for reason in reasons])
    return TokenChunk(
        tokens=torch.tensor(tokens), finished=finished, reasons=tuple(reasons), logprobs=torch.tensor(scores)
    )


def _seen(rows: list[Row], vocab_size: int) -> Bool[Tensor, "b v"]:
    """Which tokens each row holds already."""
    seen = torch.zeros(len(rows), vocab_size, dtype=torch.bool)
    for number, row in enumerate(rows):
        seen[number, row.tokens] = True
    return seen

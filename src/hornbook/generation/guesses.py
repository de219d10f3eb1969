"""Who guesses in speculative decoding: the text itself, or a smaller model.

A guess is a few tokens that may follow a row. Those of a model come with the probabilities that they were drawn by,
which the acceptance rule needs; a guess by lookup is certain of itself, and so is a model's at temperature 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from hornbook.config.generate import SamplingConfig
from hornbook.generation.backends import Backend, Span
from hornbook.generation.engine import PREFILL_CHUNK
from hornbook.generation.filters import apply_filters, refuse_broken, sample
from hornbook.generation.known import KnownIds
from hornbook.generation.noise import guess_noise
from hornbook.generation.prefill import prefill
from hornbook.generation.rows import Row


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """What is guessed to follow some rows."""

    tokens: list[list[int]]
    """Of each row, as many as asked for or fewer."""
    probabilities: Float64[Tensor, "guesses v"] | None
    """What each guess was drawn by, row after row; None where guesses are certain."""


@runtime_checkable
class Guesser(Protocol):
    """Guesses for the rows of one batch."""

    def guess(self, rows: Sequence[Row], numbers: Sequence[int], counts: Sequence[int]) -> Guesses:
        """At most counts[i] tokens to follow the row `numbers[i]` of the batch, which is rows[i]."""
        ...


class Lookup:
    """Guesses that what followed the last `n` tokens when they last stood in the row follows again (Saxena 2023)."""

    def __init__(self, n: int, n_rows: int) -> None:
        self._n = n
        self._followed: list[dict[tuple[int, ...], int]] = [{} for _ in range(n_rows)]
        """Of each row: n tokens -> where what followed them last begins."""
        self._known = [n] * n_rows

    def guess(self, rows: Sequence[Row], numbers: Sequence[int], counts: Sequence[int]) -> Guesses:
        """Nothing where the last tokens are new."""
        found = []
        for row, number, count in zip(rows, numbers, counts, strict=True):
            followed = self._followed[number]
            for end in range(self._known[number], len(row.tokens)):
                followed[tuple(row.tokens[end - self._n : end])] = end
            self._known[number] = max(self._n, len(row.tokens))
            at = followed.get(tuple(row.tokens[-self._n :]), len(row.tokens))
            found.append(row.tokens[at : at + count])
        return Guesses(tokens=found, probabilities=None)


@dataclass
class _Reader:
    """How far the draft model has read a row."""

    start: int = 0
    """First token of the row that it still reads; it stands at position 0 of the slot."""
    held: int = 0
    """Tokens of the row, counted from its beginning, up to which the slot holds what the row says."""
    base: int = 0
    """Tokens that the row had at the last guess."""
    guess: list[int] = field(default_factory=list)

    def settle(self, row: Row) -> None:
        """What of the last guess came true is read already, but for its last token."""
        for guessed, token in zip(self.guess[:-1], row.tokens[self.base :], strict=False):
            if guessed != token:
                break
            self.held += 1
        self.base, self.guess = len(row.tokens), []


class DraftModel:
    """Guesses by a smaller model of the same vocabulary, whose backend has a slot for each row.

    It draws as the target does, with the same filters, from noise of its own. Where a row outgrows its context, it
    goes on with the newest half, whatever the target does: guesses need not be right.
    """

    def __init__(self, backend: Backend, sampling: SamplingConfig, known: KnownIds, n_rows: int) -> None:
        assert backend.slots >= n_rows
        self._backend = backend
        self._sampling = sampling
        self._known = known
        self._readers = [_Reader() for _ in range(n_rows)]

    def guess(self, rows: Sequence[Row], numbers: Sequence[int], counts: Sequence[int]) -> Guesses:
        """As many as asked for, unless that is more than its context has room for."""
        wanted = [
            (row, number, self._make_room(number, row, count))
            for row, number, count in zip(rows, numbers, counts, strict=True)
        ]
        probabilities: dict[int, list[Tensor]] = {number: [] for number in numbers}
        for step in range(max(counts, default=0)):
            live = [(row, number) for row, number, count in wanted if step < count]
            if not live:
                break
            logits = self._read(live)
            texts = [[*row.tokens, *self._readers[number].guess] for row, number in live]
            filtered = apply_filters(logits, seen_ids(texts, logits, self._sampling), self._sampling)
            if self._sampling.temperature == 0.0:
                drawn = filtered.argmax(dim=-1)
            else:
                noise = guess_noise([row.seed for row, _ in live], [len(row.tokens) + step for row, _ in live])
                drawn = sample(filtered, noise.to(filtered.device))
                for (_, number), own in zip(live, filtered.double().softmax(dim=-1), strict=True):
                    probabilities[number].append(own)
            for (_, number), token in zip(live, drawn.tolist(), strict=True):
                self._readers[number].guess.append(token)
        drawn_by = [own for number in numbers for own in probabilities[number]]
        return Guesses(
            tokens=[self._readers[number].guess for number in numbers],
            probabilities=torch.stack(drawn_by) if drawn_by else None,
        )

    def _make_room(self, number: int, row: Row, count: int) -> int:
        """Begin a new guess, and a new window if need be; how many tokens can be guessed."""
        reader, longest = self._readers[number], self._backend.max_length
        reader.settle(row)
        if reader.base - reader.start + count - 1 > longest:
            reader.start = reader.held = reader.base - min(reader.base, max(1, longest // 2))
        return min(count, longest - (reader.base - reader.start) + 1)

    def _read(self, live: Sequence[tuple[Row, int]]) -> Float[Tensor, "live known"]:
        """Logits after each row and its guess so far."""
        spans = []
        for row, number in live:
            reader = self._readers[number]
            if not reader.guess and reader.base - reader.held > PREFILL_CHUNK:
                prefill(self._backend, number, row.tokens[reader.start :], start=reader.held - reader.start)
                reader.held = reader.base - 1
            first = reader.base + len(reader.guess) - 1 if reader.guess else reader.held
            tokens = reader.guess[-1:] or row.tokens[reader.held :]
            spans.append(Span(slot=number, start=first - reader.start, tokens=tokens))
            reader.held = reader.base
        logits = self._backend.read(spans)
        refuse_broken(logits)
        return self._known(logits)


def seen_ids(
    texts: Sequence[Sequence[int]], logits: Float[Tensor, "b known"], sampling: SamplingConfig
) -> Bool[Tensor, "b known"]:
    """Which ids each text has, for the filters; without a penalty nobody asks, and none is marked."""
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    if sampling.repetition_penalty != 1.0:
        for row, text in zip(seen, texts, strict=True):
            row[[token for token in set(text) if token < logits.shape[-1]]] = True
    return seen.to(logits.device)

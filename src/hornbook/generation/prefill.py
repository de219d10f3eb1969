"""Reading a prompt into a slot, in the same pieces whoever reads it."""

from collections.abc import Sequence

from hornbook.generation.backends import Backend, Span

CHUNK = 64
"""Tokens read at once. Pieces end at multiples of it, so that equal prompts are read to equal bits."""


def prefill(backend: Backend, slot: int, tokens: Sequence[int], *, start: int = 0) -> None:
    """Read all of `tokens` but the last, whose logits somebody will ask for; `slot` holds the first `start` already."""
    while start < len(tokens) - 1:
        end = min((start // CHUNK + 1) * CHUNK, len(tokens) - 1)
        backend.read([Span(slot=slot, start=start, tokens=tokens[start:end])])
        start = end

"""Reading a prompt into a slot, in pieces that end where the engine's do."""

from collections.abc import Sequence

from hornbook.generation.backends import Backend, Span
from hornbook.generation.engine import PREFILL_CHUNK


def prefill(backend: Backend, slot: int, tokens: Sequence[int], *, start: int = 0) -> None:
    """Read all of `tokens` but the last, whose logits somebody will ask for; `slot` holds the first `start` already."""
    while start < len(tokens) - 1:
        end = min((start // PREFILL_CHUNK + 1) * PREFILL_CHUNK, len(tokens) - 1)
        backend.read([Span(slot=slot, start=start, tokens=tokens[start:end])])
        start = end

"""A backend without a model: logits after a token are a row of a table for it and the token before.

It keeps what was read into each slot, and fails where a caller reads behind a gap, into one slot twice, or too far.
"""

import torch

from hornbook.generation.backends import Span


class TableBackend:
    """Logits (v, v, v) of the next token by the last two; the first token of a slot has itself before it."""

    name, precision = "torch", "float32"

    def __init__(self, table: torch.Tensor, *, slots: int = 1, max_length: int = 64) -> None:
        self.table = table
        self.slots, self.max_length, self.vocab_size = slots, max_length, table.shape[-1]
        self.held: list[list[int]] = [[] for _ in range(slots)]
        self.reads: list[list[Span]] = []
        """Of every call."""

    def read(self, spans):
        assert len({span.slot for span in spans}) == len(spans) > 0
        self.reads.append(list(spans))
        rows = []
        for span in spans:
            held = self.held[span.slot]
            assert 0 <= span.start <= len(held), "a gap"
            assert 0 < len(span.tokens) <= self.max_length - span.start
            held[span.start :] = span.tokens
            first = span.start if span.every else len(held) - 1
            rows += [self.table[held[max(0, at - 1)], held[at]] for at in range(first, len(held))]
        return torch.stack(rows)

    def copy(self, source, target, length):
        assert source != target
        assert 0 < length <= len(self.held[source])
        self.held[target] = self.held[source][:length]


def table(seed: int, vocab_size: int, *, spread: float = 2.0, dtype=torch.float32) -> torch.Tensor:
    """A random table."""
    generator = torch.Generator().manual_seed(seed)
    return (spread * torch.randn(vocab_size, vocab_size, vocab_size, generator=generator)).to(dtype)

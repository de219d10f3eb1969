"""Where decoding meets arithmetic: a backend holds keys and values in slots, and reads spans of tokens into them.

    Span(slot, start, tokens) -> read -> logits after the span's last token, or after each of them

A slot is one row of a static KV cache. Reading at `start` makes everything in the slot from there on stale, so that
going back (a rejected guess, a window that slid, a new request) costs nothing and needs no call. Prefill and decode
are one thing: a span of many tokens, or of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float32
from torch import Tensor

from hornbook.errors import GenerationError


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Tokens to read into `slot` at positions start, start + 1, ...; what the slot held before `start` stays."""

    slot: int
    start: int
    tokens: Sequence[int]
    every: bool = False
    """Logits after each token instead of after the last one alone."""


@runtime_checkable
class Backend(Protocol):
    """A model with a static KV cache of `slots` rows of `max_length` positions.

    What is read for a span does not depend on the other spans of the call, bit for bit, in float32.
    """

    name: str
    """`kernel` or `torch`."""
    precision: str
    """Of the weights: `float32`, `bfloat16` or `int8`."""
    slots: int
    max_length: int
    vocab_size: int

    def read(self, spans: Sequence[Span]) -> Float32[Tensor, "n v"]:
        """Logits on the CPU or the model's device, span after span: one row for each, or with `every` one a token.

        Slots of one call differ.

        Raises:
            GenerationError: for a span that does not fit its slot.
        """
        ...

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of slot `target` those of `source` (beams, a shared prefix)."""
        ...


def check_spans(spans: Sequence[Span], backend: Backend) -> None:
    """Refuse what no backend can read.

    Raises:
        GenerationError: for an empty span, one that does not fit its slot, and two of one slot.
    """
    for span in spans:
        end = span.start + len(span.tokens)
        if not (0 <= span.slot < backend.slots and 0 <= span.start < end <= backend.max_length):
            raise GenerationError(
                f"a span of {len(span.tokens)} tokens at position {span.start} of slot {span.slot} does not fit the "
                f"{backend.slots} slots of {backend.max_length} positions; make them longer, or shorten the text"
            )
    if len({span.slot for span in spans}) < len(spans):
        raise GenerationError("two spans of one call have the same slot; read them one after the other")

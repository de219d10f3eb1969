"""The card of an evaluation: numbers never travel without the protocol that made them.

Perplexities compare only under one protocol and one tokenizer; bits per byte, nats / (ln 2 * bytes), compare across
tokenizers, as bytes belong to the text.
"""

import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from hornbook.evaluation.intervals import student_t

if TYPE_CHECKING:
    from rich.table import Table

CardValue = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class Card:
    """One measurement of one checkpoint: `values` flat, `to_json` with lists, a `table` for a terminal."""

    measure: ClassVar[str]
    """What `hornbook eval` calls it."""
    whole: ClassVar[tuple[str, ...]] = ()
    """Fields that are no values of a flat object; `numbers` and `lists` tell of them."""

    tokenizer_fingerprint: str | None
    checkpoint: str
    step: int | None
    data: str
    seconds: float

    @property
    def protocol(self) -> str:
        """How it was measured, in words."""
        raise NotImplementedError

    @property
    def identity(self) -> str:
        """What tells this measurement from others of the same checkpoint and place."""
        return self.data

    @property
    def place(self) -> tuple[object, ...]:
        """Parts of the name of its file, between step and data."""
        return ()

    def numbers(self) -> dict[str, CardValue]:
        """What it is about; the other values are how it came about."""
        raise NotImplementedError

    def lists(self) -> dict[str, object]:
        """What only the file has: too long for a table and an event."""
        return {}

    def values(self) -> dict[str, CardValue]:
        """Everything as one flat JSON object, derived numbers included; None for what is infinite."""
        finite = {name: None if value in (math.inf, -math.inf) else value for name, value in self.numbers().items()}
        held = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.whole}
        return {**finite, **held, "protocol": self.protocol}

    def to_json(self) -> str:
        """The card as an indented JSON document with a final newline."""
        return json.dumps({**self.values(), **self.lists()}, indent=2, ensure_ascii=False) + "\n"

    def table(self) -> "Table":
        """The card for a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", title=f"{self.measure} of {self.checkpoint or 'the model'}", show_header=False)
        for name, value in self.values().items():
            if value is not None:
                table.add_row(name, Text(_shown(value)))  # plain: "[valid]" is no markup
        return table


@dataclass(frozen=True, kw_only=True)
class EvaluationCard(Card):
    """Perplexity of one checkpoint on one text, and all that is needed to repeat or to distrust it."""

    measure: ClassVar[str] = "perplexity"
    suffix: ClassVar[str] = ""
    """Of the names of numbers, where they are not the thing itself."""

    window: int
    stride: int
    tokens_scored: int
    bytes_scored: int | None
    """Of the scored tokens, from their raw bytes; None where the tokenizer is unknown."""
    nats: float
    """Total negative log-likelihood of the scored tokens, never smoothed; end-of-text tokens count, with no bytes."""
    standard_error: float | None
    """Of nats per token, windows being the independent units; None for a single window."""
    precision: str = "float32"
    """Of the weights."""

    @property
    def protocol(self) -> str:
        """How the tokens were scored, in words."""
        return (
            f"sliding window of {self.window} tokens, stride {self.stride}: every token but the stream's first is "
            f"scored once, after the first window with {self.window - self.stride + 1} to {self.window} tokens of "
            "context; context is not reset between documents"
        )

    @property
    def identity(self) -> str:
        """What tells this measurement from others of the same checkpoint, window and stride."""
        rounded = "" if self.precision == "float32" else f" {self.precision}"
        return f"{self.data} {self.tokens_scored}{rounded}"

    @property
    def place(self) -> tuple[object, ...]:
        """Window and stride."""
        return self.window, self.stride

    @property
    def nats_per_token(self) -> float:
        """Mean loss."""
        return self.nats / self.tokens_scored

    @property
    def perplexity(self) -> float:
        """exp(nats per token); infinite where that overflows."""
        return exp(self.nats_per_token)

    @property
    def n_units(self) -> int:
        """Independent units that the standard error comes from: windows."""
        return 1 + max(0, -(-(self.tokens_scored - self.window) // self.stride))

    @property
    def nats_interval(self) -> tuple[float, float] | None:
        """95 % interval of nats per token: what another sample of text as long would scatter over."""
        if self.standard_error is None or self.n_units < 2:
            return None
        reach = student_t(self.n_units - 1) * self.standard_error
        return self.nats_per_token - reach, self.nats_per_token + reach

    @property
    def bits_per_byte(self) -> float | None:
        """nats / (ln 2 * bytes)."""
        return self._per_byte(self.nats_per_token)

    def _per_byte(self, nats_per_token: float) -> float | None:
        if not self.bytes_scored:
            return None
        return nats_per_token * self.tokens_scored / (math.log(2) * self.bytes_scored)

    def numbers(self) -> dict[str, CardValue]:
        """Perplexity, bits per byte and nats per token, each with the ends of its interval."""
        low, high = self.nats_interval or (None, None)
        numbers: dict[str, CardValue] = {}
        for end, nats in (("", self.nats_per_token), ("_low", low), ("_high", high)):
            numbers[f"perplexity{self.suffix}{end}"] = None if nats is None else exp(nats)
            numbers[f"bits_per_byte{self.suffix}{end}"] = None if nats is None else self._per_byte(nats)
            numbers[f"nats_per_token{self.suffix}{end}"] = nats
        return numbers


def exp(nats: float) -> float:
    """e to the power of it; infinite where that overflows."""
    return math.exp(nats) if nats < 700 else math.inf


def _shown(value: str | int | float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else value

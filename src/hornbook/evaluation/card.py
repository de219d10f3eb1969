"""The card of an evaluation: numbers never travel without the protocol that made them.

Perplexities compare only under one protocol and one tokenizer; bits per byte, nats / (ln 2 * bytes), compare across
tokenizers, as bytes belong to the text.
"""

import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from rich.table import Table

CardValue = str | int | float | None
LN_2 = math.log(2)


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
        """The card for a terminal; a number and the ends of its interval share a row."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", title=f"{self.measure} of {self.checkpoint or 'the model'}", show_header=False)
        values = self.values()
        for name, value in values.items():
            low, high = values.get(f"{name}_low"), values.get(f"{name}_high")
            is_end = name.removesuffix("_low").removesuffix("_high") != name
            if value is None or is_end:
                continue
            between = "" if low is None or high is None else f"   ({_shown(low)} to {_shown(high)})"
            table.add_row(name, Text(_shown(value) + between))  # plain: "[valid]" is no markup
        return table


@dataclass(frozen=True, kw_only=True)
class EvaluationCard(Card):
    """How surprised one checkpoint is by one text: by token and by byte, with an interval."""

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
    """Of nats per token, windows (of a perplexity blocks) being the independent units; None for a single one."""
    precision: str = "float32"
    """Of the weights."""
    least_nats_per_token: float | None = None
    """Of these tokens after what was read before each: no model can have less. None where that is not known."""

    @property
    def identity(self) -> str:
        """What tells this measurement from others of the same checkpoint, window and stride."""
        return f"{self.data} {self.tokens_scored}"

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

    def values(self) -> dict[str, CardValue]:
        """As of every card, and the excess over the least that is possible, where that is known."""
        least = self.least_nats_per_token
        excess = {} if least is None else {f"excess_nats_per_token{self.suffix}": self.nats_per_token - least}
        return {**super().values(), **excess}

    @property
    def bits_per_byte(self) -> float | None:
        """nats / (ln 2 * bytes)."""
        return self.per_byte(self.nats_per_token)

    def per_byte(self, nats_per_token: float) -> float | None:
        """Nats per token as bits per byte."""
        if not self.bytes_scored:
            return None
        return nats_per_token * self.tokens_scored / (LN_2 * self.bytes_scored)


def exp(nats: float) -> float:
    """e to the power of it; infinite where that overflows."""
    return math.exp(nats) if nats < 700 else math.inf


def _shown(value: str | int | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else value

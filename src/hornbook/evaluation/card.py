"""The card of an evaluation: numbers never travel without the protocol that made them.

Perplexities compare only under one protocol and one tokenizer; bits per byte, nats / (ln 2 * bytes), compare across
tokenizers, as bytes belong to the text.
"""

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from rich.table import Table

CardValue = str | int | float | None


@dataclass(frozen=True, kw_only=True)
class EvaluationCard:
    """Perplexity of one checkpoint on one text, and all that is needed to repeat or to distrust it."""

    measure: ClassVar[str] = "perplexity"
    """What `hornbook eval` calls it."""
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
    tokenizer_fingerprint: str | None
    checkpoint: str
    step: int | None
    data: str
    seconds: float

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
        return f"{self.data} {self.tokens_scored}"

    @property
    def nats_per_token(self) -> float:
        """Mean loss."""
        return self.nats / self.tokens_scored

    @property
    def perplexity(self) -> float:
        """exp(nats per token); infinite where that overflows."""
        return _exp(self.nats_per_token)

    @property
    def n_units(self) -> int:
        """Independent units that the standard error comes from: windows."""
        return 1 + max(0, -(-(self.tokens_scored - self.window) // self.stride))

    @property
    def nats_interval(self) -> tuple[float, float] | None:
        """95 % interval of nats per token: what another sample of text as long would scatter over."""
        if self.standard_error is None or self.n_units < 2:
            return None
        reach = _student_t(self.n_units - 1) * self.standard_error
        return self.nats_per_token - reach, self.nats_per_token + reach

    @property
    def bits_per_byte(self) -> float | None:
        """nats / (ln 2 * bytes)."""
        return self._per_byte(self.nats_per_token)

    def _per_byte(self, nats_per_token: float) -> float | None:
        if not self.bytes_scored:
            return None
        return nats_per_token * self.tokens_scored / (math.log(2) * self.bytes_scored)

    def values(self) -> dict[str, CardValue]:
        """Everything as one flat JSON object, derived numbers included; None for what overflows."""
        low, high = self.nats_interval or (None, None)
        numbers: dict[str, CardValue] = {}
        for end, nats in (("", self.nats_per_token), ("_low", low), ("_high", high)):
            numbers[f"perplexity{self.suffix}{end}"] = None if nats is None else _exp(nats)
            numbers[f"bits_per_byte{self.suffix}{end}"] = None if nats is None else self._per_byte(nats)
            numbers[f"nats_per_token{self.suffix}{end}"] = nats
        finite = {name: None if value == math.inf else value for name, value in numbers.items()}
        return {**finite, **asdict(self), "protocol": self.protocol}

    def to_json(self) -> str:
        """The card as an indented JSON document with a final newline."""
        return json.dumps(self.values(), indent=2, ensure_ascii=False) + "\n"

    def table(self) -> "Table":
        """The card for a terminal."""
        from rich.table import Table
        from rich.text import Text

        table = Table("", "", title=f"{self.measure} of {self.checkpoint or 'the model'}", show_header=False)
        for name, value in self.values().items():
            if value is not None:
                table.add_row(name, Text(_shown(value)))  # plain: "[valid]" is no markup
        return table


def _student_t(degrees: int) -> float:
    """Its 97.5 % quantile, by which an interval of few units is wider than 1.96 standard errors.

    Within 1 %: Cornish and Fisher's expansion, Abramowitz and Stegun 26.7.5.
    """
    if degrees == 1:
        return 12.706
    terms = (1.95996, 2.37227, 2.82250, 2.55585, 1.58953)
    return sum(term / float(degrees) ** power for power, term in enumerate(terms))


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


def _shown(value: str | int | float) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else value

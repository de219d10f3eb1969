"""The card of a perplexity: by token, by word and by byte, each with its interval, and how it all came about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int64

from hornbook.config.generate import EvalConfig
from hornbook.config.perplexity import BootstrapConfig, PerplexityProtocol
from hornbook.evaluation.bootstrap import Interval, block_sums, interval, resampled_sums
from hornbook.evaluation.card import LN_2, CardValue, EvaluationCard, exp
from hornbook.evaluation.intervals import ratio
from hornbook.evaluation.text_units import TextUnits
from hornbook.evaluation.windows import WindowPlan


@dataclass(frozen=True, kw_only=True)
class ScoredText:
    """Nats of every scored token, and the text that it is of."""

    nats: Float[np.ndarray, " n"]
    places: Int64[np.ndarray, " n"]
    """Where in the text each of them stands; twice, where it was scored twice."""
    n_tokens: int
    """Of the text."""
    units: TextUnits | None
    """Of the text; None where its tokenizer is not known."""

    @property
    def columns(self) -> Float[np.ndarray, "n k"]:
        """Of every scored token its nats, 1, and if they are known its bytes and words."""
        counts = [np.ones(len(self.places))]
        if self.units is not None:
            counts += [self.units.bytes[self.places].astype(float), self.units.words[self.places].astype(float)]
        return np.stack([self.nats, *counts], axis=1)


_USUAL = BootstrapConfig()


@dataclass(frozen=True, kw_only=True)
class PerplexityCard(EvaluationCard):
    """Perplexity of one checkpoint on one text, and all that is needed to repeat or to distrust it."""

    measure: ClassVar[str] = "perplexity"
    whole: ClassVar[tuple[str, ...]] = ("plan", "scored", "intervals")

    protocol_name: PerplexityProtocol
    reset_documents: bool
    words_scored: int | None
    """Of the scored tokens: those whose first byte one of them holds."""
    text_tokens: int
    text_bytes: int | None
    text_words: int | None
    text_sha256: str | None
    """Of the text's bytes: runs compare only where it is equal."""
    block_tokens: int
    """Of the interval: tokens of the text in a block, blocks that hold a scored token, and how they were drawn."""
    blocks: int
    resamples: int
    seed: int
    level: float
    plan: WindowPlan
    scored: ScoredText
    intervals: Mapping[str, Interval | None]
    """Of nats by token, byte and word."""

    @property
    def protocol(self) -> str:
        """How the tokens were scored, and how the interval came about, in words."""
        return (
            f"{self.plan.words}; {percent(self.level)} interval: {self.blocks} blocks of {self.block_tokens} tokens "
            f"of the text drawn anew {self.resamples:,} times, seed {self.seed}"
        )

    @property
    def identity(self) -> str:
        """What tells this measurement from others of the same checkpoint, protocol, window and stride."""
        rounded = "" if self.precision == "float32" else f" {self.precision}"
        reset = " reset" if self.reset_documents else ""
        drawn = f"{self.block_tokens} {self.resamples} {self.seed} {self.level}"
        usual = drawn == f"{self.window} {_USUAL.resamples} {_USUAL.seed} {_USUAL.level}"
        return f"{self.data} {self.tokens_scored}{rounded}{reset}{'' if usual else f' {drawn}'}"

    @property
    def place(self) -> tuple[object, ...]:
        """Protocol, unless it is the usual one, window and stride."""
        names = () if self.protocol_name == "strided" else (self.protocol_name,)
        return *names, self.window, self.stride

    @property
    def nats_interval(self) -> Interval | None:
        """Of nats per token, at `level`: where ever more text of the same kind would lead."""
        return self.intervals["token"]

    @property
    def word_perplexity(self) -> float | None:
        """exp(nats per word): between tokenizers it compares, between languages it does not."""
        return exp(self.nats / self.words_scored) if self.words_scored else None

    def numbers(self) -> dict[str, CardValue]:
        """Perplexity by token and word, bits per byte and nats per token, each with the ends of its interval."""
        token, byte, word = (self.intervals.get(unit) or (None, None) for unit in ("token", "byte", "word"))
        ends = zip(("", "_low", "_high"), (self.nats_per_token, *token), (None, *byte), (None, *word), strict=True)
        numbers: dict[str, CardValue] = {}
        for end, per_token, per_byte, per_word in ends:
            numbers[f"perplexity{end}"] = None if per_token is None else exp(per_token)
            numbers[f"word_perplexity{end}"] = None if per_word is None else exp(per_word)
            numbers[f"bits_per_byte{end}"] = None if per_byte is None else per_byte / LN_2
            numbers[f"nats_per_token{end}"] = per_token
        return {**numbers, "word_perplexity": self.word_perplexity, "bits_per_byte": self.bits_per_byte}


def percent(share: float) -> str:
    """As a level is told: 99.5 % must not become 100 %."""
    return f"{100 * share:.10g}%"


def card_of(
    scored: ScoredText,
    plan: WindowPlan,
    config: EvalConfig,
    *,
    tokenizer_fingerprint: str | None,
    checkpoint: str,
    step: int | None,
    data: str,
    seconds: float,
) -> PerplexityCard:
    """The card of the scores that `plan` gave under `config`."""
    bootstrap, units = config.bootstrap, scored.units
    block = bootstrap.block_tokens or plan.window
    sums = block_sums(scored.columns, scored.places // block)
    return PerplexityCard(
        window=plan.window,
        stride=plan.stride,
        tokens_scored=len(scored.nats),
        bytes_scored=None if units is None else int(sums[:, 2].sum()),
        nats=float(scored.nats.sum()),
        standard_error=ratio(sums[:, 0], sums[:, 1]).standard_error,
        precision=config.precision,
        protocol_name=plan.protocol,
        reset_documents=plan.reset_documents,
        words_scored=None if units is None else int(sums[:, 3].sum()),
        text_tokens=scored.n_tokens,
        text_bytes=None if units is None else units.n_bytes,
        text_words=None if units is None else units.n_words,
        text_sha256=None if units is None else units.sha256,
        block_tokens=block,
        blocks=len(sums),
        resamples=bootstrap.resamples,
        seed=bootstrap.seed,
        level=bootstrap.level,
        plan=plan,
        scored=scored,
        intervals=_intervals(sums, bootstrap),
        tokenizer_fingerprint=tokenizer_fingerprint,
        checkpoint=checkpoint,
        step=step,
        data=data,
        seconds=seconds,
    )


def _intervals(sums: Float[np.ndarray, "blocks k"], config: BootstrapConfig) -> dict[str, Interval | None]:
    """Of nats by token, byte and word, as far as they are known; `sums` are those of ScoredText.columns by block."""
    redrawn = resampled_sums(sums, resamples=config.resamples, seed=config.seed)
    found: dict[str, Interval | None] = dict.fromkeys(("token", "byte", "word"))
    for unit, count in zip(found, redrawn.T[1:], strict=False):
        if (count > 0).all():  # a text drawn anew may have no word at all
            found[unit] = interval(redrawn[:, 0] / count, level=config.level, n_blocks=len(sums))
    return found

"""The card of a diffusion model's likelihood: every number on it is "at most", and says how it was estimated."""

from dataclasses import dataclass
from typing import ClassVar

from hornbook.evaluation.card import CardValue, EvaluationCard, exp
from hornbook.evaluation.intervals import student_t

_HIDDEN = {
    "fixed_count": "each of a uniformly drawn number of its tokens, spread evenly over the readings",
    "bernoulli": "each token with a uniformly drawn probability, spread evenly over the readings",
    "exact": "every set of its tokens, so that nothing is drawn",
}


@dataclass(frozen=True, kw_only=True)
class BoundCard(EvaluationCard):
    """At most how surprised one diffusion checkpoint is by one text."""

    measure: ClassVar[str] = "bound"
    suffix: ClassVar[str] = "_at_most"

    objective: str
    """What the model was trained with."""
    block_length: int | None
    """Of a block diffusion model, whose blocks are measured one given the others; None for whole texts."""
    estimator: str
    draws: int | None
    """Readings of each window; None where all were enumerated."""
    seed: int | None
    prompt_tokens: int | None = None
    """Of an answer, the visible tokens before it; None of a text."""

    @property
    def n_units(self) -> int:
        """Windows; of an answer the draws, whose noise is then all that the standard error holds."""
        if self.prompt_tokens is not None:
            return self.draws or 1
        return 1 + max(0, -(-(self.tokens_scored - self.window) // self.stride))

    @property
    def nats_interval(self) -> tuple[float, float] | None:
        """95 % interval of nats per token: what another sample of text as long would scatter over."""
        if self.standard_error is None or self.n_units < 2:
            return None
        reach = student_t(self.n_units - 1) * self.standard_error
        return self.nats_per_token - reach, self.nats_per_token + reach

    @property
    def protocol(self) -> str:
        """How the tokens were measured, in words."""
        whole, measured = ("window", self._windows) if self.prompt_tokens is None else ("answer", self._answer)
        unit = whole if self.block_length is None else f"block of {self.block_length}"
        readings = "enumerated" if self.draws is None else f"{self.draws} readings of the {whole}, seed {self.seed}"
        side = "; of the joint model, its diffusion side" if self.objective == "joint" else ""
        return (
            f"diffusion bound, an upper bound in expectation: {measured}; hidden per {unit}: "
            f"{_HIDDEN[self.estimator]} ({readings}){side}"
        )

    @property
    def _windows(self) -> str:
        context = (
            "each window starts cold"
            if self.stride == self.window
            else f"after the first window with {self.window - self.stride} visible tokens before them"
        )
        return (
            f"windows of {self.window} tokens, stride {self.stride}, every token measured once, the first included, "
            f"{context}, context not reset between documents"
        )

    @property
    def _answer(self) -> str:
        error = "" if self.standard_error is None else ", the standard error that of the draws alone"
        return f"{self.tokens_scored} tokens of an answer after {self.prompt_tokens} visible ones{error}"

    @property
    def identity(self) -> str:
        """What tells this measurement from others of the same checkpoint and text."""
        return f"{super().identity} {self.estimator} {self.draws} {self.seed}"

    def numbers(self) -> dict[str, CardValue]:
        """Perplexity, bits per byte and nats per token, each with the ends of its interval."""
        low, high = self.nats_interval or (None, None)
        numbers: dict[str, CardValue] = {}
        for end, nats in (("", self.nats_per_token), ("_low", low), ("_high", high)):
            numbers[f"perplexity{self.suffix}{end}"] = None if nats is None else exp(nats)
            numbers[f"bits_per_byte{self.suffix}{end}"] = None if nats is None else self.per_byte(nats)
            numbers[f"nats_per_token{self.suffix}{end}"] = nats
        return numbers

"""The card of preferences: how much more a model gained on chosen answers than on rejected ones since its reference."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from hornbook.evaluation.answers_card import TuningCard
from hornbook.evaluation.card import CardValue
from hornbook.evaluation.intervals import mean


@dataclass(frozen=True, kw_only=True)
class Side:
    """One answer of each pair: log-probabilities, in nats, summed over its tokens."""

    policy: Float64[np.ndarray, " pairs"]
    reference: Float64[np.ndarray, " pairs"]
    tokens: Float64[np.ndarray, " pairs"]

    @property
    def ratio(self) -> Float64[np.ndarray, " pairs"]:
        """log pi - log ref."""
        gained: Float64[np.ndarray, " pairs"] = self.policy - self.reference
        return gained


@dataclass(frozen=True, kw_only=True, eq=False)
class PreferenceCard(TuningCard):
    """One checkpoint against its reference on the pairs of one split."""

    measure: ClassVar[str] = "preference"
    whole: ClassVar[tuple[str, ...]] = ("is_bound", "how", "chosen", "rejected")

    pairs: int
    reference: str
    reference_tokens_added: int
    trained_by_token: bool
    """Whether log-probabilities by token were what was trained: those margins are then the ones that are shown."""
    chosen: Side
    rejected: Side

    @property
    def margins(self) -> Float64[np.ndarray, " pairs"]:
        """By how many nats the log-ratio of the chosen answer exceeds that of the rejected one; no beta in it."""
        margins: Float64[np.ndarray, " pairs"] = self.chosen.ratio - self.rejected.ratio
        return margins

    @property
    def margins_per_token(self) -> Float64[np.ndarray, " pairs"]:
        """The same of log-ratios by token of each answer."""
        chosen, rejected = (side.ratio / side.tokens for side in (self.chosen, self.rejected))
        margins: Float64[np.ndarray, " pairs"] = chosen - rejected
        return margins

    @property
    def shown(self) -> Float64[np.ndarray, " pairs"]:
        """The margins that were trained: by token or of sums."""
        return self.margins_per_token if self.trained_by_token else self.margins

    @property
    def right(self) -> float:
        """Pairs with a positive margin, as it was trained; a tie is half a one."""
        return _right(self.shown)

    @property
    def title(self) -> str:
        """The main number, above a picture."""
        margins = "margins by token" if self.trained_by_token else "margins"
        return (
            f"{self.right:g} of {self.pairs} {margins} are positive ({self.right / self.pairs:.1%}), ties counted half"
        )

    @property
    def protocol(self) -> str:
        """How it was measured, in words."""
        return (
            f"{self.pairs} pairs: log-ratio to the reference of the chosen answer less that of the rejected one, "
            "summed over the tokens of an answer, and by token; without beta; a margin of exactly 0 counts half; "
            f"log-probabilities of {self.how}{', the same draws for both models' if self.is_bound else ''}"
        )

    @property
    def identity(self) -> str:
        """Data, reference and draws."""
        return f"{self.data} {self.reference} {self.how}"

    def numbers(self) -> dict[str, CardValue]:
        """Shares of pairs with a positive margin, means of margins and of what they come from."""
        found: dict[str, CardValue] = {}
        for end, margins in (("", self.margins), ("_per_token", self.margins_per_token)):
            found |= self.share(f"accuracy{end}", _right(margins), self.pairs)
            found |= self.spread(f"margin{end}", mean(margins))
        found |= {"positive": int((self.shown > 0).sum()), "ties": int((self.shown == 0).sum())}
        for name, side in (("chosen", self.chosen), ("rejected", self.rejected)):
            found[f"log_ratio_{name}"] = float(side.ratio.mean())
            found[f"logp_{name}{'_at_least' if self.is_bound else ''}"] = float(side.policy.mean())
        return found

    def lists(self) -> dict[str, object]:
        """The margin of every pair, in the order of the data."""
        return {"margins": self.margins.tolist(), "margins_per_token": self.margins_per_token.tolist()}


def _right(margins: Float64[np.ndarray, " pairs"]) -> float:
    return float((margins > 0).sum() + 0.5 * (margins == 0).sum())

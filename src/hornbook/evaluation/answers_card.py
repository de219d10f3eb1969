"""The card of a model's answers: how surprised it is by the right ones, and how often it gives them."""

import math
from dataclasses import dataclass
from typing import ClassVar

from hornbook.evaluation.card import Card, CardValue, exp
from hornbook.evaluation.exact_match import ExactMatch
from hornbook.evaluation.intervals import Ratio, share_interval


@dataclass(frozen=True, kw_only=True)
class TuningCard(Card):
    """What cards of answers and of preferences have in common."""

    objective: str
    """By which likelihood the model is measured; of one tuned by preferences, that which they were compared by."""
    is_bound: bool
    how: str
    """How a likelihood is had, in words."""
    tokens_added: int
    """Ids of the data that the checkpoint does not have; for the measurement it got rows for them, the mean of its
    own."""
    prompts_in_train: int
    """Measured prompts that the train split has, too."""

    @property
    def suffix(self) -> str:
        """Of the names of numbers that are bounds."""
        return "_at_most" if self.is_bound else ""

    def spread(self, name: str, found: Ratio, *, factor: float = 1.0) -> dict[str, CardValue]:
        """A number and the ends of its interval, times `factor`."""
        low, high = found.interval or (None, None)
        ends = {"": found.value, "_low": low, "_high": high}
        return {f"{name}{end}": None if value is None else factor * value for end, value in ends.items()}

    def share(self, name: str, right: int | float, n: int) -> dict[str, CardValue]:
        """A share of `n` and the ends of its interval."""
        low, high = share_interval(right, n)
        return {name: right / n, f"{name}_low": low, f"{name}_high": high}


@dataclass(frozen=True, kw_only=True)
class AnswersCard(TuningCard):
    """One checkpoint on the conversations of one split."""

    measure: ClassVar[str] = "answers"
    whole: ClassVar[tuple[str, ...]] = ("is_bound", "how", "per_token", "per_conversation", "base_per_token", "to_base")
    whole += ("match",)

    conversations: int
    answer_tokens: int
    """Trained tokens, the stop token after each answer included."""
    answer_bytes: int
    """Of the answers' text; stop tokens have none."""
    per_token: Ratio
    """Nats an answer token; conversations are the independent units."""
    per_conversation: Ratio
    base: str | None = None
    """The checkpoint that it is compared with."""
    base_tokens_added: int | None = None
    base_per_token: Ratio | None = None
    to_base: Ratio | None = None
    """Its nats over the base's, on the same conversations."""
    match: ExactMatch | None = None

    @property
    def protocol(self) -> str:
        """How it was measured, in words."""
        parts = [f"answers of {self.conversations} conversations, {self.how}"]
        if self.base is not None:
            parts.append("the base read the same tokens")
        if self.tokens_added or self.base_tokens_added:
            parts.append("rows for tokens that a checkpoint did not have are the mean of its own, as before tuning")
        if self.match is not None:
            parts.append(
                f"exact match: one greedy answer of at most {self.match.max_new_tokens} tokens to each prompt, equal "
                "to the right one but for blanks around it"
            )
        return "; ".join(parts)

    @property
    def identity(self) -> str:
        """Data, what it is compared with, and how many answers were generated."""
        return f"{self.data} {self.base} {self.match and self.match.all.n} {self.how}"

    def numbers(self) -> dict[str, CardValue]:
        """Surprise, what the base's is, and the share of right answers."""
        found = self.spread(f"nats_per_token{self.suffix}", self.per_token)
        found |= self.spread(f"nats_per_conversation{self.suffix}", self.per_conversation)
        low, high = self.per_token.interval or (None, None)
        ends = {"": self.per_token.value, "_low": low, "_high": high}
        found |= {f"perplexity{self.suffix}{end}": None if nats is None else exp(nats) for end, nats in ends.items()}
        found |= {f"bits_per_byte{self.suffix}{end}": self._per_byte(nats) for end, nats in ends.items()}
        if self.base_per_token is not None and self.to_base is not None:
            found |= self.spread(f"base_nats_per_token{self.suffix}", self.base_per_token)
            low, high = self.to_base.interval or (None, None)
            for end, share in (("", self.to_base.value), ("_low", high), ("_high", low)):
                found[f"lower_than_base_percent{end}"] = None if share is None else 100.0 * (1.0 - share)
        return {**found, **self._matches()}

    def _per_byte(self, nats_per_token: float | None) -> float | None:
        if nats_per_token is None or not self.answer_bytes:
            return None
        return nats_per_token * self.answer_tokens / (math.log(2) * self.answer_bytes)

    def _matches(self) -> dict[str, CardValue]:
        if self.match is None:
            return {}
        whole = self.match.all
        found = {**self.share("exact_match", whole.right, whole.n), "exact_match_prompts": whole.n}
        for task, count in self.match.tasks.items():
            found |= self.share(f"exact_match_{task}", count.right, count.n)
        return found

    def lists(self) -> dict[str, object]:
        """Some of the wrong answers."""
        if self.match is None:
            return {}
        return {"wrong_answers": [vars(each) for each in self.match.wrong]}

"""Our own scorer of questions: which choice is likeliest, and whether the last words of a text are named.

    acc         the right choice has the largest log-probability (sum over its tokens)
    acc_norm    ... divided by its characters, as lm-eval does
    acc_bytes   ... divided by its UTF-8 bytes
    of cloze    acc: every token of the target is the model's first choice; perplexity: exp(-mean log-probability)

Of equal scores the first choice counts, as in lm-eval.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from hornbook.evaluation.card import CardValue, exp
from hornbook.evaluation.intervals import share_interval
from hornbook.evaluation.perplexity import ScoreProgress
from hornbook.evaluation.requests import Likelihood
from hornbook.evaluation.task_documents import Document
from hornbook.evaluation.task_files import FORMS, Questions
from hornbook.evaluation.text_likelihood import TextLikelihood


@dataclass(frozen=True)
class TaskResult:
    """What one task, or one part of one, came to."""

    name: str
    questions: int
    metrics: dict[str, float]
    """acc and others, shares; perplexity."""

    def values(self) -> dict[str, CardValue]:
        """Metrics by name, shares with the ends of their 95 % interval; what is infinite is None."""
        found: dict[str, CardValue] = {}
        for name, value in self.metrics.items():
            found[name] = value if math.isfinite(value) else None
            if name != "perplexity":
                low, high = share_interval(round(value * self.questions), self.questions)
                found |= {f"{name}_low": low, f"{name}_high": high}
        return found


def score_questions(
    likelihood: TextLikelihood, files: Sequence[Questions], *, progress: ScoreProgress | None = None
) -> list[TaskResult]:
    """One result for each file.

    Raises:
        DataError, GenerationError, TokenizerError: as `TextLikelihood`.
    """
    pairs = [
        (document.query, FORMS[each.task].delimiter + choice)
        for each in files
        for document in each.documents
        for choice in document.choices
    ]
    answers = iter(likelihood(pairs, progress=progress))
    return [_result(each, [[next(answers) for _ in document.choices] for document in each.documents]) for each in files]


def _result(each: Questions, answers: list[list[Likelihood]]) -> TaskResult:
    form, n = FORMS[each.task], len(each.documents)
    if form.is_cloze:
        nats = -sum(own[0].log_probability for own in answers)
        return TaskResult(
            each.name, n, {"perplexity": exp(nats / n), "acc": sum(own[0].is_greedy for own in answers) / n}
        )
    metrics = {}
    for metric in form.metrics:
        right = [
            int((np.array([answer.log_probability for answer in own]) / _LENGTHS[metric](document)).argmax())
            == document.gold
            for document, own in zip(each.documents, answers, strict=True)
        ]
        metrics[metric] = sum(right) / n
    return TaskResult(each.name, n, metrics)


_LENGTHS: dict[str, Callable[[Document], Float[np.ndarray, " choices"]]] = {
    "acc": lambda document: np.ones(len(document.choices)),
    "acc_norm": lambda document: np.array([float(len(choice)) for choice in document.choices]),
    "acc_bytes": lambda document: np.array([float(len(choice.encode())) for choice in document.choices]),
}
"""What the score of each choice is divided by."""


def whole_task(name: str, parts: Sequence[TaskResult]) -> TaskResult:
    """A task of several files: shares of all questions."""
    total = sum(part.questions for part in parts)
    shares = {
        metric: sum(part.metrics[metric] * part.questions for part in parts) / total for metric in parts[0].metrics
    }
    return TaskResult(name, total, shares)

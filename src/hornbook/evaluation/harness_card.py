"""The card of questions put to a checkpoint: shares of right answers, who counted them, how likelihoods were had."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hornbook.evaluation.card import Card, CardValue
from hornbook.evaluation.multiple_choice import TaskResult

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class HarnessCard(Card):
    """Results of one checkpoint on some tasks."""

    measure: ClassVar[str] = "harness"
    whole: ClassVar[tuple[str, ...]] = ("results", "how")

    results: dict[str, list[TaskResult]]
    """Of each task the whole first, then its parts, if it has any."""
    how: str
    """How a likelihood is had, in words."""
    scored_by: str
    """lm-eval with its version, or hornbook."""
    requests: int
    """Continuations that were asked for."""
    remembered: int
    """Of these, those that the cache knew."""
    contexts_cut: int
    """Of these, those whose context was longer than the model can read, and lost its beginning."""

    @property
    def protocol(self) -> str:
        """How it was measured, in words."""
        return f"log-likelihoods of continuations, no examples before them: {self.how}"

    @property
    def identity(self) -> str:
        """Data, tasks and who counted."""
        return f"{self.data} {self.scored_by} {self.how}"

    def numbers(self) -> dict[str, CardValue]:
        """TASK_METRIC of whole tasks, with the ends of 95 % intervals of shares, and TASK_questions."""
        found: dict[str, CardValue] = {}
        for task, (result, *_) in self.results.items():
            found |= {f"{task}_{name}": value for name, value in result.values().items()}
            found[f"{task}_questions"] = result.questions
        return found

    def lists(self) -> dict[str, object]:
        """Results of the parts of tasks."""
        parts = [part for _, *own in self.results.values() for part in own]
        return {"parts": [{"name": part.name, "questions": part.questions, **part.values()} for part in parts]}

    def table(self) -> "Table":
        """Tasks and their parts, a line each, and how that was measured below."""
        from rich.table import Table

        metrics = list(dict.fromkeys(name for own in self.results.values() for name in own[0].metrics))
        table = Table("task", "questions", *metrics, title=f"harness of {self.checkpoint or 'the model'}")
        table.caption = f"{self.scored_by}; {self.protocol}"
        for whole, *parts in self.results.values():
            for result, indent in ((whole, ""), *((part, "  ") for part in parts)):
                cells = [_cell(result, metric, with_interval=not indent) for metric in metrics]
                table.add_row(f"{indent}{result.name}", f"{result.questions:,}", *cells)
        return table


def _cell(result: TaskResult, metric: str, *, with_interval: bool) -> str:
    values = result.values()
    value = values.get(metric)
    if not isinstance(value, float):
        return ""
    low, high = values.get(f"{metric}_low"), values.get(f"{metric}_high")
    if with_interval and isinstance(low, float) and isinstance(high, float):
        return f"{value:.4f} [{low:.4f}, {high:.4f}]"
    return f"{value:.4f}" if metric != "perplexity" else f"{value:,.2f}"

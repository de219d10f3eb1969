"""One step of a run once more, with everybody watching.

A run that goes on from a checkpoint repeats itself bit for bit, so a step that went wrong can be had again as often as
somebody wants to look at it. Nothing is written.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hornbook.data.batch import B, Batch, PreferenceBatch, TokenBatch
from hornbook.data.loader import RowOrigin, StepBatches
from hornbook.objectives.objective import StepContext
from hornbook.objectives.preference import Preference
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.training.finite import FiniteWatch, Sighting, norms_by_layer, not_finite
from hornbook.training.out_of_memory import rows_at
from hornbook.training.step import Learner, StepReport
from hornbook.training.trainer import Trainer
from hornbook.training.validation import evaluation_mode


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the step, alone and without dropout."""

    origin: RowOrigin
    loss: float
    """What was minimised, by its own weight."""
    text: str
    """Where it begins."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What there is to see of a step."""

    step: int
    """As events count: 1 is the first."""
    first_step: int
    """Steps that were done before, where the replay began."""
    report: StepReport
    was_compiled: bool
    """The run used compiled code; the step itself was looked at without it, so its last digits may differ."""
    bad_parameters: list[str]
    """Not finite before the step began."""
    forward: Sighting | None
    backward: Sighting | None
    grad_norms: dict[str, float]
    """By layer."""
    rows: list[Row]
    """Worst first."""

    @property
    def is_finite(self) -> bool:
        """Whether nothing was found."""
        values = (self.report.loss, self.report.grad_norm, *(row.loss for row in self.rows))
        return not (self.bad_parameters or self.forward or self.backward) and all(map(math.isfinite, values))

    def rows_at(self, sighting: Sighting) -> list[Row]:
        """The rows that a sighting names."""
        return [
            row
            for row in self.rows
            if row.origin.micro_batch == sighting.micro_batch and row.origin.row in sighting.rows
        ]


class _GradientNorms:
    """A watch of the step that reads the gradients when they are complete."""

    def __init__(self) -> None:
        self.by_layer: dict[str, float] = {}

    def before_update(self, learner: Learner[Any], batches: Sequence[Any], at: StepContext) -> None:
        """Read them."""
        self.by_layer = norms_by_layer(learner.model)

    def after_update(self, learner: Learner[Any], at: StepContext, *, skipped: bool) -> None:
        """Nothing more to see."""


def replay(trainer: Trainer[B], batches: StepBatches[B], tokenizer: Tokenizer, *, step: int) -> Replay:
    """Train on to `step` - 1 steps done, then do that step under watch. The trainer's run is over afterwards."""
    first_step, model = trainer.state.step, trainer.learner.model
    trainer.learner = replace(trainer.learner, watch=None)
    trainer.repeat(step - 1)
    bad_parameters, rows = not_finite(model), _rows(trainer, batches, tokenizer)
    norms, watch = _GradientNorms(), FiniteWatch(model, draws=_draws(trainer.learner.objective))
    trainer.learner = replace(trainer.learner, watch=norms)
    was_compiled, model.compiled = model.compiled, False  # compiled code has no modules to look into
    with watch.watching():
        report = trainer.repeat(step)
    assert report is not None
    return Replay(
        step=step,
        first_step=first_step,
        report=report,
        was_compiled=was_compiled,
        bad_parameters=bad_parameters,
        forward=watch.forward,
        backward=watch.backward,
        grad_norms=norms.by_layer,
        rows=sorted(rows, key=lambda row: -row.loss if math.isfinite(row.loss) else -math.inf),
    )


def _rows(trainer: Trainer[B], batches: StepBatches[B], tokenizer: Tokenizer) -> list[Row]:
    """The loss of each row of the next step."""
    learner, step = trainer.learner, trainer.state.step
    at = StepContext(seed=trainer.seed, step=step, samples_per_step=trainer.samples_per_step)
    alone = [row for batch in batches.step(step) for row in batch.cut(1)]
    found = []
    with evaluation_mode(learner.model):
        for origin, batch in zip(batches.rows(step, most=rows_at(trainer.shrunk, step)), alone, strict=True):
            prepared = learner.objective.prepare(batch, at)
            weights = learner.objective.weight(prepared)
            with learner.precision.autocast():
                terms = learner.objective(learner.model, prepared.to(learner.precision.device)).terms
            loss = sum(float(term) / max(weights[name], 1) for name, term in terms.items())
            found.append(Row(origin=origin, loss=loss, text=tokenizer.decode(_shown(batch))))
    return found


def _draws(objective: object) -> int:
    """How often it reads each row of a micro-batch in one pass."""
    return objective.masks.draws if isinstance(objective, Preference) and objective.masks else 1


def _shown(batch: Batch) -> list[int]:
    """The tokens of the one row; of a pair, those of the chosen answer."""
    row = batch.chosen if isinstance(batch, PreferenceBatch) else batch
    assert isinstance(row, TokenBatch)
    tokens: list[int] = row.tokens[0].tolist()
    return tokens

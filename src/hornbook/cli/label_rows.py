"""The rows that a run reads, by their global sample numbers, with what its objective makes of each token."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hornbook.config.objective import PreferenceConfig
from hornbook.data.batch import PreferenceBatch
from hornbook.distributed.process_group import ALONE
from hornbook.objectives.joint import Joint
from hornbook.objectives.labels import labels_of, pair_labels
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import StepContext
from hornbook.objectives.preference import Preference
from hornbook.training.choices import Choices
from hornbook.training.reading import read
from hornbook.training.start import build_objective

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hornbook.config.run import Config
    from hornbook.data.mixture import Mixture
    from hornbook.objectives.labels import Labels
    from hornbook.objectives.normalise import Normalize
    from hornbook.objectives.objective import Objective

_MOST_ROWS = 8
"""In a micro-batch whose size would be found out by trying."""
_KEPT_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Side:
    """One sequence of a row: the row itself, or one answer of a pair, once for each mask of it."""

    name: str
    """Empty, or chosen or rejected, with the number of the mask if there are several."""
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class LabelledRow:
    """One sample of a step."""

    sample: int
    """Its global number, or that in the validation set."""
    step: int | None
    """Counted from 1; None in validation."""
    place: int
    """Of the step's rows, from 0."""
    of: int
    """Rows of the step."""
    sides: Sequence[Side]
    own: Mapping[str, int]
    """What the row adds to the denominator of each term of the loss."""
    denominators: Mapping[str, int]
    """Of the whole step."""


class LabelledRows:
    """All rows of a run, or those that it is validated on; steps are read and prepared when they are asked for."""

    def __init__(self, config: Config, data: Mixture, *, is_validation: bool = False) -> None:
        """Open them.

        Raises:
            HornbookError: if there are no such data, or the objective needs a mask token and there is none.
        """
        mask_id = data.tokenizer().mask_id
        self._config = config
        self.objective = _objective(config, mask_id)
        reading = read(config, data, _choices(config), ALONE, lookahead=self.objective.lookahead)
        self._batches = reading.batches
        self.n_read_from = reading.order.n_windows
        """Rows, windows or pairs of an epoch, or of a validation."""
        self._held_out: Sequence[Any] | None = None
        self.rows_per_step = config.rows_per_step
        if is_validation:
            batches: Sequence[Any] = [] if reading.held_out is None else reading.held_out.batches
            self._held_out, self.rows_per_step = batches, sum(batch.n_rows for batch in batches)
            self.n_read_from = self.rows_per_step
        self._steps: dict[int, list[LabelledRow]] = {}

    def __len__(self) -> int:
        return self.rows_per_step * (1 if self._held_out is not None else self._config.train.steps)

    def row(self, sample: int) -> LabelledRow:
        """The row that global sample `sample` reads, at the step that reads it."""
        step, place = divmod(sample, self.rows_per_step)
        if step not in self._steps:
            while len(self._steps) >= _KEPT_STEPS:
                self._steps.pop(next(iter(self._steps)))
            self._steps[step] = self._step(step)
        return self._steps[step][place]

    def _step(self, step: int) -> list[LabelledRow]:
        """Every row of a step. Noise is a function of the sample's number, so each row is prepared by itself."""
        is_validation = self._held_out is not None
        batches = self._batches.step(step) if self._held_out is None else self._held_out
        at = StepContext(
            seed=self._config.run.seed,
            step=step,
            samples_per_step=self.rows_per_step,
            is_validation=is_validation,
        )
        rows = [self.objective.prepare(row, at) for batch in batches for row in batch.cut(1)]
        weights = [self.objective.weight(row) for row in rows]
        totals: Counter[str] = Counter()
        for weight in weights:
            totals.update(weight)
        return [
            LabelledRow(
                sample=step * self.rows_per_step + place,
                step=None if is_validation else step + 1,
                place=place,
                of=len(rows),
                sides=sides_of(self.objective, row, self._config.objective.normalize),
                own=weight,
                denominators=dict(totals),
            )
            for place, (row, weight) in enumerate(zip(rows, weights, strict=True))
        ]


def sides_of(objective: Objective[Any], row: Any, normalize: Normalize) -> list[Side]:
    """The sequences of a prepared batch of one row."""
    if isinstance(row, PreferenceBatch):
        assert isinstance(objective, Preference)
        ((chosen, rejected),) = pair_labels(row, averages=objective.averages)
        return [*_numbered("chosen", chosen), *_numbered("rejected", rejected)]
    predicts_next = isinstance(objective, NextToken | Joint)
    (labels,) = labels_of(row, predicts_next=predicts_next, normalize=normalize)
    return [Side(name="", labels=labels)]


def _numbered(name: str, draws: Sequence[Labels]) -> list[Side]:
    many = len(draws) > 1
    return [
        Side(name=f"{name}, mask {number} of {len(draws)}" if many else name, labels=labels)
        for number, labels in enumerate(draws, start=1)
    ]


def _objective(config: Config, mask_id: int | None) -> Objective[Any]:
    """The run's objective; one of preferences without its reference, which changes no label."""
    settings = config.objective
    if isinstance(settings, PreferenceConfig) and (mask_id is not None or settings.likelihood == "next_token"):
        chunk_tokens = config.train.nll_chunk_tokens
        return Preference(settings, mask_id=mask_id, chunk_tokens=chunk_tokens, reference=None)
    return build_objective(config, mask_id=mask_id)


def _choices(config: Config) -> Choices:
    """Those that decide what a batch holds."""
    rows = config.train.micro_batch_size
    if rows == "auto":
        rows = math.gcd(config.rows_per_step, _MOST_ROWS)
    return Choices(
        device="cpu",
        threads=1,
        fp32_products="exact",
        compile=False,
        plain_max_keys=0,
        micro_batch_size=rows,
        eval_batch_size=rows,
    )

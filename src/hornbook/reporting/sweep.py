"""A sweep's runs beside one another: what each reached, and records for the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hornbook.config.dump import toml_value
from hornbook.errors import CheckpointError
from hornbook.reporting.record import Curve, RunRecord, read_run
from hornbook.sweeps.grid import Point
from hornbook.sweeps.status import Standing
from hornbook.sweeps.sweep import FILE, Sweep


@dataclass(frozen=True, kw_only=True)
class Row:
    """A point and what its run reached, so far."""

    point: Point
    state: str
    step: int
    best: float | None
    """The metric's lowest value (or highest, where that is the goal), and the step of it."""
    best_step: int | None
    last: float | None
    minutes: float
    run: Path


def rows(sweep: Sweep, standings: Iterable[Standing], metric: str) -> list[Row]:
    """One row a point, in order."""
    return [_row(sweep, each, metric) for each in standings]


def best_row(found: Sequence[Row], *, goal: str) -> Row | None:
    """The row of the best value, the first of equals; None if no run has a value."""
    known = [row for row in found if row.best is not None]
    return (min if goal == "minimize" else max)(known, key=lambda row: row.best or 0.0, default=None)


def metrics_of(sweep: Sweep) -> list[str]:
    """Names of what the runs measured, for a message."""
    names: set[str] = set()
    for point in sweep.points:
        record = _record(sweep, point)
        if record is not None:
            names.update(name for event in record.events for name in event if name.startswith(("train/", "val/")))
    return sorted(names)


def is_sweep(path: Path) -> bool:
    """Whether a directory is that of a sweep."""
    return (path / FILE).is_file()


def read_sweep(sweep: Sweep) -> list[RunRecord]:
    """The runs of a sweep that have begun, called by their settings, in the order of its points.

    Raises:
        CheckpointError: if none has begun.
    """
    found = ((point, _record(sweep, point)) for point in sweep.points)
    records = [replace(record, alias=_short(sweep, point)) for point, record in found if record is not None]
    if not records:
        raise CheckpointError(f"{sweep.root}: none of the sweep's {len(sweep.points)} runs has begun")
    return records


def _short(sweep: Sweep, point: Point) -> str:
    """The settings in one line, each key by its last name where no other one shares it."""
    last = [key.rpartition(".")[2] for key in sweep.swept]
    names = {key: name if last.count(name) == 1 else key for key, name in zip(sweep.swept, last, strict=True)}
    return ", ".join(f"{names[key]} {toml_value(value)}" for key, value in point.settings.items())


def _row(sweep: Sweep, standing: Standing, metric: str) -> Row:
    record = _record(sweep, standing.point)
    curve = Curve() if record is None else record.curve(metric)
    sign = 1.0 if sweep.table.goal == "minimize" else -1.0
    lowest = replace(curve, values=tuple(sign * value for value in curve.values)).lowest
    return Row(
        point=standing.point,
        state=standing.state,
        step=0 if record is None else record.last_step,
        best=None if lowest is None else sign * lowest[1],
        best_step=None if lowest is None else lowest[0],
        last=curve.last,
        minutes=0.0 if record is None else record.training_minutes,
        run=sweep.run_dir(standing.point).root,
    )


def _record(sweep: Sweep, point: Point) -> RunRecord | None:
    run = sweep.run_dir(point)
    return read_run(run.root) if run.state_file.is_file() else None

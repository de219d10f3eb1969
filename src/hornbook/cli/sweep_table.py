"""`hornbook sweep table` and `best`: what the runs of a sweep reached."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import pydantic, which no --help may wait for
    from hornbook.reporting.sweep import Row
    from hornbook.sweeps.sweep import Sweep


def table(sweep: Sweep, metric: str | None) -> int:
    """One row a point, in order."""
    from hornbook.cli.sweep import write_aligned
    from hornbook.config.dump import toml_value
    from hornbook.tracking.console import speaks_to_people

    metric = metric or sweep.table.metric
    found = _rows(sweep, metric)
    for row in found:
        _emit(row, metric)
    if speaks_to_people():
        heads = ["index", "id", "state", "step", f"best {metric}", "at step", "last", "minutes", *sweep.swept]
        lines = []
        for row in found:
            settings = [toml_value(row.point.settings[k]) if k in row.point.settings else "" for k in sweep.swept]
            numbers = [_number(row.best), str(row.best_step or ""), _number(row.last), f"{row.minutes:.1f}"]
            lines.append([str(row.point.index), row.point.id, row.state, str(row.step), *numbers, *settings])
        write_aligned([heads, *lines])
    return 0


def best(sweep: Sweep, metric: str | None) -> int:
    """The best run, its settings, and what to do with it."""
    from hornbook.cli.demo import program
    from hornbook.errors import CheckpointError
    from hornbook.reporting.sweep import best_row, metrics_of
    from hornbook.tracking.console import speaks_to_people

    metric = metric or sweep.table.metric
    row = best_row(_rows(sweep, metric), goal=sweep.table.goal)
    if row is None:
        known = ", ".join(metrics_of(sweep)) or "nothing yet"
        raise CheckpointError(f"{sweep.root}: no run has {metric}; there is: {known}. Say --metric NAME")
    _emit(row, metric)
    if speaks_to_people():
        run = shlex.quote(str(row.run))
        print(f"{row.point}: {metric} {_number(row.best)} at step {row.best_step:,}, {row.state}. Try next:")
        print(f"  {program()} generate {run} --prompt 'The '\n  {program()} report {shlex.quote(str(sweep.root))}")
    return 0


def _rows(sweep: Sweep, metric: str) -> list[Row]:
    from hornbook.cli.from_checkpoint import note
    from hornbook.reporting.sweep import rows
    from hornbook.sweeps.jobs import SchedulerError
    from hornbook.sweeps.status import standings

    try:
        found = standings(sweep)
    except SchedulerError as error:
        note(f"{error}: whether jobs wait is not known")
        found = standings(sweep, asking=False)
    return rows(sweep, found, metric)


def _emit(row: Row, metric: str) -> None:
    from hornbook.tracking.console import emit

    emit(
        "sweep_result",
        index=row.point.index,
        id=row.point.id,
        state=row.state,
        step=row.step,
        metric=metric,
        best=row.best,
        best_step=row.best_step,
        last=row.last,
        minutes=round(row.minutes, 3),
        settings=row.point.settings,
        run=row.run,
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:,.0f}"

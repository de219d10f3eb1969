"""`hornbook sweep table` and `best`: what the runs of a sweep reached."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import pydantic, which no --help may wait for
    from hornbook.reporting.sweep import Row
    from hornbook.sweeps.sweep import Sweep


def table(sweep: Sweep, metrics: Sequence[str]) -> int:
    """One row a point, in order; for programs one event a point and metric."""
    from hornbook.cli.sweep import known_standings, write_aligned
    from hornbook.config.dump import toml_value
    from hornbook.reporting.sweep import rows
    from hornbook.tracking.console import speaks_to_people

    names = list(dict.fromkeys(metrics)) or [sweep.table.metric]
    standings = known_standings(sweep)
    found = [rows(sweep, standings, name) for name in names]
    for of_point in zip(*found, strict=True):
        for name, row in zip(names, of_point, strict=True):
            _emit(row, name)
    if speaks_to_people():
        heads = ["index", "id", "state", "step", *(h for name in names for h in (f"best {name}", "at step", "last"))]
        lines = []
        for first, *others in zip(*found, strict=True):
            settings = [toml_value(first.point.settings[k]) if k in first.point.settings else "" for k in sweep.swept]
            cells = [cell for row in (first, *others) for cell in _cells(row)]
            where = [str(first.point.index), first.point.id, first.state, str(first.step)]
            lines.append([*where, *cells, f"{first.minutes:.1f}", *settings])
        write_aligned([[*heads, "minutes", *sweep.swept], *lines])
    return 0


def best(sweep: Sweep, metrics: Sequence[str]) -> int:
    """The best run, its settings, and what to do with it."""
    from hornbook.cli.demo import program
    from hornbook.cli.sweep import known_standings
    from hornbook.errors import CheckpointError, ConfigError
    from hornbook.reporting.sweep import best_row, metrics_of, rows
    from hornbook.tracking.console import speaks_to_people

    if len(metrics) > 1:
        raise ConfigError(f"--metric {' --metric '.join(metrics)}: a run is the best by one metric; leave one of them")
    metric = metrics[0] if metrics else sweep.table.metric
    row = best_row(rows(sweep, known_standings(sweep), metric), goal=sweep.table.goal)
    if row is None:
        known = ", ".join(metrics_of(sweep)) or "nothing yet"
        raise CheckpointError(f"{sweep.root}: no run has {metric}; there is: {known}. Say --metric NAME")
    _emit(row, metric)
    if speaks_to_people():
        run = shlex.quote(str(row.run))
        print(f"{row.point}: {metric} {_number(row.best)} at step {row.best_step:,}, {row.state}. Try next:")
        print(f"  {program()} generate {run} --prompt 'The '\n  {program()} report {shlex.quote(str(sweep.root))}")
    return 0


def _cells(row: Row) -> list[str]:
    return [_number(row.best), str(row.best_step or ""), _number(row.last)]


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
    if value is None:
        return ""
    if value and abs(value) < 1e-2:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 1e4 else f"{value:,.0f}"

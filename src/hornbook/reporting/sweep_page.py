"""What a sweep found, as a part of its page: the runs by rank, and the best value against each setting that varies."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from hornbook.config.dump import toml_value
from hornbook.reporting.plot import NARROW
from hornbook.reporting.scale import Scale, scale_of, short
from hornbook.reporting.sweep import Row, best_row, rows
from hornbook.reporting.tables import rows as table_rows
from hornbook.sweeps.status import standings
from hornbook.sweeps.sweep import Sweep

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 240, 62, 24, 16, 42
_LOG_FROM = 8.0
"""The greatest over the least value from which on a setting has a logarithmic axis."""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """A dot for each run: a setting's value, the metric's best value, and what the run is called."""

    setting: str
    metric: str
    dots: Sequence[tuple[object, float, str]]
    best: str
    """What the best run is called."""

    @property
    def is_numeric(self) -> bool:
        """Whether all values are numbers; others stand in the order in which they came."""
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value, _, _ in self.dots)

    def places(self) -> tuple[list[float], Scale, list[tuple[float, str]]]:
        """Of every dot its place on the axis, the axis, and its ticks with what they say."""
        if self.is_numeric:
            numbers = [float(value) for value, _, _ in self.dots if isinstance(value, int | float)]
            is_log = min(numbers) > 0 and max(numbers) / min(numbers) >= _LOG_FROM
            scale = scale_of(numbers, log=is_log, margin=0.06)
            assert scale is not None, "settings are finite"
            distinct = sorted(set(numbers))
            ticks = distinct if len(distinct) <= 7 else scale.ticks()
            return numbers, scale, [(tick, short(tick)) for tick in ticks]
        names = list(dict.fromkeys(_name(value) for value, _, _ in self.dots))
        scale = Scale(low=-0.5, high=len(names) - 0.5, log=False)
        return [float(names.index(_name(value))) for value, _, _ in self.dots], scale, list(enumerate(names))


def sweep_section(sweep: Sweep) -> Iterator[str]:
    """HTML of the table and the scatter plots, by the sweep's own metric."""
    found = rows(sweep, standings(sweep, asking=False), sweep.table.metric)
    sign = 1.0 if sweep.table.goal == "minimize" else -1.0
    ranked = sorted(found, key=lambda row: math.inf if row.best is None else sign * row.best)
    metric = sweep.table.metric
    yield "<section><h2>The sweep</h2>\n"
    heads = ("", f"best {metric}", "at step", "last", "state", "steps", "minutes", *sweep.swept, "run")
    yield table_rows(heads, (_line(sweep, rank, row) for rank, row in enumerate(ranked, start=1)))
    yield '<div class="small">\n'
    yield from map(scatter_svg, scatters(sweep, found))
    yield "</div>\n</section>\n"


def scatters(sweep: Sweep, found: Sequence[Row]) -> list[Scatter]:
    """One for each setting that has several values among the runs that measured something."""
    known = [row for row in found if row.best is not None]
    best = best_row(known, goal=sweep.table.goal)
    drawn = []
    for key in sweep.swept:
        dots = [
            (row.point.settings[key], row.best, row.point.label)
            for row in known
            if key in row.point.settings and row.best is not None and math.isfinite(row.best)
        ]
        if best is not None and len({_name(value) for value, _, _ in dots}) > 1:
            drawn.append(Scatter(setting=key, metric=f"best {sweep.table.metric}", dots=dots, best=best.point.label))
    return drawn


def scatter_svg(drawn: Scatter) -> str:
    """HTML of the figure."""
    places, horizontal, ticks = drawn.places()
    vertical = scale_of([y for _, y, _ in drawn.dots], margin=0.1)
    assert vertical is not None, "a scatter has a finite dot"

    def x(value: float) -> float:
        return LEFT + horizontal.share(value) * (NARROW - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - vertical.share(value) * (HEIGHT - TOP - BOTTOM)

    floor = HEIGHT - BOTTOM
    grid = [
        f'<line x1="{LEFT}" x2="{NARROW - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y(tick):.1f}" dy=".32em" text-anchor="end">{short(tick)}</text>'
        for tick in vertical.ticks()
    ]
    grid += [
        f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{floor}" y2="{floor + 4}"/>'
        f'<text x="{x(tick):.1f}" y="{floor + 17}" text-anchor="middle">{escape(said)}</text>'
        for tick, said in ticks
    ]
    dots = [
        f'<circle class="{"best" if name == drawn.best else "dot"}" cx="{x(place):.1f}" cy="{y(value):.1f}" r="5">'
        f"<title>{escape(name)}: {short(value)}</title></circle>"
        for place, (_, value, name) in zip(places, drawn.dots, strict=True)
    ]
    return (
        f'<figure class="scatter"><figcaption><h3>{escape(drawn.setting)}</h3> <span>{escape(drawn.metric)}; the best '
        f'run is filled</span></figcaption>\n<svg viewBox="0 0 {NARROW} {HEIGHT}" role="img" '
        f'aria-label="{escape(drawn.metric)} by {escape(drawn.setting)}; the table above has the numbers">'
        f'<g class="grid">{"".join(grid)}</g>{"".join(dots)}</svg></figure>\n'
    )


def _line(sweep: Sweep, rank: int, row: Row) -> list[str]:
    settings = [_name(row.point.settings[key]) if key in row.point.settings else "" for key in sweep.swept]
    return [
        f"{rank}" if row.best is not None else "",
        "" if row.best is None else short(row.best),
        "" if row.best_step is None else f"{row.best_step:,}",
        "" if row.last is None else short(row.last),
        row.state,
        f"{row.step:,}",
        f"{row.minutes:.1f}",
        *settings,
        row.point.id,
    ]


def _name(value: object) -> str:
    return value if isinstance(value, str) else toml_value(value)

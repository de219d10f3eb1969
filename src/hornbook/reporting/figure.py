"""A figure: lines over steps, minutes or tokens, as SVG that is read without a script; hovering needs a little one.

Each figure is drawn once for every choice of axes, and style sheets show the chosen one. Numbers stand in a table too.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from hornbook.reporting.record import Curve
from hornbook.reporting.scale import Scale, scale_of, short
from hornbook.tracking.thinning import thinned

WIDE, NARROW = 1200, 580
"""Widths of figures, in the units of their drawings: about the pixels that they have on a page."""
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 16, 42
AXES = {"step": "step", "minutes": "minutes of training", "tokens": "tokens"}
"""Horizontal axes by name, and what is written below them."""
TABLE_ROWS = 24


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve with its looks: `colour` 0 to 7; `weight` faint, plain, dotted (a dot at each value) or
    ended (dotted, and its last value is written at its end)."""

    label: str
    curve: Curve
    colour: int
    weight: str = "plain"
    tokens_per_step: int = 0

    def across(self, axis: str) -> list[float]:
        """Places on a horizontal axis."""
        match axis:
            case "minutes":
                return list(self.curve.minutes)
            case "tokens":
                return [float(step * self.tokens_per_step) for step in self.curve.steps]
        return [float(step) for step in self.curve.steps]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something that happened at a step of a run: `kind` skipped or branch."""

    step: int
    label: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What is drawn. `key` is an identifier of its own in the page; `log` starts with a logarithmic vertical axis."""

    key: str
    title: str
    unit: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = field(default_factory=tuple)
    axes: Sequence[str] = ("step",)
    log: bool = False
    width: int = NARROW
    height: int = 240


def figure(drawn: Figure) -> str:
    """HTML of the figure; empty if no line has a finite value."""
    lines = [_thin(line) for line in drawn.lines if line.curve]
    if not lines:
        return ""
    axes = [axis for axis in drawn.axes if axis != "tokens" or all(line.tokens_per_step for line in lines)]
    heights = [value for line in lines for value in line.curve.values]
    scales = [scale for scale in (scale_of(heights), scale_of(heights, log=True)) if scale is not None]
    drawings = [_drawing(drawn, lines, axis, scale) for axis in axes for scale in scales]
    data = {
        "lines": [
            {
                "label": line.label,
                "colour": line.colour,
                "y": [_json_number(value) for value in line.curve.values],
                "x": {axis: [_json_number(value) for value in line.across(axis)] for axis in axes},
            }
            for line in lines
        ],
        "axes": {axis: AXES[axis] for axis in axes},
    }
    return "".join(
        [
            f'<figure class="plot" id="{drawn.key}">\n',
            f"<figcaption><h3>{escape(drawn.title)}</h3> <span>{escape(drawn.unit)}</span>",
            _switches(drawn, axes, both=len(scales) > 1),
            f"</figcaption>\n{_legend(lines, drawn.marks)}",
            *drawings,
            f'<script type="application/json">{script_json(data)}</script>\n',
            _table(lines),
            "</figure>\n",
        ]
    )


def script_json(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")


def _thin(line: Line) -> Line:
    kept = thinned(line.curve.values)
    curve = Curve(
        steps=tuple(line.curve.steps[i] for i in kept),
        minutes=tuple(line.curve.minutes[i] for i in kept),
        values=tuple(line.curve.values[i] for i in kept),
    )
    weight = line.weight if line.weight != "dotted" or len(kept) <= 60 else "plain"
    return Line(label=line.label, curve=curve, colour=line.colour, weight=weight, tokens_per_step=line.tokens_per_step)


def _json_number(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.6g}")


def _switches(drawn: Figure, axes: Sequence[str], *, both: bool) -> str:
    """Boxes that choose between the drawings, by the style sheet alone."""
    boxes = []
    if len(axes) > 1:
        boxes += [
            f'<label><input type="radio" name="{drawn.key}-x" class="by-{axis}"{" checked" * (axis == axes[0])}> '
            f"{axis}</label>"
            for axis in axes
        ]
    if both:
        boxes.append(f'<label><input type="checkbox" class="by-log"{" checked" * drawn.log}> log</label>')
    return f'<span class="switches">{"".join(boxes)}</span>' if boxes else ""


def _legend(lines: Sequence[Line], marks: Sequence[Mark]) -> str:
    entries = [(f'<i class="c{line.colour} {line.weight}"></i>', line.label) for line in lines]
    entries += [(f'<i class="mark {kind}"></i>', kind) for kind in sorted({mark.kind for mark in marks})]
    if len(entries) < 2:
        return ""
    return '<p class="legend">' + "".join(f"<span>{sign}{escape(label)}</span>" for sign, label in entries) + "</p>\n"


def _drawing(drawn: Figure, lines: Sequence[Line], axis: str, vertical: Scale) -> str:
    """One SVG: grid, marks, lines."""
    horizontal = scale_of([x for line in lines for x in line.across(axis)], margin=0.0)
    assert horizontal is not None, "a line has values, so it has places"
    kind = "log" if vertical.log else "linear"
    box = _Box(drawn.width, drawn.height, horizontal, vertical)
    scale = {
        "x": [horizontal.low, horizontal.high],
        "y": [vertical.low, vertical.high],
        "log": vertical.log,
        "box": [LEFT, drawn.width - RIGHT, TOP, drawn.height - BOTTOM],
        "axis": axis,
    }
    told = f"{drawn.title} by {AXES[axis]}, {kind} vertical axis; the table below has the numbers"
    return "".join(
        [
            f'<svg class="drawing on-{axis} {kind}" viewBox="0 0 {drawn.width} {drawn.height}" role="img" '
            f'aria-label="{escape(told)}" data-scale="{escape(json.dumps(scale))}">\n',
            *_grid(box, AXES[axis]),
            *(_mark(box, mark) for mark in drawn.marks if axis == "step"),
            *(_line(box, line, axis) for line in lines),
            '<line class="cursor" hidden="" y1="0" y2="0"/></svg>\n',
        ]
    )


@dataclass(frozen=True)
class _Box:
    width: int
    height: int
    horizontal: Scale
    vertical: Scale

    def x(self, value: float) -> float:
        return LEFT + self.horizontal.share(value) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - self.vertical.share(value) * (self.height - TOP - BOTTOM)


def _grid(box: _Box, below: str) -> list[str]:
    floor = box.height - BOTTOM
    parts = ['<g class="grid">']
    for tick in box.vertical.ticks():
        y = f"{box.y(tick):.1f}"
        parts.append(f'<line x1="{LEFT}" x2="{box.width - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y}" dy=".32em" text-anchor="end">{short(tick)}</text>')
    for tick in box.horizontal.ticks():
        x = f"{box.x(tick):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text x="{x}" y="{floor + 17}" text-anchor="middle">{short(tick)}</text>')
    middle = (LEFT + box.width - RIGHT) // 2
    parts.append(f'<text x="{middle}" y="{box.height - 6}" text-anchor="middle">{below}</text></g>\n')
    return parts


def _mark(box: _Box, mark: Mark) -> str:
    if not 0.0 <= box.horizontal.share(float(mark.step)) <= 1.0:
        return ""
    x, floor = f"{box.x(float(mark.step)):.1f}", box.height - BOTTOM
    return (
        f'<g class="mark {mark.kind}"><title>{escape(mark.label)}</title><line x1="{x}" x2="{x}" y1="{TOP}" '
        f'y2="{floor}"/><path d="M{x} {floor}l-4 -8h8z"/></g>\n'
    )


def _line(box: _Box, line: Line, axis: str) -> str:
    """A path with a gap wherever a value is missing, and a dot where a value has no neighbour to be joined to."""
    places = [(box.x(x), box.y(y)) for x, y in zip(line.across(axis), line.curve.values, strict=True)]
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in places:
        if math.isnan(x) or math.isnan(y):
            runs.append([])
        else:
            runs[-1].append((x, y))
    path = " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) for run in runs if run)
    alone = [run[0] for run in runs if len(run) == 1]
    dots = [place for run in runs for place in run] if line.weight in ("dotted", "ended") else alone
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in dots)
    end = _end(box, line, dots[-1]) if line.weight == "ended" and dots else ""
    return f'<g class="line c{line.colour} {line.weight}"><path d="{path}"/>{circles}{end}</g>\n'


def _end(box: _Box, line: Line, place: tuple[float, float]) -> str:
    """The last value, beside its dot where there is room, else above it."""
    last = line.curve.last
    if last is None:
        return ""
    x, y = place
    if x < box.width - 70:
        return f'<text x="{x + 6:.1f}" y="{y:.1f}" dy=".32em">{short(last)}</text>'
    return f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="end">{short(last)}</text>'


def _table(lines: Sequence[Line]) -> str:
    """Some of the numbers, for those who cannot see the lines and for copying."""
    bodies = []
    for line in lines:
        curve = line.curve
        count = len(curve.steps)
        picked = sorted({i * (count - 1) // max(1, TABLE_ROWS - 1) for i in range(TABLE_ROWS)}) if count else []
        rows = "".join(
            f"<tr><td>{curve.steps[i]:,}</td><td>{escape(short(curve.values[i]))}</td></tr>\n" for i in picked
        )
        bodies.append(
            f'<table><caption>{escape(line.label)}</caption><thead><tr><th scope="col">step</th>'
            f'<th scope="col">value</th></tr></thead><tbody>\n{rows}</tbody></table>\n'
        )
    return f'<details class="numbers"><summary>Numbers</summary><div class="tables">{"".join(bodies)}</div></details>\n'

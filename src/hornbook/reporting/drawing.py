"""Lines as SVG: one drawing for each choice of axes that looks different, which style sheets show or hide.

Axes along which every line has the same shape, as steps and tokens of a single run, share a drawing and differ in their
ticks alone.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hornbook.reporting.plot import AXES, Figure, Line, Mark
from hornbook.reporting.scale import Scale, scale_of, short

LEFT, RIGHT, TOP, BOTTOM = 62, 14, 16, 42
_SAME = 1e-4
"""Of the width: places that differ by less are the same."""


def drawings(drawn: Figure, lines: Sequence[Line], axes: Sequence[str], scales: Sequence[Scale]) -> list[str]:
    """SVG elements for all horizontal `axes` (known for every line) and vertical `scales`."""
    horizontals = {axis: _horizontal(lines, axis) for axis in axes}
    return [
        _drawing(drawn, lines, {axis: horizontals[axis] for axis in together}, vertical)
        for together in _alike(lines, horizontals)
        for vertical in scales
    ]


def _horizontal(lines: Sequence[Line], axis: str) -> Scale:
    scale = scale_of([x for line in lines for x in line.across(axis) or ()], margin=0.0)
    assert scale is not None, "a line has values, so it has places"
    return scale


def _alike(lines: Sequence[Line], horizontals: Mapping[str, Scale]) -> list[list[str]]:
    """Axes in groups along which all lines look the same."""
    groups: list[tuple[list[float], list[str]]] = []
    for axis, scale in horizontals.items():
        shares = [scale.share(x) for line in lines for x in line.across(axis) or ()]
        for known, together in groups:
            if all(abs(one - other) < _SAME for one, other in zip(known, shares, strict=True)):
                together.append(axis)
                break
        else:
            groups.append((shares, [axis]))
    return [together for _, together in groups]


def _drawing(drawn: Figure, lines: Sequence[Line], horizontals: Mapping[str, Scale], vertical: Scale) -> str:
    """One SVG: grid, marks, lines."""
    kind = "log" if vertical.log else "linear"
    axis = next(iter(horizontals))
    box = _Box(drawn.width, drawn.height, horizontals[axis], vertical)
    scale = {
        "x": {name: [each.low, each.high] for name, each in horizontals.items()},
        "y": [vertical.low, vertical.high],
        "log": vertical.log,
        "box": [LEFT, drawn.width - RIGHT, TOP, drawn.height - BOTTOM],
    }
    classes = " ".join([*(f"on-{name}" for name in horizontals), kind])
    told = f"{drawn.title} by {', '.join(horizontals)}, {kind} vertical axis; the table below has the numbers"
    return "".join(
        [
            f'<svg class="drawing {classes}" viewBox="0 0 {drawn.width} {drawn.height}" role="img" '
            f'aria-label="{escape(told)}" data-scale="{escape(json.dumps(scale))}">\n',
            *_levels(box),
            *(_ticks(_Box(drawn.width, drawn.height, each, vertical), name) for name, each in horizontals.items()),
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


def _levels(box: _Box) -> list[str]:
    parts = ['<g class="grid">']
    for tick in box.vertical.ticks():
        y = f"{box.y(tick):.1f}"
        parts.append(f'<line x1="{LEFT}" x2="{box.width - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y}" dy=".32em" text-anchor="end">{short(tick)}</text>')
    return [*parts, "</g>\n"]


def _ticks(box: _Box, axis: str) -> str:
    floor, middle = box.height - BOTTOM, (LEFT + box.width - RIGHT) // 2
    parts = [f'<g class="grid ticks on-{axis}">']
    for tick in box.horizontal.ticks():
        x = f"{box.x(tick):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{floor}" y2="{floor + 4}"/>')
        parts.append(f'<text x="{x}" y="{floor + 17}" text-anchor="middle">{short(tick)}</text>')
    parts.append(f'<text x="{middle}" y="{box.height - 6}" text-anchor="middle">{AXES[axis]}</text></g>\n')
    return "".join(parts)


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
    places = [(box.x(x), box.y(y)) for x, y in zip(line.across(axis) or (), line.curve.values, strict=True)]
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

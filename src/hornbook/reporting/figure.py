"""A figure as HTML: drawings that are read without a script; hovering needs a little one. Numbers stand in a table too.

Boxes choose among the drawings by the style sheet alone: those of the horizontal axis stand once above all figures
(`axis_choice`), that of the logarithmic axis at each.
"""

import json
import math
from collections.abc import Sequence
from html import escape

from hornbook.reporting.drawing import drawings
from hornbook.reporting.plot import AXES, Figure, Line, Mark
from hornbook.reporting.scale import scale_of, short

TABLE_ROWS = 24
CHOICES = {"step": "steps", "minutes": "minutes", "tokens": "tokens", "flops": "FLOPs"}


def figure(drawn: Figure) -> str:
    """HTML of the figure; empty if no line has a finite value."""
    lines, axes = drawn.visible, drawn.known_axes
    if not lines:
        return ""
    heights = [value for line in lines for value in line.curve.values]
    scales = [scale for scale in (scale_of(heights), scale_of(heights, log=True)) if scale is not None]
    data = {"lines": [_told(line, axes) for line in lines], "axes": {axis: AXES[axis] for axis in axes}}
    return "".join(
        [
            f'<figure class="plot" id="{escape(drawn.key)}">\n',
            f"<figcaption><h3>{escape(drawn.title)}</h3> <span>{escape(drawn.unit)}</span>",
            _log_box(drawn) if len(scales) > 1 else "",
            f"</figcaption>\n{_legend(lines, drawn.marks)}",
            *drawings(drawn, lines, axes, scales),
            f'<script type="application/json">{script_json(data)}</script>\n',
            _table(lines),
            "</figure>\n",
        ]
    )


def axis_choice(axes: Sequence[str]) -> str:
    """Boxes that choose the horizontal axis of all figures in their section; empty if there is no choice."""
    if len(axes) < 2:
        return ""
    boxes = "".join(
        f'<label><input type="radio" name="axis" value="{axis}" class="by-{axis}"{" checked" * (axis == axes[0])}> '
        f"{CHOICES[axis]}</label>"
        for axis in axes
    )
    return f'<p class="switches across">by {boxes}</p>\n'


def script_json(value: object) -> str:
    """JSON that may stand in a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")


def _told(line: Line, axes: Sequence[str]) -> dict[str, object]:
    """The values under the pointer."""
    return {
        "label": line.label,
        "colour": line.colour,
        "y": [_json_number(value) for value in line.curve.values],
        "x": {axis: _places(line, axis) for axis in axes},
    }


def _places(line: Line, axis: str) -> list[float | None] | float:
    """One by one, or, where they are in proportion to the steps, how many there are to a step."""
    steps, places = line.curve.steps, line.across(axis) or []
    ratio = places[-1] / steps[-1] if steps and steps[-1] else 0.0
    if axis != "step" and all(math.isclose(place, ratio * step) for place, step in zip(places, steps, strict=True)):
        return ratio
    return [_json_number(place) for place in places]


def _json_number(value: float) -> float | None:
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) and abs(value) < 1e15 else float(f"{value:.6g}")


def _log_box(drawn: Figure) -> str:
    box = f'<label><input type="checkbox" class="by-log"{" checked" * drawn.log}> log</label>'
    return f'<span class="switches">{box}</span>'


def _legend(lines: Sequence[Line], marks: Sequence[Mark]) -> str:
    entries = [(f'<i class="c{line.colour} {line.weight}"></i>', line.label) for line in lines]
    entries += [(f'<i class="mark {kind}"></i>', kind) for kind in sorted({mark.kind for mark in marks})]
    if len(entries) < 2:
        return ""
    return '<p class="legend">' + "".join(f"<span>{sign}{escape(label)}</span>" for sign, label in entries) + "</p>\n"


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

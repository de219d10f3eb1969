"""A heat map: how large something is, module by module (rows) and over steps (columns), on a logarithmic scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hornbook.reporting.figure import script_json
from hornbook.reporting.plot import NARROW
from hornbook.reporting.scale import short

LEVELS = 12
MOST_COLUMNS = 72
_LABELS, _ROW, _TOP, _BOTTOM = 186, 15, 6, 34


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """`rows` are {module: values}, one value a step of `steps`; what is not finite is drawn as such.

    None is not drawn: nothing was measured there.
    """

    key: str
    title: str
    unit: str
    steps: Sequence[int]
    rows: Mapping[str, Sequence[float | None]]


def heat_map(drawn: HeatMap) -> str:
    """HTML of the heat map; empty if nothing in it is a number above 0."""
    columns = _columns(len(drawn.steps))
    steps = [drawn.steps[i] for i in columns]
    rows = {name: [values[i] for i in columns] for name, values in drawn.rows.items()}
    known = [
        value
        for values in rows.values()
        for value in values
        if value is not None and math.isfinite(value) and value > 0.0
    ]
    if not known:
        return ""
    low, high = min(known), max(known)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    width = (NARROW - _LABELS - 4) / len(steps)
    data = {"steps": steps, "rows": {name: [_told(value) for value in values] for name, values in rows.items()}}
    area = escape(str([_LABELS, NARROW - 4, _TOP, _TOP + _ROW * len(rows)]))
    return "".join(
        [
            f'<figure class="heat" id="{escape(drawn.key)}">\n<figcaption><h3>{escape(drawn.title)}</h3> ',
            f"<span>{escape(drawn.unit)}</span></figcaption>\n{_key(low, high)}",
            f'<svg class="drawing" viewBox="0 0 {NARROW} {height}" role="img" data-area="{area}" aria-label="',
            f'{escape(drawn.title)} by module and step; the table below has the last values">\n<g class="grid">',
            *(
                f'<text x="{_LABELS - 6}" y="{_TOP + _ROW * (i + 0.5):.1f}" dy=".32em" text-anchor="end">'
                f"{escape(name)}</text>"
                for i, name in enumerate(rows)
            ),
            f'<text x="{_LABELS}" y="{height - 18}">{steps[0]:,}</text>',
            f'<text x="{NARROW - 4}" y="{height - 18}" text-anchor="end">{steps[-1]:,}</text>',
            f'<text x="{(NARROW + _LABELS) // 2}" y="{height - 4}" text-anchor="middle">step</text></g>\n',
            *_cells(list(rows.values()), low, high, width),
            f'</svg>\n<script type="application/json">{script_json(data)}</script>\n',
            _table(drawn, steps, rows),
            "</figure>\n",
        ]
    )


def _columns(count: int) -> list[int]:
    """Indices of at most MOST_COLUMNS steps, the last one among them."""
    shown = min(count, MOST_COLUMNS)
    return [(i + 1) * count // shown - 1 for i in range(shown)]


def _told(value: float | None) -> float | str:
    if value is None:
        return "not measured"
    return float(f"{value:.4g}") if math.isfinite(value) else "not finite"


def _written(value: float | None) -> str:
    return "" if value is None else escape(short(value))


def _level(value: float, low: float, high: float) -> str:
    """The class of a cell: h0 to h11 by size, hx for what is not finite."""
    if not math.isfinite(value):
        return "hx"
    if value <= 0.0 or high <= low:
        return "h0"
    share = math.log(value / low) / math.log(high / low)
    return f"h{min(LEVELS - 1, max(0, int(share * LEVELS)))}"


def _cells(rows: Sequence[Sequence[float | None]], low: float, high: float, width: float) -> list[str]:
    """One path for each level holds all cells of it: a cell costs 20 bytes, not 100."""
    paths: dict[str, list[str]] = {}
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            if value is None:
                continue
            x, y = _LABELS + column * width, _TOP + row * _ROW
            paths.setdefault(_level(value, low, high), []).append(f"M{x:.1f} {y}h{width:.1f}v{_ROW}h-{width:.1f}z")
    return [f'<path class="{level}" d="{"".join(cells)}"/>\n' for level, cells in sorted(paths.items())]


def _key(low: float, high: float) -> str:
    cells = "".join(f'<i class="h{level}"></i>' for level in range(LEVELS))
    return f'<p class="legend heat-key"><span>{short(low)}</span>{cells}<span>{short(high)}</span></p>\n'


def _table(drawn: HeatMap, steps: Sequence[int], rows: Mapping[str, Sequence[float | None]]) -> str:
    picked = sorted({0, len(steps) // 2, len(steps) - 1})
    heads = "".join(f'<th scope="col">step {steps[i]:,}</th>' for i in picked)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{_written(values[i])}</td>" for i in picked)
        + "</tr>\n"
        for name, values in rows.items()
    )
    return (
        f'<details class="numbers"><summary>Numbers</summary><table><caption>{escape(drawn.title)}</caption><thead><tr>'
        f'<th scope="col">module</th>{heads}</tr></thead><tbody>\n{body}</tbody></table></details>\n'
    )

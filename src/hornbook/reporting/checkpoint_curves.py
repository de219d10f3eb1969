"""A number of every checkpoint of one or several runs as a picture: a line a run, with the interval as a band.

SVG needs nothing, and HTML holds it with its title; PNG needs the extra `plot`.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from hornbook.errors import MissingExtraError
from hornbook.reporting.margins import check_name
from hornbook.reporting.scale import Scale, scale_of, short
from hornbook.storage.atomic import replace_file
from hornbook.storage.disk import explained

WIDTH, HEIGHT = 900, 420
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 44, 44
COLOURS = ("#2a78b5", "#c8553d", "#3d8c5a", "#8a5fb0", "#b8860b", "#2f9e9e", "#b05080", "#6b6b6b")
LOG_FROM = 5.0
"""The vertical axis is logarithmic where the largest value is so many times the smallest."""


@dataclass(frozen=True, kw_only=True)
class CheckpointLine:
    """Values by step; `lows` and `highs` are ends of intervals, empty where there are none."""

    label: str
    steps: Sequence[int]
    values: Sequence[float]
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()


def check_picture(path: Path) -> None:
    """Refuse a picture that cannot be drawn, before what it shows takes its time.

    Raises:
        ConfigError: for a name that ends otherwise, or a folder that is missing.
        MissingExtraError: for PNG, if matplotlib is not installed.
    """
    check_name(path)
    if path.suffix.lower() == ".png" and importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("eval perplexity --plot FILE.png", package="matplotlib", extra="plot")


def save_checkpoint_curves(lines: Sequence[CheckpointLine], path: Path, *, title: str, unit: str) -> None:
    """Draw at least one line of at least one value; `unit` stands at the vertical axis.

    Raises:
        ConfigError: for a name that ends otherwise, or a folder that is missing.
        MissingExtraError: for PNG, if matplotlib is not installed.
        StorageError: if it cannot be written.
    """
    check_name(path)
    match path.suffix.lower():
        case ".png":
            _png(lines, path, title=title, unit=unit)
        case ".svg":
            replace_file(path, checkpoint_curves_svg(lines, title=title, unit=unit))
        case _:
            page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>\n<body>\n'
            replace_file(path, f"{page}{checkpoint_curves_svg(lines, title=title, unit=unit)}</body></html>\n")


def checkpoint_curves_svg(lines: Sequence[CheckpointLine], *, title: str, unit: str) -> str:
    """One SVG element."""
    vertical = _vertical(lines)
    horizontal = scale_of([float(step) for line in lines for step in line.steps], margin=0.02)
    assert horizontal is not None, "a line has values"

    def place(step: float, value: float) -> str:
        x = LEFT + horizontal.share(step) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - vertical.share(value) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    drawn = []
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        if line.lows:
            below = [place(step, low) for step, low in zip(line.steps, line.lows, strict=True)]
            above = [place(step, high) for step, high in zip(line.steps, line.highs, strict=True)]
            drawn.append(f'<polygon points="{" ".join([*above, *reversed(below)])}" fill="{colour}" opacity="0.18"/>')
        places = [place(step, value) for step, value in zip(line.steps, line.values, strict=True)]
        drawn.append(f'<polyline points="{" ".join(places)}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        for at, step, value in zip(places, line.steps, line.values, strict=True):
            x, y = at.split(",")
            told = escape(f"{line.label}, step {step:,}: {short(value)}")
            drawn.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"><title>{told}</title></circle>')
        drawn.append(
            f'<text x="{WIDTH - RIGHT - 4}" y="{TOP + 14 + 16 * number}" text-anchor="end" fill="{colour}">'
            f"{escape(line.label)}</text>"
        )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'font-family="sans-serif" font-size="12" aria-label="{escape(f"{title}: {unit} by step")}">',
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
            f'<text x="{LEFT}" y="20" font-size="14">{escape(title)}</text>',
            f'<text x="{LEFT}" y="37">{escape(unit)}</text>',
            *_grid(horizontal, vertical),
            *drawn,
            f'<text x="{(LEFT + WIDTH - RIGHT) // 2}" y="{HEIGHT - 10}" text-anchor="middle">step</text>',
            "</svg>\n",
        ]
    )


def _vertical(lines: Sequence[CheckpointLine]) -> Scale:
    heights = [value for line in lines for value in (*line.values, *line.lows, *line.highs)]
    scale = scale_of(heights, log=min(heights) > 0 and max(heights) >= LOG_FROM * min(heights))
    assert scale is not None, "a line has values"
    return scale


def _grid(horizontal: Scale, vertical: Scale) -> list[str]:
    floor = HEIGHT - BOTTOM
    parts = []
    for tick in vertical.ticks():
        y = f"{floor - vertical.share(tick) * (floor - TOP):.1f}"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y}" dy=".32em" text-anchor="end">{escape(short(tick))}</text>')
    for tick in horizontal.ticks():
        x = f"{LEFT + horizontal.share(tick) * (WIDTH - LEFT - RIGHT):.1f}"
        parts.append(f'<line x1="{x}" x2="{x}" y1="{floor}" y2="{floor + 4}" stroke="#444"/>')
        parts.append(f'<text x="{x}" y="{floor + 17}" text-anchor="middle">{escape(short(tick))}</text>')
    return parts


def _png(lines: Sequence[CheckpointLine], path: Path, *, title: str, unit: str) -> None:
    try:
        from matplotlib.figure import Figure  # without pyplot: no global state and no display
    except ImportError:
        raise MissingExtraError("eval perplexity --plot FILE.png", package="matplotlib", extra="plot") from None
    canvas = Figure(figsize=(9, 4.2), layout="constrained")
    axes = canvas.add_subplot()
    for number, line in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(line.steps, line.values, color=colour, marker="o", markersize=3, label=line.label)
        if line.lows:
            axes.fill_between(line.steps, line.lows, line.highs, color=colour, alpha=0.18, linewidth=0)
    vertical = _vertical(lines)
    axes.set(title=title, xlabel="step", ylabel=unit, yscale="log" if vertical.log else "linear")
    axes.set_yticks(vertical.ticks(), labels=[short(tick) for tick in vertical.ticks()])
    axes.set_yticks([], minor=True)
    axes.grid(alpha=0.3)
    axes.legend()
    with explained(path):
        canvas.savefig(path, dpi=150)

"""The figures of a report as files for papers and slides: PNG, SVG and PDF. Needs the extra `plot`."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbook.errors import MissingExtraError
from hornbook.reporting.curves import figures, heat_maps
from hornbook.reporting.evaluations import evaluation_figures
from hornbook.reporting.family import families, family_figure
from hornbook.reporting.heat_map import HeatMap
from hornbook.reporting.plot import AXES, WIDE, Figure, Line
from hornbook.reporting.record import RunRecord
from hornbook.reporting.scale import short
from hornbook.storage.disk import explained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENDINGS = ("png", "svg", "pdf")
_COLOURS = ("#1f6fb5", "#d1570d", "#12876a", "#a83b8c", "#8a6d00", "#3aa0c9", "#6a4fc0", "#6d6d6d")
"""Those of the page by daylight."""
_SETTINGS = {"svg.hashsalt": "hornbook", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 9}
"""Text stays text, and equal numbers give equal files."""


def save_main_figure(records: Sequence[RunRecord], path: Path) -> None:
    """Draw the losses of the runs, or of the family that they belong to.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        StorageError: if it cannot be written.
    """
    found = [*(family_figure(each, key="family") for each in families(records)), *figures(records)]
    save_figure(found[0] if found else Figure(key="losses", title="Loss", unit="", lines=()), "step", [path])


def save_pictures(records: Sequence[RunRecord], folder: Path, *, axis: str) -> list[Path]:
    """Draw everything that the page draws, by `axis` where it is known; the files, named by what they show.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        StorageError: if they cannot be written.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    drawn = [family_figure(each, key=f"family-{each.trunk.name}") for each in families(records)]
    drawn += [*figures(records), *evaluation_figures(records)]
    written = []
    for each in drawn:
        paths = [folder / f"{_file_name(each.key)}.{ending}" for ending in ENDINGS]
        save_figure(each, axis, paths)
        written += paths
    for heat in (each for record in records[:1] if len(records) == 1 for each in heat_maps(record)):
        paths = [folder / f"{_file_name(heat.key)}.{ending}" for ending in ENDINGS]
        if _save_heat_map(heat, paths):
            written += paths
    return written


def save_figure(drawn: Figure, axis: str, paths: Sequence[Path]) -> None:
    """Draw one figure into files, each in the format that its name ends in."""
    canvas, axes = _canvas((6.4, 3.6) if drawn.width == WIDE else (4.2, 2.8))
    axis = axis if axis in drawn.known_axes else "step"
    lines = drawn.visible
    for line in lines:
        _draw(axes, line, axis)
    for mark in drawn.marks if axis == "step" else ():
        axes.axvline(mark.step, color="#c4291c" if mark.kind == "skipped" else "gray", linestyle=":", linewidth=0.8)
    if drawn.log and all(value > 0 for line in lines for value in line.curve.values if math.isfinite(value)):
        axes.set_yscale("log")
    _write_ticks(axes)
    axes.set(xlabel=AXES[axis], ylabel=f"{drawn.title} ({drawn.unit})" if drawn.unit else drawn.title)
    axes.grid(alpha=0.3, linewidth=0.5)
    if len(lines) > 1:
        axes.legend(frameon=False, fontsize="small")
    _save(canvas, paths)


def _canvas(size: tuple[float, float]) -> tuple[Any, "Axes"]:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure as Canvas  # without pyplot: no global state and no display
    except ImportError:
        raise MissingExtraError("pictures of a report", package="matplotlib", extra="plot") from None
    with mpl.rc_context(_SETTINGS):
        canvas = Canvas(figsize=size, layout="constrained")
        return canvas, canvas.add_subplot()


def _write_ticks(axes: "Axes") -> None:
    """Numbers as on the page."""
    from matplotlib.ticker import LogFormatter

    axes.xaxis.set_major_formatter(lambda x, _: short(x))
    if axes.get_yscale() == "log":
        axes.yaxis.set_major_formatter(LogFormatter())
        axes.yaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1.0, 0.4)))
    else:
        axes.yaxis.set_major_formatter(lambda y, _: short(round(y, 12)))


def _draw(axes: "Axes", line: Line, axis: str) -> None:
    looks: dict[str, Any] = {"color": _COLOURS[line.colour], "label": line.label, "linewidth": 1.3}
    if line.weight == "faint":
        looks |= {"alpha": 0.4, "linewidth": 0.8}
    if line.weight in ("dotted", "ended"):
        looks |= {"marker": "o", "markersize": 2.5}
    places, values = line.across(axis) or [], line.curve.values
    axes.plot(places, values, **looks)
    if line.weight == "ended" and line.curve.last is not None:
        at = max(i for i, value in enumerate(values) if math.isfinite(value))
        where = {"xytext": (4, 0), "textcoords": "offset points", "fontsize": "small", "color": _COLOURS[line.colour]}
        axes.annotate(short(line.curve.last), (places[at], values[at]), **where)  # type: ignore[arg-type]


def _save_heat_map(drawn: HeatMap, paths: Sequence[Path]) -> bool:
    """Whether there was anything to draw."""
    cells = [[math.nan if value is None or value <= 0 else value for value in values] for values in drawn.rows.values()]
    if not any(math.isfinite(value) for values in cells for value in values):
        return False
    canvas, axes = _canvas((6.4, 0.8 + 0.18 * len(cells)))
    from matplotlib.colors import LogNorm

    image = axes.imshow(cells, aspect="auto", norm=LogNorm(), cmap="viridis", interpolation="nearest")
    axes.set_yticks(range(len(cells)), list(drawn.rows))
    ticks = sorted({0, len(drawn.steps) // 2, len(drawn.steps) - 1})
    axes.set_xticks(ticks, [f"{drawn.steps[i]:,}" for i in ticks])
    axes.set_xlabel("step")
    canvas.colorbar(image, label=drawn.unit)
    _save(canvas, paths)
    return True


def _save(canvas: Any, paths: Sequence[Path]) -> None:
    import matplotlib as mpl

    for path in paths:
        known = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(path.suffix[1:].lower())
        with explained(path), mpl.rc_context(_SETTINGS):
            canvas.savefig(path, dpi=200, metadata=known)


def _file_name(key: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in key)

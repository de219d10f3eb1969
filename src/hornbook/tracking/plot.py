"""The loss of a run as a picture: characters for any terminal, PNG and SVG where matplotlib is installed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

Point = tuple[int, float]


@dataclass(frozen=True)
class LossCurves:
    """Loss over steps, finite points only; the training points are each a mean over a logging interval."""

    train: tuple[Point, ...]
    valid: tuple[Point, ...]
    unit: str = "nats per token"

    @classmethod
    def of(cls, events: Iterable[Mapping[str, object]]) -> "LossCurves":
        """The curves among the events of `read_metrics`."""
        curves: dict[str, list[Point]] = {"train": [], "val": []}
        unit = cls.unit
        for event in events:
            kind, step = event.get("event"), event.get("step")
            loss = event.get(f"{kind}/loss")
            if kind in ("train", "val") and isinstance(step, int) and isinstance(loss, (int, float)):
                curves[str(kind)].append((step, float(loss)))
            if f"{kind}/rewards/margin" in event:
                unit = "of a pair"
        return cls(tuple(curves["train"]), tuple(curves["val"]), unit)


def plot_text(curves: LossCurves, *, width: int = 64, height: int = 14) -> str:
    """Both curves as lines of text: `·` training, `o` validation; empty if there is nothing to show."""
    points = [*curves.train, *curves.valid]
    if not points:
        return ""
    first, last = min(step for step, _ in points), max(step for step, _ in points)
    low, high = min(loss for _, loss in points), max(loss for _, loss in points)
    grid = [[" "] * width for _ in range(height)]
    for series, mark in ((curves.train, "·"), (curves.valid, "o")):
        for step, loss in series:
            column = _place(step, first, last, width)
            grid[height - 1 - _place(loss, low, high, height)][column] = mark
    lines = []
    for row, cells in enumerate(grid):
        loss = high - (high - low) * row / (height - 1)
        label = f"{loss:8.3f}" if row % 3 == 0 or row == height - 1 else " " * 8
        lines.append(f"{label} │{''.join(cells)}".rstrip())
    axis = f"{first}{last:>{width - len(str(first))}}"
    return "\n".join(
        [*lines, " " * 9 + "└" + "─" * width, " " * 10 + axis, " " * 10 + "loss by step: · training, o validation"]
    )


def _place(value: float, low: float, high: float, cells: int) -> int:
    """The cell, from 0, of a value within [low, high]."""
    return round((value - low) / (high - low) * (cells - 1)) if high > low else 0


def save_plot(curves: LossCurves, directory: Path, *, title: str) -> list[Path]:
    """Write loss.png and loss.svg; returns their paths, or an empty list when matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # without pyplot: no global state and no display
    except ImportError:
        return []
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for points, label, marker in ((curves.train, "training", ""), (curves.valid, "validation", "o")):
        axes.plot([step for step, _ in points], [loss for _, loss in points], marker=marker, markersize=3, label=label)
    axes.set(xlabel="step", ylabel=f"loss ({curves.unit})", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / "loss.png", directory / "loss.svg"]
    for path in paths:
        figure.savefig(path, dpi=150)
    return paths

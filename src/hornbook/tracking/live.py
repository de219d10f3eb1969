"""The live view of a training run on stderr: progress, numbers, a sparkline of the loss, the last sample.

It is redrawn when an event arrives, at most ten times a second, and never by a thread of its own: two cores have better
things to do. stdout is left alone, for it may carry JSON lines.
"""

import atexit
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hornbook.tracking.figures import parts, printable, sparkline
from hornbook.tracking.tracker import ArtifactKind, RunInfo, Scalar, Tracker

_SECONDS_BETWEEN_DRAWS = 0.1
_SAMPLE_LINES = 6
_SPARK_WIDTH = 60


class LiveView(Tracker):
    """Tracker that draws on stderr."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, force_terminal=True)
        self._live = Live(
            console=self._console, auto_refresh=False, redirect_stdout=False, vertical_overflow="ellipsis"
        )
        self._run = RunInfo(name="")
        self._step = 0
        self._numbers: list[str] = []
        self._losses: list[float] = []
        self._validation: list[str] = []
        self._lowest: tuple[float, int] | None = None
        self._notices: list[str] = []
        self._sample: tuple[str, int, str] | None = None
        self._drawn = 0.0

    def start(self, run: RunInfo) -> None:
        """Show the view; it also ends, cursor restored, when the process exits without `finish`."""
        self._run, self._step = run, run.first_step
        self._live.start()
        atexit.register(self._live.stop)
        self._draw(now=True)

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """Take in the numbers of an event."""
        match event:
            case "train":
                self._step = step
                self._numbers = parts(values)
                if isinstance(loss := values.get("train/loss"), (int, float)):
                    self._losses.append(loss)
            case "val":
                self._validation = [*parts(values), f"at step {step}"]
                loss = values.get("val/loss")
                if isinstance(loss, (int, float)) and (self._lowest is None or loss < self._lowest[0]):
                    self._lowest = (loss, step)
            case _:
                self._notices = [f"{event} at step {step}"]
        self._draw(now=event != "train")

    def text(self, name: str, step: int, text: str) -> None:
        """Show the sample until the next one."""
        self._sample = (name, step, printable(text))
        self._draw(now=True)

    def artifact(self, path: Path, name: str, kind: ArtifactKind) -> None:
        """Say where it lies."""
        self._notices = [f"{name}: {path}"]
        self._draw(now=True)

    def finish(self, status: str) -> None:
        """Draw a last time and give the terminal back."""
        self._notices = [f"run {status}"]
        self._draw(now=True)
        self._live.stop()
        atexit.unregister(self._live.stop)

    def _draw(self, *, now: bool) -> None:
        if now or time.monotonic() - self._drawn >= _SECONDS_BETWEEN_DRAWS:
            self._live.update(self.render(), refresh=True)
            self._drawn = time.monotonic()

    def render(self) -> RenderableType:
        """The view as it stands."""
        rows: list[RenderableType] = [self._progress_row(), Text(" · ".join(self._numbers))]
        if self._losses:
            low, high = min(self._losses), max(self._losses)
            spark = sparkline(self._losses, _SPARK_WIDTH)
            rows.append(Text.assemble(("loss  ", "dim"), (spark, "cyan"), (f"  {high:.3g} → {low:.3g}", "dim")))
        if self._validation:
            best = f" · best {self._lowest[0]:.4f} at step {self._lowest[1]}" if self._lowest else ""
            rows.append(Text.assemble(("valid ", "dim"), " · ".join(self._validation) + best))
        if self._sample:
            name, step, text = self._sample
            shown = "\n".join(text.splitlines()[:_SAMPLE_LINES])
            rows.append(Text.assemble((f"{name} at step {step}\n", "dim"), (shown, "italic")))
        rows.extend(Text(notice, style="dim") for notice in self._notices)
        return Group(*rows)

    def _progress_row(self) -> RenderableType:
        row = Table.grid(padding=(0, 1))
        total = self._run.total_steps
        if total is None:
            row.add_row(Text(self._run.name, style="bold"), f"step {self._step}")
        else:
            bar = ProgressBar(total=total, completed=self._step, width=30)
            row.add_row(Text(self._run.name, style="bold"), bar, f"step {self._step}/{total}")
        return row

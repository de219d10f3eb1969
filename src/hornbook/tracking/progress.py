"""Progress of long work that is not training: a bar on stderr for people, JSON lines on stdout for programs."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from hornbook.tracking.console import ConsoleChoice, LineOutput, current_outlets
from hornbook.tracking.figures import count
from hornbook.tracking.jsonl import SECONDS_BETWEEN_PROGRESS, json_line
from hornbook.tracking.tracker import Scalar


class Progress:
    """How far a task has come, as a context manager that ends the bar whatever happens.

    `with Progress("prepare", unit="documents") as progress: progress.update(10, 100, tokens=4_000)`. JSON lines look
    like {"event": "progress", "task": "prepare", "done": 10, "total": 100, "tokens": 4000}, at most one a second, and
    the last one always. On a terminal without a live view there is nothing: the verb's result says enough.
    """

    def __init__(self, task: str, *, unit: str = "", console: ConsoleChoice = "auto") -> None:
        self._task, self._unit = task, unit
        outlets = current_outlets(console)
        self._output = LineOutput(sys.stdout) if outlets.json else None
        self._show = outlets.live
        self._bar: _Bar | None = None
        self._last: tuple[int, int | None, dict[str, Scalar]] | None = None
        self._written = -SECONDS_BETWEEN_PROGRESS

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def start(self) -> Self:
        """Show the bar."""
        if self._show:
            self._bar = _Bar(self._task)
        return self

    def update(self, done: int, total: int | None = None, **numbers: Scalar) -> None:
        """Say how much is done, of how much if that is known, and any further numbers; cheap to call often."""
        self._last = (done, total, numbers)
        if self._bar is not None:
            self._bar.update(done, total, self._words(done, total, numbers))
        if time.monotonic() - self._written >= SECONDS_BETWEEN_PROGRESS:
            self._write_line()

    def finish(self) -> None:
        """Write the last numbers, if they are not written yet, and take the bar away; further calls do nothing."""
        self._write_line()
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _write_line(self) -> None:
        if self._last is None:
            return
        if self._output is not None:
            done, total, numbers = self._last
            fields = {"event": "progress", "task": self._task, "time": round(time.time(), 3), "done": done}
            self._output.write(json_line({**fields, "total": total, **numbers}))
        self._last, self._written = None, time.monotonic()

    def _words(self, done: int, total: int | None, numbers: dict[str, Scalar]) -> str:
        place = f"{count(done)}/{count(total)}" if total is not None else count(done)
        rest = (f"{name} {count(n) if isinstance(n, (int, float)) else n}" for name, n in numbers.items())
        return " · ".join([f"{place} {self._unit}".rstrip(), *rest])


class _Bar:
    """rich's progress bar on stderr; a spinner while the total is unknown."""

    def __init__(self, task: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._progress = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[words]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True, force_terminal=True),
            redirect_stdout=False,  # stdout may carry JSON lines
            refresh_per_second=4,
        )
        self._id = self._progress.add_task(task, total=None, words="")
        self._progress.start()
        self.stop: Callable[[], None] = self._progress.stop

    def update(self, done: int, total: int | None, words: str) -> None:
        self._progress.update(self._id, completed=done, total=total, words=words)

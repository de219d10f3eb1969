"""The live view of a training run on stderr: progress, curves as sparklines, the last samples, what was chosen.

The loop only takes numbers down, which costs microseconds; rich's thread draws twice a second, so that the clock goes
on during a long validation or compilation. stdout is left alone, for it may carry JSON lines.
"""

import atexit
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from hornbook.tracking.curve import Curve
from hornbook.tracking.figures import parts, printable
from hornbook.tracking.live_rows import Snapshot, render
from hornbook.tracking.tracker import ArtifactKind, RunInfo, Scalar, Tracker

DRAWS_PER_SECOND = 2
_CURVES = {
    "train/loss": "train",
    "val/loss": "valid",
    "train/tokens_per_second": "speed",
    "train/grad_norm": "gradient",
}
_NOTICES = 3


class LiveView(Tracker):
    """Tracker that draws on stderr."""

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._live = Live(
            self,
            console=console or Console(stderr=True, force_terminal=True),
            refresh_per_second=DRAWS_PER_SECOND,
            redirect_stdout=False,
            vertical_overflow="crop",
        )
        self._clock = clock
        self._lock = threading.Lock()  # between the loop and the thread that draws
        self._run = RunInfo(name="")
        self._started = clock()
        self._step = 0
        self._values: dict[str, Scalar] = {}
        self._curves = {row: Curve() for row in _CURVES.values()}
        self._best: tuple[float, int] | None = None
        self._task: tuple[str, int, int] | None = None
        self._notices: deque[str] = deque(maxlen=_NOTICES)
        self._samples: dict[str, tuple[int, str]] = {}

    def start(self, run: RunInfo) -> None:
        """Show the view; it also ends, cursor restored, when the process exits without `finish`."""
        self._run, self._step, self._started = run, run.first_step, self._clock()
        if run.resumed:
            self._notices.append(f"resumed after step {run.first_step:,}")
        self._live.start(refresh=True)
        atexit.register(self._live.stop)

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """Take in the numbers of an event."""
        with self._lock:
            self._step, self._task = max(self._step, step), None
            self._values |= values
            for name in _CURVES.keys() & values.keys():
                if isinstance(value := values[name], (int, float)):
                    self._curves[_CURVES[name]].add(value)
            if event not in ("train", "val"):
                self._notices.append(_notice(event, step, values))
            loss = values.get("val/loss")
            if isinstance(loss, (int, float)) and math.isfinite(loss) and (self._best is None or loss < self._best[0]):
                self._best = (loss, step)

    def text(self, name: str, step: int, text: str) -> None:
        """Show the sample until the next one of its name."""
        with self._lock:
            self._samples[name] = (step, printable(text))

    def progress(self, task: str, done: int, total: int) -> None:
        """Show how far it is, until it is done."""
        with self._lock:
            self._task = (task, done, total) if done < total else None

    def artifact(self, path: Path, name: str, kind: ArtifactKind) -> None:
        """Where they lie is said when the run has ended."""

    def finish(self, status: str) -> None:
        """Draw a last time and give the terminal back."""
        with self._lock:
            self._task = None
            self._notices.append(f"run {status}")
        self._live.stop()
        atexit.unregister(self._live.stop)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The view as it stands, as wide and at most as high as the terminal."""
        with self._lock:
            snapshot = Snapshot(
                run=self._run,
                step=self._step,
                elapsed=self._clock() - self._started,
                values=self._values,
                curves=self._curves,
                best=self._best,
                task=self._task,
                notices=tuple(self._notices),
                samples=self._samples,
            )
            # One line is left free: a view as high as the terminal would scroll it.
            rows = render(snapshot, console, width=options.max_width, height=max(1, console.height - 1))
        yield Text("\n").join(rows)


def _notice(event: str, step: int, values: Mapping[str, Scalar]) -> str:
    if event == "notice":
        return str(values.get("notice/text", ""))
    said = parts(values)
    if event == "norms":
        said = [_largest(values, "grad", "largest gradient"), _largest(values, "update_ratio", "largest update ratio")]
    elif event == "skipped":
        said = [str(values.get("skipped/reason", "")), *said]
    elif event == "checkpoint":
        said = [str(values.get("checkpoint/kind", ""))] + ["the best so far"] * bool(values.get("checkpoint/best"))
    return " · ".join([f"{event} at step {step:,}", *filter(None, said)])


def _largest(values: Mapping[str, Scalar], kind: str, words: str) -> str:
    prefix = f"norms/{kind}/"
    found = [
        (value, name.removeprefix(prefix))
        for name, value in values.items()
        if name.startswith(prefix) and isinstance(value, float)
    ]
    return f"{words} {max(found)[0]:.2g} in {max(found)[1]}" if found else ""

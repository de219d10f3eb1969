"""What a command says to the terminal: JSON lines on stdout, a live view on stderr, or plain lines.

| stdout       | stderr       | auto                                                |
| ------------ | ------------ | --------------------------------------------------- |
| not terminal | terminal     | JSON lines on stdout, live view on stderr           |
| not terminal | not terminal | JSON lines on stdout                                |
| terminal     | terminal     | live view on stderr                                 |
| terminal     | not terminal | one readable line an event on stdout                |

`json`: JSON lines on stdout only. `rich`: the live view whatever stderr is, and JSON lines on a stdout that is not a
terminal.
`none`: silence. So `hornbook train run.toml | jq .` always works, and `| head` does not end the run.
"""

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from hornbook.tracking.figures import parts, printable
from hornbook.tracking.jsonl import JsonLines, json_line
from hornbook.tracking.tracker import ArtifactKind, RunInfo, Scalar, Tracker

ConsoleChoice = Literal["auto", "rich", "json", "none"]


@dataclass(frozen=True, kw_only=True)
class Outlets:
    """Which of the three forms of output are on."""

    json: bool = False
    live: bool = False
    plain: bool = False


def choose_outlets(console: ConsoleChoice, *, stdout_is_terminal: bool, stderr_is_terminal: bool) -> Outlets:
    """The table above."""
    match console:
        case "none":
            return Outlets()
        case "json":
            return Outlets(json=True)
        case "rich":
            return Outlets(json=not stdout_is_terminal, live=True)
        case "auto":
            plain = stdout_is_terminal and not stderr_is_terminal
            return Outlets(json=not stdout_is_terminal, live=stderr_is_terminal, plain=plain)


def current_outlets(console: ConsoleChoice) -> Outlets:
    """`choose_outlets` for this process."""
    return choose_outlets(console, stdout_is_terminal=sys.stdout.isatty(), stderr_is_terminal=sys.stderr.isatty())


class LineOutput:
    """Lines to a text stream whose reader may go away: then it falls silent and the run goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._gone = False

    def write(self, line: str) -> None:
        """Write and flush one line."""
        if self._gone:
            return
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except BrokenPipeError:
            self._gone = True
            _point_at_nothing(self._stream)

    def close(self) -> None:
        """Leave the stream open: it is the process's."""


def _point_at_nothing(stream: TextIO) -> None:
    """Send the rest of a stream, and what its buffer still holds, to the null device; else exit would raise again."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, stream.fileno())
    finally:
        os.close(null)


def emit(event: str, /, *, console: ConsoleChoice = "auto", **fields: object) -> None:
    """The result of a command as one JSON line on stdout, when stdout is not a terminal or `console` is json.

    A verb says the same in words under `if speaks_to_people(console): print(...)`.
    """
    if current_outlets(console).json:
        LineOutput(sys.stdout).write(json_line({"event": event, "time": round(time.time(), 3), **fields}))


def speaks_to_people(console: ConsoleChoice = "auto") -> bool:
    """Whether stdout is a terminal whose reader wants words: never when JSON lines or silence are asked for."""
    return console not in ("json", "none") and sys.stdout.isatty()


class PlainLines(Tracker):
    """Tracker that writes one readable line an event, for a log that people read."""

    def __init__(self, output: LineOutput) -> None:
        self._output = output
        self._total: int | None = None

    def start(self, run: RunInfo) -> None:
        """Say the run's name, where a resumed one goes on, and what was chosen for it."""
        self._total = run.total_steps
        self._output.write(f"run {run.name}" + (f", resumed after step {run.first_step}" if run.resumed else ""))
        for told in ("choices", "warning"):
            if line := run.details.get(told):
                self._output.write(str(line))
        if trained := run.details.get("trained_parameters"):
            self._output.write(f"trains {trained:,} of {run.details['n_parameters']:,} parameters")

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """`train step 10/100 | loss 4.2000 | ...`; values without a known name stand as name=value."""
        place = f"{step}/{self._total}" if self._total is not None else str(step)
        said = parts(values) or [f"{name}={value}" for name, value in values.items()]
        self._output.write(" | ".join([f"{event} step {place}", *said]))

    def text(self, name: str, step: int, text: str) -> None:
        """The sample, indented."""
        indented = printable(text).replace("\n", "\n    ")
        self._output.write(f"{name} at step {step}:\n    {indented}")

    def artifact(self, path: Path, name: str, kind: ArtifactKind) -> None:
        """Where it lies."""
        self._output.write(f"{name}: {path}")

    def finish(self, status: str) -> None:
        """The run's last state."""
        self._output.write(f"run {status}")


def console_trackers(console: ConsoleChoice) -> list[Tracker]:
    """The trackers that write to this process's terminal or pipe."""
    outlets = current_outlets(console)
    trackers: list[Tracker] = []
    if outlets.json:
        trackers.append(JsonLines(LineOutput(sys.stdout), tells_progress=True))
    if outlets.plain:
        trackers.append(PlainLines(LineOutput(sys.stdout)))
    if outlets.live:
        from hornbook.tracking.live import LiveView

        trackers.append(LiveView())
    return trackers

"""Events as JSON lines: the run's metrics.jsonl, and the same lines on stdout.

One object a line, such as {"event": "train", "step": 10, "time": 1751600000.0, "train/loss": 4.2}. Lines are strict
JSON: NaN and infinity, which `jq` and others reject, become null. metrics.jsonl is only ever appended to, one write a
line, so a killed run leaves at most one torn line at its end; opening the file again cuts it off. A resumed run appends
a `start` event with the step that it resumed from, and `read_metrics` forgets what an earlier session wrote beyond it.
"""

import json
import math
import numbers
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from hornbook.errors import CheckpointError
from hornbook.storage.disk import explained
from hornbook.tracking.tracker import ArtifactKind, RunInfo, Scalar, Tracker

SECONDS_BETWEEN_PROGRESS = 1.0
_BLOCK = 1 << 16


def json_line(fields: Mapping[str, object]) -> str:
    """`fields` as one line of strict JSON, without the newline; non-finite floats become null, paths strings.

    The line is ASCII, so that a terminal's encoding or a stray surrogate in a sample cannot break it.

    Raises:
        TypeError: for a value that JSON cannot hold, such as a tensor.
    """
    return json.dumps(_plain(fields), allow_nan=False)


def _plain(value: object) -> object:
    match value:
        case None | bool() | str():
            return value
        case numbers.Integral():  # numpy's integers too
            return int(value)
        case numbers.Real():
            number = float(value)
            return number if math.isfinite(number) else None
        case Mapping():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case Sequence():
            return [_plain(entry) for entry in value]
        case Path():
            return str(value)
    raise TypeError(f"an event cannot hold a {type(value).__name__}: expected text, a number, a list or a table")


class LineSink(Protocol):
    """Takes lines without their newline."""

    def write(self, line: str) -> None:
        """Write one whole line."""

    def close(self) -> None:
        """No more lines follow."""


class MetricsFile:
    """A file of lines that is appended to, each line in one write; a torn last line is cut off when it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with explained(path):
            drop_torn_line(path)
            self._file: BinaryIO = path.open("ab", buffering=0)

    def write(self, line: str) -> None:
        """Append one line; it survives a kill of this process as soon as this returns.

        Raises:
            StorageError: if the disk refuses.
        """
        left = memoryview((line + "\n").encode())
        with explained(self._path):
            while left:  # an unbuffered write may be short, for instance on a full disk just before its error
                left = left[self._file.write(left) :]

    def close(self) -> None:
        """Sync to the disk and close."""
        if not self._file.closed:
            with explained(self._path), self._file:
                os.fsync(self._file.fileno())


def drop_torn_line(path: Path) -> int:
    """Cut what follows the last newline off a file, if it exists; returns the number of bytes dropped."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        keep = 0
        while end > 0:
            start = max(0, end - _BLOCK)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            end = start
        if keep < size:
            file.truncate(keep)
    return size - keep


class JsonLines(Tracker):
    """Tracker that writes every event as one JSON line to a sink; histograms have no place in it."""

    def __init__(self, sink: LineSink, *, tells_progress: bool = False) -> None:
        """With `tells_progress` also `progress` events, at most one a second: for a pipe, not for a record."""
        self._sink = sink
        self._tells_progress = tells_progress
        self._told = time.monotonic()
        self._step = 0  # of the last event: what has no step of its own happened then

    def start(self, run: RunInfo) -> None:
        """The `start` event: from which step, of how many. The configuration itself lies in config.toml."""
        facts = {"name": run.name, "total_steps": run.total_steps, "resumed": run.resumed}
        self._write("start", run.first_step, {**facts, "tags": run.tags, "notes": run.notes, **run.details})

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """One event, its values beside `event`, `step` and `time` (Unix seconds)."""
        self._write(event, step, values)

    def text(self, name: str, step: int, text: str) -> None:
        """A `sample` event with `name` and `text`."""
        self._write("sample", step, {"name": name, "text": text})

    def progress(self, task: str, done: int, total: int) -> None:
        """A `progress` event with `task`, `done` and `total`, as hornbook.tracking.progress writes it."""
        if self._tells_progress and time.monotonic() - self._told >= SECONDS_BETWEEN_PROGRESS:
            self._told = time.monotonic()
            self._write("progress", self._step, {"task": task, "done": done, "total": total})

    def artifact(self, path: Path, name: str, kind: ArtifactKind) -> None:
        """An `artifact` event with `name`, `kind` and `path`."""
        self._write("artifact", self._step, {"name": name, "kind": kind, "path": path})

    def finish(self, status: str) -> None:
        """A `finish` event with `status`; closes the sink."""
        try:
            self._write("finish", self._step, {"status": status})
        finally:  # a disk that refuses the line must not leave the file open
            self._sink.close()

    def _write(self, event: str, step: int, values: Mapping[str, object]) -> None:
        self._step = step
        self._sink.write(json_line({"event": event, "step": step, "time": _now(), **values}))


def _now() -> float:
    return round(time.time(), 3)


def read_metrics(path: Path, *, damaged: list[str] | None = None) -> list[dict[str, object]]:
    """The events of a metrics.jsonl as one run saw them, in the order of the file.

    Events beyond the step that a later session resumed from are left out: that session has repeated them. A torn last
    line is ignored (the file is not changed: its run may still be writing). With `damaged`, what is wrong with other
    lines is added to it, and they are left out.

    Raises:
        CheckpointError: the file is missing, or (without `damaged`) a line before the last is not a JSON object.
    """
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such file, expected the events of a run; give a run directory's metrics.jsonl"
        )
    *lines, _torn = path.read_bytes().split(b"\n")
    events: list[dict[str, object]] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = _parse(line, f"{path}:{number}")
        except CheckpointError as error:
            if damaged is None:
                raise
            damaged.append(str(error))
            continue
        if event.get("event") == "start":
            resumed_from = _step(event)
            events = [earlier for earlier in events if _step(earlier) <= resumed_from]
        events.append(event)
    return events


def _parse(line: bytes, where: str) -> dict[str, object]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{where}: not JSON ({error}); remove this line to go on") from None
    if not isinstance(event, dict):
        raise CheckpointError(f"{where}: got {type(event).__name__}, expected a JSON object; remove this line to go on")
    return event


def _step(event: Mapping[str, object]) -> int:
    step = event.get("step")
    return step if isinstance(step, int) else 0

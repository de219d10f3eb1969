"""A side of a comparison: what it is, and this end of the process that it runs in (the far end is `serve`)."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

PATIENCE_SECONDS = 1800.0
"""After this long without an answer a side counts as failed."""

_HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way to do the work of a case."""

    name: str
    file: str
    """In `sides`: what it does."""
    settings: Mapping[str, Any]
    threads: int = 1
    python: str = sys.executable
    n_passes: int | None = None
    """In fresh processes, run only the first so many passes: who keeps nothing between passes needs one."""
    warm_up: bool = True
    """In a standing process, run a block that is not counted first: off for who neither compiles nor caches."""
    once: bool = False
    """Only in the first block, for its checks: who is too slow for all of them has no ratio."""
    part: str | None = None
    """Sides with a part run in one standing process where they name the same file: a block is told which part it is."""
    share: float = 1.0
    """Of the case's amount, what a block of it works through, for who would take the same time for every part: its
    seconds are divided by this."""


class SideFailedError(Exception):
    """A side ended, gave nonsense or did not answer; the message is one line."""


class SideProcess:
    """A side that runs in a process of its own, as a context."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[bytes] | None = None
        self.setup_seconds = 0.0
        self.answered = 0.0
        """When the last block was reported done, by this process's clock."""
        self.checks: dict[str, Any] = {}
        self.memory = 0
        self.idle = 0.0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start the process, which then waits for its settings.

        Raises:
            SideFailedError: here and below, if the side does not do as it should.
        """
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        try:
            self._process = subprocess.Popen(
                [self._side.python, "-P", str(_HERE / "serve.py"), str(_HERE / "sides" / self._side.file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env=environment(self._side.threads),
            )
        except OSError as error:
            raise SideFailedError(f"{self._side.python} cannot be started: {error.strerror}") from error

    def set_up(self) -> None:
        """Send the settings and wait until the side is ready."""
        self._send({**self._side.settings, "threads": self._side.threads})
        self.setup_seconds = self._answer()["setup"]

    @property
    def is_running(self) -> bool:
        """Whether it was started, and not closed since."""
        return self._process is not None

    def block(self, part: str | None = None) -> float:
        """Run one block; its seconds, as the side measured them. Until the next one the process stands still."""
        self._signal("SIGCONT")
        self._send(part or "block")
        seconds = float(self._answer()["seconds"])
        self.answered = time.perf_counter()
        after = self._answer()
        self._signal("SIGSTOP")  # threads of OpenMP spin for a while when their work is done
        self.checks, self.memory, self.idle = after["checks"], after["memory"] or 0, after["idle"]
        return seconds

    def close(self) -> None:
        """End the process; one that does not end by itself is killed."""
        if self._errors is not None:
            self._errors.close()
        if self._process is None:
            return
        self._signal("SIGCONT")
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        for stream in (self._process.stdin, self._process.stdout):
            try:
                stream.close()
            except BrokenPipeError:
                continue
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _signal(self, name: str) -> None:
        if self._process is not None and hasattr(signal, name):
            self._process.send_signal(getattr(signal, name))

    def _send(self, message: object) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise SideFailedError(self._last_words()) from None

    def _answer(self) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        watch = threading.Timer(PATIENCE_SECONDS, self._process.kill)
        watch.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watch.cancel()
        if not line:
            raise SideFailedError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SideFailedError(answer["error"])
        return answer

    def _last_words(self) -> str:
        """What a side that died left behind: its exit status and the last line of its standard error."""
        assert self._process is not None
        assert self._errors is not None
        status = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"ended with status {status}" + (f": {lines[-1][:200]}" if lines else "")


def environment(threads: int) -> dict[str, str]:
    """This process's environment with the number of threads set for every library that reads it from there."""
    count = str(threads)
    names = ("RAYON", "OMP", "MKL", "OPENBLAS", "NUMBA")
    return {
        **os.environ,
        **{f"{name}_NUM_THREADS": count for name in names},
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }

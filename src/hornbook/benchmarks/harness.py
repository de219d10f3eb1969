"""Fair ratios on a machine that others use too: sides are processes, they take turns, and only paired blocks compare.

A burst of other load slows one block of either side and spoils one of the ratios; the median of seven does not care.
Each side has an interpreter of its own (`serve`), so that another library can live in an environment of its own, and
neither side pays for what the other has in memory. A side whose turn it is not is stopped and uses no processor.

    block        0            1            2
    turns    ours theirs  theirs ours  ours theirs  ...

A case is either run in standing processes, after a block that is not counted, or in fresh ones: then each block starts
a process, and its passes are told apart, the first ("cold") and later ones ("warm").
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

BLOCKS = 7
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


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a case has to reach."""

    kind: Literal["ratio", "seconds", "memory"]
    """Times as fast as the peer; seconds more than the peer; bytes."""
    value: float
    peer: str | None = None
    aim: float | None = None
    for_pass: str | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is compared, in which processes; the first side is ours."""

    name: str
    unit: str
    amount: float
    """How much of `unit` one block works through."""
    sides: Sequence[Side]
    fresh: bool = False
    clock: Literal["block", "spawn"] = "block"
    """With "spawn", time runs from the start of a fresh process, so imports and setting up are in it."""
    passes: tuple[str, ...] = ("",)
    equal: Mapping[str, float] = field(default_factory=dict)
    """Checks that must be the same for all sides that give them, with the difference that numbers may have."""
    note: str = ""
    """What is timed, where the name does not tell."""
    bars: Sequence[Bar] = ()
    blocks: int | None = None
    """Turns of each side; default: as many as asked for."""


@dataclass(kw_only=True)
class Measured:
    """What came of one side."""

    name: str
    threads: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    """By pass, one figure a block."""
    setup_seconds: list[float] = field(default_factory=list)
    memory: int = 0
    """Most bytes in memory, over the first pass."""
    idle: float = 0.0
    """Share of a processor used while waiting."""
    checks: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None


class SideFailedError(Exception):
    """A side ended, gave nonsense or did not answer; the message is one line."""


def run_case(case: Case, *, blocks: int = BLOCKS, say: Callable[[str], None] = lambda _: None) -> list[Measured]:
    """Measure all sides of a case; one that fails is marked, and the others go on unless it is ours.

    Args:
        case: what to do.
        blocks: turns of each side.
        say: hears how long it will take, after the first turn.
    """
    results = [Measured(name=side.name, threads=side.threads) for side in case.sides]
    runner = _fresh if case.fresh else _standing
    runner(case, results, case.blocks or blocks, say)
    return results


def _turns(case: Case, results: list[Measured], block: int) -> list[tuple[Side, Measured]]:
    """Who runs in this block, in which order; nobody once ours has failed."""
    pairs = list(zip(case.sides, results, strict=True))
    if results[0].failure:
        return []
    pairs = pairs if block % 2 == 0 else pairs[::-1]
    return [(side, result) for side, result in pairs if not result.failure and not (side.once and block)]


def _fresh(case: Case, results: list[Measured], blocks: int, say: Callable[[str], None]) -> None:
    start = time.perf_counter()
    for block in range(blocks):
        for side, result in _turns(case, results, block):
            try:
                _one_process(case, side, result)
            except SideFailedError as error:
                result.failure = str(error)
        if block == 0:
            _estimate(start, blocks, say)


def _one_process(case: Case, side: Side, result: Measured) -> None:
    spawned = time.perf_counter()
    with SideProcess(side) as process:
        process.set_up()
        for i, name in enumerate(case.passes[: side.n_passes]):
            seconds = process.block()
            if case.clock == "spawn":
                seconds = process.answered - spawned
            result.seconds.setdefault(name, []).append(seconds)
            _check(case, result, process, first=i == 0)
        result.setup_seconds.append(process.setup_seconds)


def _standing(case: Case, results: list[Measured], blocks: int, say: Callable[[str], None]) -> None:
    processes = {side.name: SideProcess(side) for side in case.sides}
    try:
        for side, result in _turns(case, results, 0):
            if side.warm_up and not side.once:
                _one_block(case, result, processes[side.name], counted=False)
        start = time.perf_counter()
        for block in range(blocks):
            for side, result in _turns(case, results, block):
                _one_block(case, result, processes[side.name], counted=True)
            if block == 0:
                _estimate(start, blocks, say)
    finally:
        for process in processes.values():
            process.close()


def _one_block(case: Case, result: Measured, process: "SideProcess", *, counted: bool) -> None:
    """A block of a standing process, which is started when its first turn comes."""
    (name,) = case.passes
    first = not result.setup_seconds
    try:
        if first:
            process.start()
            process.set_up()
            result.setup_seconds.append(process.setup_seconds)
        seconds = process.block()
        _check(case, result, process, first=first)
    except SideFailedError as error:
        result.failure = str(error)
        return
    if counted:
        result.seconds.setdefault(name, []).append(seconds)


def _estimate(start: float, blocks: int, say: Callable[[str], None]) -> None:
    if (left := (time.perf_counter() - start) * (blocks - 1)) > 5:
        say(f"about {left:.0f} s more")


def _check(case: Case, result: Measured, process: "SideProcess", *, first: bool) -> None:
    """Keep what the side said of its block; what must be equal must also stay so from block to block."""
    if first:
        result.memory = max(result.memory, process.memory)
    result.idle = process.idle
    for key, value in process.checks.items():
        if key in case.equal and result.checks.setdefault(key, value) != value:
            raise SideFailedError(f"its {key} change from block to block")
        result.checks[key] = value


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

    def block(self) -> float:
        """Run one block; its seconds, as the side measured them. Until the next one the process stands still."""
        self._signal("SIGCONT")
        self._send("block")
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

"""Fair ratios on a machine that others use too: sides are processes, they take turns, and only paired blocks compare.

A burst of other load slows one block of either side and spoils one of the ratios; the median of seven does not care.
Each side has an interpreter of its own (`serve`), so that another library can live in an environment of its own, and
neither side pays for what the other has in memory; but sides may be parts of one. A side whose turn it is not is
stopped and uses no processor.

    block        0            1            2
    turns    ours theirs  theirs ours  ours theirs  ...

A case is either run in standing processes, after a block that is not counted, or in fresh ones: then each block starts
a process, and its passes are told apart, the first ("cold") and later ones ("warm").
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hornbook.benchmarks.side import Side, SideFailedError, SideProcess

BLOCKS = 7


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What a case has to reach."""

    kind: Literal["ratio", "share", "seconds", "memory"]
    """Times as fast as the peer; the same where the peer is a limit; seconds more than the peer; bytes."""
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
            result.seconds.setdefault(name, []).append(seconds / side.share)
            _check(case, result, process, first=i == 0)
        result.setup_seconds.append(process.setup_seconds)


def _standing(case: Case, results: list[Measured], blocks: int, say: Callable[[str], None]) -> None:
    processes = {_home(side): SideProcess(side) for side in case.sides}
    try:
        for side, result in _turns(case, results, 0):
            if side.warm_up and not side.once and not results[0].failure:
                _one_block(case, side, result, processes[_home(side)], counted=False)
        start = time.perf_counter()
        for block in range(blocks):
            for side, result in _turns(case, results, block):
                _one_block(case, side, result, processes[_home(side)], counted=True)
            if block == 0:
                _estimate(start, blocks, say)
    finally:
        for process in processes.values():
            process.close()


def _home(side: Side) -> str:
    """What sides that share a process have in common."""
    return side.name if side.part is None else side.file


def _one_block(case: Case, side: Side, result: Measured, process: SideProcess, *, counted: bool) -> None:
    """A block of a standing process, which is started when its first turn comes."""
    (name,) = case.passes
    first = not result.setup_seconds
    try:
        if not process.is_running:
            process.start()
            process.set_up()
        if first:
            result.setup_seconds.append(process.setup_seconds)
        seconds = process.block(side.part)
        _check(case, result, process, first=first)
    except SideFailedError as error:
        result.failure = str(error)
        return
    if counted:
        result.seconds.setdefault(name, []).append(seconds / side.share)


def _estimate(start: float, blocks: int, say: Callable[[str], None]) -> None:
    if (left := (time.perf_counter() - start) * (blocks - 1)) > 5:
        say(f"about {left:.0f} s more")


def _check(case: Case, result: Measured, process: SideProcess, *, first: bool) -> None:
    """Keep what the side said of its block; what must be equal must also stay so from block to block."""
    if first:
        result.memory = max(result.memory, process.memory)
    result.idle = process.idle
    for key, value in process.checks.items():
        if key in case.equal and result.checks.setdefault(key, value) != value:
            raise SideFailedError(f"its {key} change from block to block")
        result.checks[key] = value

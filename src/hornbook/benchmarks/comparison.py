"""Measured sides as rows: seconds, throughput, the ratio to ours with its interval, and which bars are met."""

import statistics
from dataclasses import asdict, dataclass
from typing import Any

from hornbook.benchmarks.harness import Bar, Case, Measured
from hornbook.benchmarks.interval import Interval, median_interval


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a bar was reached; a ratio or a difference reaches it when its interval does."""

    bar: Bar
    measured: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One side of a case, in one pass."""

    case: str
    note: str
    pass_name: str
    side: str
    threads: int
    unit: str
    seconds: float | None
    """Median of one block."""
    mean: float | None
    standard_deviation: float | None
    """Of the blocks' seconds; None for a single one."""
    throughput: float | None
    """Units a second."""
    blocks: int
    setup_seconds: float | None
    memory: int
    ratio: Interval | None
    """How many times as fast as this side ours is: above 1 it is faster. None for ours, and for a side run once."""
    verdicts: tuple[Verdict, ...]
    same: tuple[str, ...]
    """Checks that this side answers as ours does."""
    differs: tuple[str, ...]
    """Checks that it answers otherwise."""
    checks: dict[str, Any]
    idle: float
    failure: str | None

    def as_json(self) -> dict[str, Any]:
        """The row as JSON values."""
        return asdict(self)


def rows_of(case: Case, results: list[Measured]) -> list[Row]:
    """A row for each pass of each side."""
    return [
        _row(case, name, result, results[0])
        for name in case.passes
        for result in results
        if result.failure or result.seconds.get(name)
    ]


def failed(rows: list[Row]) -> bool:
    """Whether anything is wrong that is no matter of speed: ours failed or learns nothing, or a side differs."""
    ours = rows[0].side if rows else ""
    of_ours = [row for row in rows if row.side == ours]
    wrong = any(row.failure or row.checks.get("learns") is False for row in of_ours)
    return wrong or any(row.differs for row in rows)


def _row(case: Case, name: str, result: Measured, ours: Measured) -> Row:
    seconds = result.seconds.get(name, []) if not result.failure else []
    median = statistics.median(seconds) if seconds else None
    ratio = None
    if result is not ours and len(seconds) > 1 and len(seconds) == len(ours.seconds.get(name, [])):
        ratio = median_interval([b / a for a, b in zip(ours.seconds[name], seconds, strict=True)])
    compared = [key for key in case.equal if result is not ours and key in result.checks and key in ours.checks]
    differs = tuple(key for key in compared if _differ(ours.checks[key], result.checks[key], case.equal[key]))
    return Row(
        case=case.name,
        note=case.note,
        pass_name=name,
        side=result.name,
        threads=result.threads,
        unit=case.unit,
        seconds=median,
        mean=statistics.mean(seconds) if seconds else None,
        standard_deviation=statistics.stdev(seconds) if len(seconds) > 1 else None,
        throughput=case.amount / median if median else None,
        blocks=len(seconds),
        setup_seconds=statistics.median(result.setup_seconds) if result.setup_seconds else None,
        memory=result.memory,
        ratio=ratio,
        verdicts=tuple(_verdicts(case, name, result, ours, ratio)),
        same=tuple(key for key in compared if key not in differs),
        differs=differs,
        checks=result.checks,
        idle=result.idle,
        failure=result.failure,
    )


def _verdicts(case: Case, name: str, result: Measured, ours: Measured, ratio: Interval | None) -> list[Verdict]:
    found = []
    for bar in case.bars:
        if bar.for_pass not in (None, name) or result.failure:
            continue
        if bar.kind == "memory" and result is ours:
            found.append(Verdict(bar=bar, measured=result.memory, met=result.memory <= bar.value))
        elif bar.kind in ("ratio", "share") and bar.peer == result.name and ratio:
            found.append(Verdict(bar=bar, measured=ratio.median, met=ratio.high >= bar.value))
        elif bar.kind == "seconds" and bar.peer == result.name and not ours.failure:
            more = median_interval([a - b for a, b in zip(ours.seconds[name], result.seconds[name], strict=True)])
            found.append(Verdict(bar=bar, measured=more.median, met=more.low <= bar.value))
    return found


def _differ(a: Any, b: Any, tolerance: float) -> bool:
    return bool(abs(a - b) > tolerance if tolerance else a != b)

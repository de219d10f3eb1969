"""Rows as lines of a table, and all of a run as one JSON file with the machine it ran on."""

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hornbook.benchmarks.comparison import Row, Verdict
from hornbook.benchmarks.peers import pins
from hornbook.storage.atomic import replace_file
from hornbook.storage.cores import available_cores
from hornbook.storage.hardware import processor
from hornbook.storage.provenance import provenance

IDLE_SHARE = 0.05
"""More than this of a processor, used while waiting, disturbs the other side and is told."""


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, versions, commit and date."""
    known = provenance(config_hash="")
    versions: dict[str, Any] = known["versions"]  # type: ignore[assignment]
    for package in ("numba", "transformers"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": processor(),
        "cores": available_cores(),
        **{key: known[key] for key in ("platform", "commit", "started", "command")},
        "versions": versions,
        "peers": pins(),
    }


def write_results(
    path: Path, bench: str, about: dict[str, Any], rows: list[dict[str, Any]], summary: dict[str, Any]
) -> None:
    """All of a run as one JSON file, of the same form for every benchmark.

    bench     its name: tokenizer, train, decode, data, checkpoint or speedrun
    machine   what `machine` gave: processor, cores, platform, commit, start, command, versions
    rows      what was measured
    summary   what follows from several rows, or was measured beside them; often empty

    Raises:
        StorageError: if the disk refuses.
    """
    content = {"bench": bench, "machine": about, "rows": rows, "summary": summary}
    replace_file(path, json.dumps(content, indent=2) + "\n")


def table(rows: list[Row]) -> Iterator[str]:
    """The rows of one case as lines, pass by pass."""
    for name in dict.fromkeys(row.pass_name for row in rows):
        of_pass = [row for row in rows if row.pass_name == name]
        yield f"{of_pass[0].case}{', ' + name if name else ''}{_facts(of_pass[0])}"
        if of_pass[0].note:
            yield f"  ({of_pass[0].note})"
        yield from (f"  {_line(row)}" for row in of_pass)


def _facts(ours: Row) -> str:
    """What our checks say that belongs into the title."""
    return "".join(f"; {key} {value}" for key, value in ours.checks.get("shown", {}).items())


def _line(row: Row) -> str:
    if row.failure:
        return f"{row.side:<26} failed: {row.failure}"
    assert row.seconds is not None
    assert row.throughput is not None
    parts = [
        f"{row.side:<26}{row.seconds:>9.3f} s{row.throughput:>14,.1f} {row.unit}/s{row.memory / 1e6:>8,.0f} MB",
        _spread(row),
        f"{row.ratio.median:>8.2f} x ({row.ratio.low:.2f} to {row.ratio.high:.2f})" if row.ratio else "",
        *(_said(verdict) for verdict in row.verdicts),
        *(f"{key} equal" for key in row.same),
        *(f"{key} DIFFER" for key in row.differs),
        f"used {row.idle:.0%} of a core while waiting" if row.idle > IDLE_SHARE else "",
        "one run" if row.blocks == 1 else "",
        str(row.checks.get("said", "")),
    ]
    return "  ".join(part for part in parts if part)


def _spread(row: Row) -> str:
    if row.standard_deviation is None:
        return ""
    return f"mean {row.mean:.3f} s, deviation {row.standard_deviation:.3f}"


def _said(verdict: Verdict) -> str:
    bar, met = verdict.bar, "met" if verdict.met else "MISSED"
    match bar.kind:
        case "ratio":
            aim = f", aim {bar.aim:g}" if bar.aim else ""
            return f"floor {bar.value:g} x {met}{aim}"
        case "share":
            aim = f", aim {bar.aim:.0%}" if bar.aim else ""
            return f"ours has {verdict.measured:.1%} of it, floor {bar.value:.0%} {met}{aim}"
        case "memory":
            return f"at most {bar.value / 1e6:,.0f} MB: {met}"
        case "seconds":
            return f"{verdict.measured:.2f} s more than {bar.peer}, at most {bar.value:g} s: {met}"

"""`hornbook doctor`: whether this installation works, in less than a minute, and what this machine lacks."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hornbook.selftest.doctor_check import Check, Diagnosis
    from hornbook.selftest.doctor_machine import Facility
    from hornbook.tracking.console import ConsoleChoice

EXIT_FAILED = 1
_COLOURS = {"pass": "32", "fail": "31", "absent": "33"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook doctor` takes."""
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="STAGE",
        help="examine this stage alone; may be repeated (tokenizer, data, autoregressive, diffusion, sft, dpo, resume, "
        "parallel, generate, serve, export)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as where stdout is no terminal")


def run(args: argparse.Namespace) -> int:
    """Examine; the exit status is 1 if a stage fails."""
    import time

    from hornbook.selftest.doctor import examine
    from hornbook.selftest.doctor_machine import facilities
    from hornbook.tracking.console import emit, speaks_to_people

    console: ConsoleChoice = "json" if args.json else "auto"
    for_people = speaks_to_people(console)
    began = time.perf_counter()

    def tell(found: Diagnosis) -> None:
        emit("doctor", console=console, **found.to_json())
        if for_people:
            print("\n".join(lines(found, coloured=True)), flush=True)

    found = examine(args.only, tell)
    machine = [] if args.only else [*facilities(Path("runs"))]
    for each in machine:
        emit("doctor_machine", console=console, name=each.name, found=each.found, advice=each.advice)
    if for_people:
        print("\n".join(["", *machine_lines(machine), conclusion(found, time.perf_counter() - began)]))
    elif not args.json:
        print(conclusion(found, time.perf_counter() - began), file=sys.stderr)
    return EXIT_FAILED if any(each.status == "fail" for each in found) else 0


def lines(found: Diagnosis, *, coloured: bool) -> list[str]:
    """A stage for people: a line a number, each with its verdict."""
    head = f"{found.stage:<16}"
    told = [_check(check, coloured) for check in found.checks]
    if found.message is not None:
        told.append(f"{_verdict(found.status, coloured)} {found.message}")
    first, *others = told
    return [f"{head}{first}   ({found.seconds:.1f} s)", *(f"{'':<16}{each}" for each in others)]


def _check(check: Check, coloured: bool) -> str:
    verdict = _verdict("pass" if check.passed else "fail", coloured)
    return f"{verdict} {_figure(check.value)} {check.what}; expected {_figure(check.truth)}{_limits(check)}"


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _limits(check: Check) -> str:
    """How far the number may lie from the truth."""
    match check.below, check.above:
        case 0, 0:
            return ""
        case below, above if below == above:
            return f", give or take {above:.2g}"
        case 0, above:
            return f", at most {above:.2g} more"
        case below, 0:
            return f", at most {below:.2g} less"
    return f", at most {check.below:.2g} less and {check.above:.2g} more"


def _verdict(status: str, coloured: bool) -> str:
    word = f"{status:<6}"
    return f"\033[{_COLOURS[status]}m{word}\033[0m" if coloured else word


def machine_lines(machine: Sequence[Facility]) -> list[str]:
    """What there is here, and under it what is missing."""
    there = [f"{each.name:<22}{each.found}" for each in machine if each.is_there]
    missing = [f"{each.name:<22}{each.found}: {each.advice}" for each in machine if not each.is_there]
    found = ["On this machine:", *there, ""] if there else []
    return [*found, "Missing here:", *missing, ""] if missing else found


def conclusion(found: Sequence[Diagnosis], seconds: float) -> str:
    """The last line."""
    failed = [each.stage for each in found if each.status == "fail"]
    absent = [each.stage for each in found if each.status == "absent"]
    left = f"; {', '.join(absent)} could not be examined" if absent else ""
    if failed:
        return f"{len(failed)} of {len(found)} stages fail: {', '.join(failed)}{left} ({seconds:.0f} s)"
    return f"{len(found) - len(absent)} of {len(found)} stages pass, none fails{left} ({seconds:.0f} s)"

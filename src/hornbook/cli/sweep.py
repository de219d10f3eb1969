"""`hornbook sweep expand | run | submit | status | retry | table | best`: many runs of one file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.configuration import add_print_argument, add_set_argument, maybe_print

if TYPE_CHECKING:  # these import pydantic, which no --help may wait for
    from hornbook.sweeps.status import Standing
    from hornbook.sweeps.sweep import Sweep

_EPILOG = """\
SWEEP is a TOML file with a [sweep] table, or the directory of a sweep that was started (run.out_dir/NAME). A point's
index is its place, 0 to n - 1; its id is a hash of its settings, which names its run's directory."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The seven sub-verbs."""
    parser.epilog = _EPILOG
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add(verbs, "expand", "say what the points are, and check the configuration of each")
    run = _add(verbs, "run", "train the points that are not finished, as many at once as this machine has room for")
    run.add_argument(
        "--index", type=_index, metavar="K", help="train point K alone, in this process (under torchrun too)"
    )
    submit = _add(verbs, "submit", "hand the points that are not finished to SLURM or HTCondor")
    submit.add_argument("--dry-run", action="store_true", help="write the job script, and do not hand it in")
    _add_scheduler(submit, required=True)
    _add(verbs, "status", "how far every point is")
    retry = _add(verbs, "retry", "go on with the points that began and are not finished")
    retry.add_argument("--failed", action="store_true", help="only those that failed or were killed")
    _add_scheduler(retry, required=False)
    for name, what in (("table", "what every point reached"), ("best", "the run that reached most")):
        verb = _add(verbs, name, what)
        verb.add_argument(
            "--metric",
            metavar="NAME",
            action="append",
            default=[],
            help="such as val/loss or train/tokens_per_second (sweep.metric)"
            + ("; may be given several times" if name == "table" else ""),
        )


def _add(verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, what: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=what, description=f"{what[0].upper()}{what[1:]}.")
    parser.add_argument("sweep", metavar="SWEEP", type=Path, help="TOML file with [sweep], or a sweep's directory")
    add_set_argument(parser)
    add_print_argument(parser)
    return parser


def _add_scheduler(parser: argparse.ArgumentParser, *, required: bool) -> None:
    otherwise = "the one that is here" if required else "this machine"
    parser.add_argument("--scheduler", choices=("slurm", "condor"), help=f"default: {otherwise}")


def _index(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 0")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the sub-verb."""
    from hornbook.cli import sweep_run, sweep_submit, sweep_table
    from hornbook.sweeps.grid import chosen_point
    from hornbook.sweeps.sweep import Sweep

    sweep = Sweep.load(args.sweep, args.overrides)
    index = getattr(args, "index", None)
    if maybe_print(args, sweep.base if index is None else sweep.config(chosen_point(sweep.points, index))):
        return 0
    match args.action:
        case "expand":
            return _expand(sweep)
        case "run" if index is not None:
            return sweep_run.run_one(sweep, index, args.arguments)
        case "run":
            return sweep_run.run_all(sweep)
        case "submit":
            return sweep_submit.submit(sweep, args.scheduler, dry_run=args.dry_run)
        case "status":
            return _status(sweep)
        case "retry":
            return sweep_submit.retry(sweep, args.scheduler, only_failed=args.failed)
        case "table":
            return sweep_table.table(sweep, args.metric)
        case _:
            return sweep_table.best(sweep, args.metric)


def _expand(sweep: Sweep) -> int:
    from hornbook.tracking.console import emit, speaks_to_people

    sweep.check()
    for point in sweep.points:
        emit("sweep_point", index=point.index, id=point.id, settings=point.settings, run=sweep.run_dir(point).root)
    if speaks_to_people():
        rows = [[str(point.index), point.id, *_cells(sweep, point.settings)] for point in sweep.points]
        write_aligned([["index", "id", *sweep.swept], *rows])
        print(f"{len(sweep.points)} points; their runs will lie in {sweep.root}")
    return 0


def _status(sweep: Sweep) -> int:
    from hornbook.tracking.console import emit, speaks_to_people

    found = known_standings(sweep)
    for each in found:
        point = each.point
        emit(
            "sweep_point",
            index=point.index,
            id=point.id,
            state=each.state,
            tries=len(each.tries),
            job=each.job,
            message=each.message,
            settings=point.settings,
            run=sweep.run_dir(point).root,
        )
    if speaks_to_people():
        write_aligned([["index", "id", "state", "tries", "job", *sweep.swept], *(_status_row(sweep, s) for s in found)])
        for each in found:
            if each.message:
                print(f"point {each.point.index} {each.state}: {each.message}")
        print(summary(sweep, found))
    return 0


def known_standings(sweep: Sweep) -> list[Standing]:
    """How far every point is, by its scheduler too if that can be asked."""
    from hornbook.cli.from_checkpoint import note
    from hornbook.sweeps.jobs import SchedulerError
    from hornbook.sweeps.status import standings

    try:
        return standings(sweep)
    except SchedulerError as error:
        note(f"{error}: whether jobs wait is not known")
        return standings(sweep, asking=False)


def _status_row(sweep: Sweep, standing: Standing) -> list[str]:
    point = standing.point
    numbers = [str(len(standing.tries)), standing.job or ""]
    return [str(point.index), point.id, standing.state, *numbers, *_cells(sweep, point.settings)]


def summary(sweep: Sweep, found: Sequence[Standing]) -> str:
    """How many points are how far, in one line."""
    counts: dict[str, int] = {}
    for each in found:
        counts[each.state] = counts.get(each.state, 0) + 1
    return f"{sweep.root}: " + ", ".join(f"{number} {state}" for state, number in counts.items())


def _cells(sweep: Sweep, settings: object) -> list[str]:
    """A point's values under the heads of all keys that vary."""
    from hornbook.config.dump import toml_value

    assert isinstance(settings, dict)
    return [toml_value(settings[key]) if key in settings else "" for key in sweep.swept]


def write_aligned(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell; a long value pushes only its own row."""
    widths = [min(40, max(map(len, column))) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")

"""`hornbook train --replay-step N RUN`: one step of a run again, and what in it is not finite."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import torch or pydantic, which no --help may wait for
    from hornbook.training.finite import Sighting
    from hornbook.training.replay import Replay, Row

_ROWS_SHOWN = 5
_TEXT_SHOWN = 60


def run(args: argparse.Namespace) -> int:
    """Replay and tell; the exit status is 0 whatever was found."""
    from hornbook.cli.configuration import load, maybe_print
    from hornbook.errors import ConfigError
    from hornbook.storage.run_dir import RunDir
    from hornbook.tracking.console import emit, speaks_to_people

    given = [value for value in (args.config, args.resume) if isinstance(value, str)]
    if len(given) != 1 or not Path(given[0]).is_dir():
        got = ", ".join(given) or "none"
        raise ConfigError(f"--replay-step N goes with one run directory, got {got}: hornbook train --replay-step N RUN")
    for flag, value in (("--branch-from", args.branch_from), ("--cooldown", args.cooldown), ("--nproc", args.nproc)):
        if value is not None:
            raise ConfigError(f"--replay-step looks at a run that exists; leave {flag} out")
    where = RunDir.open(Path(given[0])).root
    args.config = str(RunDir(where).config_file)
    config = load(args)
    if maybe_print(args, config):
        return 0
    from hornbook.replay import replay_step

    seen = replay_step(config, where, step=args.replay_step)
    told = config.tracking.console
    console = "auto" if told == "none" else told  # a run may be silent, but a replay has nothing else to give
    if speaks_to_people(console):
        print("\n".join(words(seen)))
    else:
        emit("replay", console=console, **fields(seen))
    return 0


def fields(seen: Replay) -> dict[str, object]:
    """What was seen, for programs; the rows of the worst losses only."""
    report = seen.report
    return {
        "step": seen.step,
        "replayed_from_step": seen.first_step,
        "finite": seen.is_finite,
        "loss": report.loss,
        "grad_norm": report.grad_norm,
        "skip_reason": report.skip_reason,
        "overflowed": report.overflowed,
        "was_compiled": seen.was_compiled,
        "bad_parameters": seen.bad_parameters,
        "forward": _sighting(seen, seen.forward),
        "backward": _sighting(seen, seen.backward),
        "grad_norms": seen.grad_norms,
        "rows": [
            {**dataclasses.asdict(row.origin), "loss": row.loss, "text": row.text} for row in seen.rows[:_ROWS_SHOWN]
        ],
    }


def words(seen: Replay) -> list[str]:
    """The same for people."""
    report = seen.report
    lines = [f"step {seen.step}, replayed from step {seen.first_step}"]
    lines.append(f"loss {report.loss:.6g}, gradient norm {report.grad_norm:.6g}")
    if report.skip_reason is not None:
        lines[-1] += f"; the update was left out ({report.skip_reason})"
    if report.overflowed:
        lines[-1] += "; the update was left out: the loss's scale was too large for float16, and was halved"
    if seen.was_compiled:
        lines.append("looked at without the run's compiled code: the last digits may differ")
    if seen.is_finite:
        lines.append("everything is finite: every parameter, every module's output and every gradient")
    if seen.bad_parameters:
        lines.append(f"not finite before the step: {', '.join(seen.bad_parameters)}")
    for label, sighting in (("forward", seen.forward), ("backward", seen.backward)):
        if sighting is not None:
            lines.append(f"{label:<9}first in {_place(seen, sighting)}")
    lines.append("rows, worst first, each alone and without dropout:")
    lines += [f"  {_row(row)}" for row in seen.rows[:_ROWS_SHOWN]]
    lines.append("gradient norm by layer:")
    lines += [f"  {layer:<24}{norm:.6g}" for layer, norm in seen.grad_norms.items()]
    return lines


def _sighting(seen: Replay, sighting: Sighting | None) -> dict[str, object] | None:
    if sighting is None:
        return None
    return {**dataclasses.asdict(sighting), "samples": [row.origin.sample for row in seen.rows_at(sighting)]}


def _place(seen: Replay, sighting: Sighting) -> str:
    share = f"{sighting.n_bad:,} of {sighting.n_values:,} values"
    rows = seen.rows_at(sighting)
    samples = f", samples {', '.join(str(row.origin.sample) for row in rows)}" if rows else ""
    return f"{sighting.name} ({sighting.what}): {share}, micro-batch {sighting.micro_batch}{samples}"


def _row(row: Row) -> str:
    at = row.origin
    text = row.text[:_TEXT_SHOWN]
    return (
        f"sample {at.sample} (micro-batch {at.micro_batch}, row {at.row}; {at.shard} token {at.token:,}, document "
        f"{at.document:,}): loss {row.loss:.6g}  {text!r}"
    )

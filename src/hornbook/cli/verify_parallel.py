"""`hornbook verify-parallel [CONFIG]`: whether many processes train as one does, and how they would scale."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from hornbook.cli.configuration import positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hornbook.config.run import Config
    from hornbook.selftest.parallel_cases import Number
    from hornbook.selftest.parallel_difference import Difference

EXIT_OVER = 1
STEPS, WORLD_SIZES = 50, (2, 3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook verify-parallel` takes."""
    from hornbook.cli.configuration import add_config_arguments

    add_config_arguments(parser, required=False)
    parser.add_argument("--steps", type=positive, metavar="N", help=f"how many each case makes (default {STEPS})")
    parser.add_argument(
        "--nproc", type=_world_sizes, metavar="N,N", help="numbers of processes on this machine (default 2,3)"
    )
    parser.add_argument("--dtype", choices=("float64", "float32", "both"), help="of all numbers (default both)")
    parser.add_argument(
        "--full-size",
        action="store_true",
        help="train the configuration's own model, not one of its kind with two layers of 32 and windows of 16",
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="instead: measure a step on processes of this machine beside what a model of it predicts, and predict "
        "steps on 8 to 4,096",
    )


def _world_sizes(text: str) -> tuple[int, ...]:
    sizes = tuple(positive(part) for part in text.split(","))
    if min(sizes) < 2 or len(set(sizes)) < len(sizes):
        raise argparse.ArgumentTypeError(f"{text!r}: expected different numbers of at least 2, such as 2,3")
    return sizes


def run(args: argparse.Namespace) -> int:
    """Verify; the exit status is 1 if a case lies over its tolerance."""
    from hornbook.cli.configuration import load, maybe_print
    from hornbook.distributed.environment import place_of
    from hornbook.errors import ConfigError

    config = load(args)
    if maybe_print(args, config):
        return 0
    if place_of(os.environ).world_size > 1:
        raise ConfigError("verify-parallel starts its processes itself; start it alone, without torchrun or srun")
    if args.simulate:
        return _simulate(args, config)
    numbers: Sequence[Number] = ("float64", "float32") if args.dtype in (None, "both") else (args.dtype,)
    return _verify(args, config, numbers)


def _verify(args: argparse.Namespace, config: Config, numbers: Sequence[Number]) -> int:
    from hornbook.selftest.parallel_difference import table
    from hornbook.selftest.verify_parallel import Settings, verify
    from hornbook.tracking.console import emit

    settings = Settings(
        world_sizes=args.nproc or WORLD_SIZES,
        steps=args.steps or STEPS,
        numbers=numbers,
        full_size=args.full_size,
    )
    differences = verify(config, settings, _say)
    _print([*table(differences), conclusion(differences)])
    for each in differences:
        case = each.case
        emit(
            "verify_parallel",
            case=case.name,
            dtype=case.number,
            processes=case.world_size,
            accumulation=case.accumulation,
            parameters=each.parameters,
            losses=each.losses,
            grad_norms=each.grad_norms,
            tolerance=each.tolerance,
            verdict=each.verdict,
            seconds=each.seconds,
        )
    return EXIT_OVER if any(each.verdict == "OVER" for each in differences) else 0


def conclusion(differences: Sequence[Difference]) -> str:
    """The last line."""
    over = [each.case.words for each in differences if each.verdict == "OVER"]
    if over:
        return f"{len(over)} of {len(differences)} cases do not train as one process does: {'; '.join(over)}"
    return f"all {len(differences)} cases train as one process does"


def _simulate(args: argparse.Namespace, config: Config) -> int:
    from hornbook.errors import ConfigError

    unread = [f"--{name}" for name in ("steps", "dtype") if getattr(args, name) is not None]
    unread += ["--full-size"] * args.full_size
    if unread:
        raise ConfigError(f"{', '.join(unread)} has no effect with --simulate; leave it out")
    own = config if args.config is not None or args.overrides else None
    if config.distributed.strategy == "fsdp":
        _say('the model of scaling does not know distributed.strategy = "fsdp": what follows are steps of "ddp"')
    for n in args.nproc or WORLD_SIZES[:1]:
        _measured(own, n)
    _simulated(own)
    return 0


def _measured(config: Config | None, n: int) -> None:
    from hornbook.planning.tables import measured_lines, prediction_lines
    from hornbook.selftest.scaling_tables import measured
    from hornbook.tracking.console import emit

    _say(f"measuring on {n} processes; nothing else should run meanwhile")
    found, predicted = measured(config, n)
    _print([*measured_lines(found), "", *prediction_lines(predicted), ""])
    for each in predicted:
        emit(
            "scaling_measured",
            processes=n,
            bucket_bytes=each.measured.bucket_bytes,
            shard_optimizer=each.measured.shard_optimizer,
            seconds=each.measured.seconds,
            predicted_seconds=each.seconds,
        )


def _simulated(config: Config | None) -> None:
    from hornbook.planning.tables import scaling_lines
    from hornbook.selftest.scaling_tables import ASSUMED, simulated
    from hornbook.tracking.console import emit

    _print([ASSUMED])
    for made in simulated(config):
        tokens = made.work.tokens * made.work.micro_batches
        title = f"SIMULATED: {made.work.name}, {tokens:,} tokens a process and step, {made.network}"
        _print([title, *scaling_lines(made.rows), ""])
        for row in made.rows:
            emit(
                "scaling_simulated",
                model=made.work.name,
                network=made.network,
                processes=row.n,
                bucket_bytes=row.bucket_mb * 2**20,
                seconds=row.seconds,
                exposed=row.exposed,
                efficiency=row.efficiency,
            )


def _print(lines: Sequence[str]) -> None:
    """To the terminal; where stdout is read by a program, which gets JSON, to stderr."""
    from hornbook.tracking.console import speaks_to_people

    print("\n".join(lines), file=sys.stdout if speaks_to_people() else sys.stderr)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

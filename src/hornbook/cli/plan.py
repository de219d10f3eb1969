"""`hornbook plan [CONFIG]`: parameters, operations, memory, time and cost, before anything is spent on them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from hornbook.cli.configuration import add_config_arguments, positive

if TYPE_CHECKING:
    from hornbook.config.model import ModelConfig
    from hornbook.config.run import Config
    from hornbook.planning.estimate import Plan

WORLD_SIZES = (1, 2, 8)
_SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook plan` takes."""
    add_config_arguments(parser, required=False)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--parameters", type=amount, metavar="N", help="instead of a CONFIG: shapes of about so many, such as 170M"
    )
    what.add_argument("--flops", type=amount, metavar="C", help="instead: what to make of so many operations, as 2e19")
    what.add_argument(
        "--orders",
        action="store_true",
        help="instead: the orders of magnitude of the Simple Transformer document, and the same mended",
    )
    parser.add_argument("--vocab-size", type=positive, metavar="V", help="of shapes; default: what suits the size")
    parser.add_argument("--context-length", type=positive, metavar="T", help="of shapes; default 1024")
    parser.add_argument("--tokens", type=amount, metavar="D", help="to train on; default: what the configuration says")
    parser.add_argument(
        "--world-sizes", type=_sizes, default=None, metavar="N,N", help="processes to plan for (default 1,2,8)"
    )
    parser.add_argument("--accelerator", metavar="NAME", help="only this one of the table, such as H100")
    parser.add_argument("--mfu", type=_share, default=None, metavar="X", help="share of its dense peak (default 0.4)")
    parser.add_argument("--price", type=amount, metavar="MONEY", help="of an hour of one device, to tell the cost")
    parser.add_argument(
        "--experts", type=_experts, metavar="N,K", help="count a mixture too: N feed-forwards a layer, K for each token"
    )
    parser.add_argument("--no-probe", action="store_true", help="do not time this machine (20 seconds, once a month)")


def amount(text: str) -> float:
    """A positive number, as 170M, 2e19 or 1.5B."""
    factor = _SUFFIXES.get(text[-1:].upper(), 1.0)
    try:
        number = float(text[:-1] if factor != 1.0 else text) * factor
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a positive number, such as 170M or 2e19")
    return number


def _share(text: str) -> float:
    number = amount(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a share of 1, such as 0.4")
    return number


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(part) for part in text.split(",")}))


def _experts(text: str) -> tuple[int, int]:
    parts = tuple(positive(part) for part in text.split(","))
    if len(parts) != 2 or parts[1] > parts[0]:
        raise argparse.ArgumentTypeError(f"{text!r}: expected N,K with K at most N, such as 8,2")
    return parts[0], parts[1]


def run(args: argparse.Namespace) -> int:
    """Plan; the exit status is 0."""
    from hornbook.cli.configuration import load, maybe_print
    from hornbook.errors import ConfigError

    alone = [name for name in ("parameters", "flops", "orders") if getattr(args, name)]
    if alone and (args.config is not None or args.overrides):
        raise ConfigError(f"--{alone[0]} plans a model that no CONFIG describes; leave out CONFIG and --set")
    if not alone and (args.vocab_size or args.context_length):
        raise ConfigError(
            "--vocab-size and --context-length belong to --parameters and --flops; with a CONFIG use --set "
            "model.vocab_size=... and model.context_length=..."
        )
    _refuse_idle(args, alone)
    if args.orders:
        return _orders()
    if alone:
        if args.print_config:
            raise ConfigError(f"--print-config prints a CONFIG, and --{alone[0]} has none; leave one of them out")
        return _shapes(args)
    config = load(args)
    if maybe_print(args, config):
        return 0
    return _configuration(args, config)


def _refuse_idle(args: argparse.Namespace, alone: list[str]) -> None:
    """Options without effect beside the one that says what is planned."""
    from hornbook.errors import ConfigError

    idle = ["tokens", "world_sizes", "accelerator", "mfu", "price", "no_probe"] if alone else []
    idle += ["vocab_size", "context_length", "experts"] if args.orders else []
    if given := [f"--{name.replace('_', '-')}" for name in idle if getattr(args, name)]:
        raise ConfigError(f"{', '.join(given)} has no effect with --{alone[0]}; leave it out")


def _orders() -> int:
    from dataclasses import asdict

    from hornbook.cli.plan_view import order_lines, write
    from hornbook.planning.orders import orders_of_magnitude
    from hornbook.tracking.console import emit

    orders = orders_of_magnitude()
    for each in orders:
        emit("plan_order", **asdict(each))
    write(order_lines(orders))
    return 0


def _shapes(args: argparse.Namespace) -> int:
    """Shapes for a size or a budget: the law's optima, then a block for each ratio of width and depth."""
    from dataclasses import asdict

    from hornbook.cli.plan_view import optimum_lines, proposal_lines, write
    from hornbook.models.accounting import parameter_counts
    from hornbook.planning.laws import optima
    from hornbook.planning.shapes import proposals
    from hornbook.tracking.console import emit

    best = optima(flops=args.flops) if args.flops else optima(parameters=args.parameters)
    made = proposals(
        args.parameters or best[0].parameters, vocab_size=args.vocab_size, context_length=args.context_length or 1024
    )
    for optimum in best:
        emit("plan_optimum", **asdict(optimum))
    write(optimum_lines(best, given=args.flops is not None))
    for each in made:
        experts = _mixture(args, each.config)
        counts = parameter_counts(each.config)
        fields: dict[str, Any] = {"kind": each.kind, "parameters": each.parameters, "model": each.block()}
        emit("plan_shape", **{**fields, **counts, **experts})
        write(proposal_lines(each, experts))
    return 0


def _mixture(args: argparse.Namespace, shape: ModelConfig) -> dict[str, Any]:
    """What --experts asks for, as values."""
    from hornbook.planning.experts import expert_counts

    if args.experts is None:
        return {}
    n, active = args.experts
    found = expert_counts(shape, experts=n, active=active, context=shape.context_length)
    return {"experts_total": found.total, "experts_active": found.active, "experts_flops": found.flops_per_token}


def _configuration(args: argparse.Namespace, config: Config) -> int:
    from hornbook.cli.plan_view import plan_lines, write
    from hornbook.tracking.console import emit

    plan = _plan(args, config)
    mixture = _mixture(args, plan.config)
    emit("plan", console=config.tracking.console, **plan.values(), **mixture)
    write(plan_lines(plan, mixture), console=config.tracking.console)
    return 0


def _plan(args: argparse.Namespace, config: Config) -> Plan:
    """Everything that the tables show."""
    from hornbook.cli.plan_choices import chosen, dry_run_of, rates_of, shape_for
    from hornbook.distributed.device import resolve_device
    from hornbook.planning.estimate import Wishes, make_plan
    from hornbook.planning.step_time import MFU
    from hornbook.profiling.accelerators import accelerator_named, accelerators
    from hornbook.profiling.memory import free_bytes
    from hornbook.training.reference import kind_of

    listed = [accelerator_named(args.accelerator)] if args.accelerator else list(accelerators())
    shape, remarks = shape_for(config)
    choices, more = chosen(config, shape)
    return make_plan(
        config,
        shape,
        Wishes(
            rows=choices.micro_batch_size * config.objective.tokens_read,
            plain=choices.plain_max_keys >= shape.context_length,
            compiled=choices.compile,
            tokens=args.tokens,
            world_sizes=args.world_sizes or WORLD_SIZES,
            mfu=args.mfu or MFU,
            price=args.price,
            has_reference=kind_of(config) == "copy",
        ),
        listed,
        machine=None if args.no_probe else rates_of(config, choices),
        held=dry_run_of(config, shape, choices),
        free=free_bytes(resolve_device(config.run.device)),
        remarks=[*remarks, *more, choices.line()],
    )

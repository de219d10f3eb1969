"""A plan in words: to the terminal, or to stderr where stdout is read by a program."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hornbook.planning.estimate import Plan
    from hornbook.planning.laws import Optimum
    from hornbook.planning.orders import Order
    from hornbook.planning.shapes import Proposal


def write(lines: Sequence[str], *, console: Literal["auto", "rich", "json", "none"] = "auto") -> None:
    """To people alone."""
    from hornbook.tracking.console import speaks_to_people

    if console != "none":
        print("\n".join(lines), file=sys.stdout if speaks_to_people(console) else sys.stderr)


def short(number: float) -> str:
    """170M, 2.5e+19: three digits."""
    for size, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if size <= number < 1000 * size and number < 1e15:
            return f"{number / size:.3g}{suffix}"
    return f"{number:.3g}"


def size(n_bytes: float) -> str:
    """Bytes in GB or MB."""
    return f"{n_bytes / 1e9:.2f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """In the unit that people would use."""
    for unit, many in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * many:
            return f"{seconds / many:.1f} {unit}"
    return f"{seconds:.2f} seconds" if seconds >= 1 else f"{1e3 * seconds:.0f} ms"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _shares(counts: Mapping[str, float]) -> list[list[str]]:
    whole = sum(counts.values()) or 1.0
    rows = [[name, short(number), f"{number / whole:.1%}"] for name, number in counts.items() if number]
    return [*rows, ["all", short(whole), ""]]


def plan_lines(plan: Plan, mixture: Mapping[str, float]) -> list[str]:
    """All tables."""
    return [
        *(f"  {remark}" for remark in plan.remarks),
        "",
        "PARAMETERS",
        *table(_shares(plan.parameters)),
        *_mixture_lines(mixture),
        "",
        f"FLOPS a token, forward, of the whole square of {plan.config.context_length} x {plan.config.context_length}",
        *table(_shares(plan.flops)),
        f"  trained: {short(plan.training_flops)} a token, {short(plan.training_flops * plan.tokens)} for "
        f"{short(plan.tokens)} tokens",
        "",
        *_memory_lines(plan),
        "",
        *_time_lines(plan),
        "",
        *optimum_lines(plan.optima, given=True),
    ]


def _mixture_lines(mixture: Mapping[str, float]) -> list[str]:
    if not mixture:
        return []
    return [
        f"  as a mixture of experts: {short(mixture['experts_total'])} in all, "
        f"{short(mixture['experts_active'])} active, "
        f"{short(mixture['experts_flops'])} FLOPs a token forward (counted, not built)"
    ]


_FITS = {"yes": "fits", "perhaps": "may NOT fit, as more may be held than is needed", "no": "does NOT fit"}


def _memory_lines(plan: Plan) -> list[str]:
    names = list(dict.fromkeys(name for each in plan.held for name in each.memory))
    rows = [["strategy", "processes", *names, "each"]]
    rows += [
        [each.strategy, f"{each.world_size}", *(size(each.memory.get(name, 0)) for name in names), size(each.total)]
        for each in plan.held
    ]
    lines = ["MEMORY of each process, at most", *table(rows)]
    lines.append(
        f"  keys and values of one text of {plan.config.context_length} tokens in generation: {size(plan.cache)}"
    )
    if plan.process_bytes is not None and plan.kept_bytes is not None:
        lines.append(
            f"  here, on the CPU: {size(plan.process_bytes)} are needed beyond the imports, and up to about "
            f"{size(plan.kept_bytes)} held, since what tensors give back is kept for the next ones"
        )
    if plan.free_bytes is not None and plan.fits is not None:
        lines.append(f"  free here: {size(plan.free_bytes)}: it {_FITS[plan.fits]}")
    lines.append("  to shrink:")
    return lines + table([[each.setting, size(each.total), each.cost] for each in plan.changes])


def _time_lines(plan: Plan) -> list[str]:
    lines = ["TIME"]
    if plan.step is not None and plan.step_seconds is not None:
        seconds = plan.step_seconds
        parts = sorted(plan.step.items(), key=lambda item: -item[1])
        lines.append(
            f"  here: {duration(seconds)} a step, {plan.tokens / plan.steps / seconds:,.0f} tokens a second, "
            f"{duration(seconds * plan.steps)} for {plan.steps:,.0f} steps"
        )
        lines.append("  of it " + ", ".join(f"{name} {part / seconds:.0%}" for name, part in parts if part > 0))
    rows = [["on one", "hours", "kWh", "fits", "cost"]]
    rows += [
        [
            each.accelerator.name,
            f"{each.hours:.3g}",
            f"{each.kilowatt_hours:.3g}",
            "yes" if each.fits else "no",
            "--price" if each.cost is None else f"{each.cost:,.2f}",
        ]
        for each in plan.elsewhere
    ]
    return lines + table(rows)


def optimum_lines(best: Iterable[Optimum], *, given: bool) -> list[str]:
    """What each law would do."""
    rows = [["law", "FLOPs", "parameters", "tokens", "loss", "source"]]
    rows += [
        [
            each.law,
            f"{each.flops:.2e}",
            short(each.parameters),
            short(each.tokens),
            "" if each.loss is None else f"{each.loss:.3f}",
            each.source,
        ]
        for each in best
    ]
    title = "for these FLOPs" if given else "the budget for which this size is the best"
    return [f"COMPUTE-OPTIMAL, {title} (loss in nats per token of the law's own text)", *table(rows)]


def proposal_lines(each: Proposal, mixture: Mapping[str, float]) -> list[str]:
    """A shape with its parameters, and its block."""
    from hornbook.models.accounting import parameter_counts

    return [
        "",
        f"{each.kind}: {short(each.parameters)} parameters",
        *table(_shares(parameter_counts(each.config))),
        *_mixture_lines(mixture),
        "",
        each.block(),
    ]


def order_lines(orders: Sequence[Order]) -> list[str]:
    """The document's numbers beside the mended ones."""
    rows = [["", "document", "corrected", "", "why"]]
    rows += [[each.quantity, f"{each.document:.3g}", f"{each.corrected:.3g}", each.unit, each.why] for each in orders]
    return ["ORDERS OF MAGNITUDE of the Simple Transformer document", *table(rows)]

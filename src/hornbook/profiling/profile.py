"""What a profile found, of training steps or of texts: the numbers, as lines to read and as JSON."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.profiling.step_clock import OTHER, Breakdown
from hornbook.profiling.trace import Operator

SHOWN_OPERATORS = 20


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Of one kind of work on one machine."""

    kind: str
    """train or decode."""
    subject: str
    """The model, and what one unit of its work is."""
    unit: str
    """What a breakdown is of: step or text."""
    parts: tuple[str, ...]
    ranks: tuple[Breakdown, ...]
    """Of each process, the first one's first."""
    operators: tuple[Operator, ...]
    """Of the first process, while it was traced."""
    tokens_per_second: float
    mfu: float | None
    peaks: Mapping[str, int]
    """Bytes by name; see `memory_use.peaks`."""
    facts: Mapping[str, str]
    """What else is known: device, choices."""
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **{name: getattr(self, name) for name in ("kind", "subject", "unit", "tokens_per_second", "mfu")},
            "seconds": self.ranks[0].step,
            "ranks": [
                {**dataclasses.asdict(each), "step": each.step, "parts": each.parts(self.parts)} for each in self.ranks
            ],
            "operators": [dataclasses.asdict(each) for each in self.operators],
            "peaks": dict(self.peaks),
            "facts": dict(self.facts),
            "files": [str(path) for path in self.files],
        }

    def lines(self) -> Iterator[str]:
        """Tables for a terminal."""
        yield self.subject
        yield from (f"{name}: {said}" for name, said in self.facts.items())
        yield ""
        yield from self._parts()
        yield ""
        yield from operator_lines(self.operators[:SHOWN_OPERATORS])
        yield ""
        mfu = "" if self.mfu is None else f", MFU {self.mfu:.1%}"
        yield f"{self.tokens_per_second:,.0f} tokens a second{mfu}"
        yield from (f"{memory_name(name)}: {size / 2**20:,.0f} MiB" for name, size in self.peaks.items())

    def _parts(self) -> Iterator[str]:
        one = len(self.ranks) == 1
        heads = [f"ms a {self.unit}"] if one else [f"rank {rank}, ms" for rank in range(len(self.ranks))]
        yield f"{'part':<26}" + "".join(f"{head:>14}" for head in heads) + (f"{'share':>9}" if one else "")
        for name, seconds in self.rows():
            share = f"{seconds[0] / self.ranks[0].step:>9.1%}" if one else ""
            yield f"{name:<26}" + "".join(f"{1e3 * each:>14.3f}" for each in seconds) + share
        yield f"{'the whole ' + self.unit:<26}" + "".join(f"{1e3 * each.step:>14.3f}" for each in self.ranks)
        first = self.ranks[0]
        yield f"means of {first.steps}; the fastest {1e3 * first.fastest:.3f} ms, the slowest {1e3 * first.slowest:.3f}"

    def rows(self) -> Iterator[tuple[str, list[float]]]:
        """(part, or detail set in by two spaces; seconds by rank); what took no time is left out."""
        totals = [each.parts(self.parts) for each in self.ranks]
        names = list(dict.fromkeys(name for each in self.ranks for name in each.seconds))
        for part in [*self.parts, OTHER]:
            if not any(total[part] for total in totals) and part != OTHER:
                continue
            yield part, [total[part] for total in totals]
            details = [name for name in names if name.startswith(f"{part}/")]
            if len(details) > 1 or (details and part in names):
                for name in details:
                    yield f"  {name.partition('/')[2]}", [each.seconds.get(name, 0.0) for each in self.ranks]


def operator_lines(operators: Sequence[Operator]) -> Iterator[str]:
    """A table of operators, with the device's time where there is one."""
    on_device = any(each.device for each in operators)
    title = f"{'operator':<52}{'calls':>8}{'host, ms':>12}"
    yield title + (f"{'device, ms':>12}" if on_device else "")
    for each in operators:
        name = each.name if len(each.name) <= 50 else each.name[:47] + "..."
        device = f"{1e3 * each.device:>12.3f}" if on_device else ""
        yield f"{name:<52}{each.calls:>8,}{1e3 * each.host:>12.3f}{device}"


def memory_name(name: str) -> str:
    """`host_peak_bytes` in words."""
    return f"{name.removesuffix('_bytes').removesuffix('_peak')} memory, at most"

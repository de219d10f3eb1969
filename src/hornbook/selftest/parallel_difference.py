"""How far two trainings of the same steps lie apart, and how far they may.

    of tensors    the largest, over tensors, of  max |found - expected| / max |expected|
    of numbers    the largest, over steps, of    |found - expected| / |expected|

The scale is always the reference's, so nothing is gained by large values that are wrong; and at least a thousandth of
the largest expected value of all, since a tensor that only rounding moves (a key's bias: softmax does not see it) has
no scale of its own. Another name, another shape, and what is not a finite number are infinitely far apart.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from hornbook.selftest.parallel_cases import Case, Number

SMALLEST_SCALE = 1e-3
TOLERANCES: Mapping[Number, Mapping[str, float]] = {
    "float64": {"parameters": 1e-9, "losses": 1e-9, "grad_norms": 1e-9},
    "float32": {"losses": 1e-5, "grad_norms": 1e-3},
}
"""float64 rounds at 1e-16, and fifty steps of Adam, which divides by small roots, make that some thousand times larger.
float32 rounds at 6e-8, and there parameters are not judged: where a gradient is nothing but rounding, Adam moves a
parameter by a whole learning rate in a direction that means nothing. Norms are, if loosely: a gradient that is too
large or too small by a factor leaves no other trace where it is clipped or where Adam divides by it."""
Verdict = Literal["within", "OVER"]
HEADER = f"{'case':<24}{'processes':>9}{'micro-batches':>15}{'parameters':>12}{'losses':>10}{'norms':>10}  verdict"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A case and how far it lies from the reference of its type of numbers."""

    case: Case
    parameters: float
    losses: float
    grad_norms: float
    """Before clipping."""
    seconds: float
    """Of the case."""

    @property
    def tolerance(self) -> float:
        """Of losses; TOLERANCES has that of each."""
        return TOLERANCES[self.case.number]["losses"]

    @property
    def worst(self) -> float:
        """The largest difference that is judged."""
        values: list[float] = [getattr(self, name) for name in TOLERANCES[self.case.number]]
        return max(values)

    @property
    def verdict(self) -> Verdict:
        """Whether the case is within its tolerances."""
        limits = TOLERANCES[self.case.number]
        return "within" if all(getattr(self, name) <= limit for name, limit in limits.items()) else "OVER"

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Difference":
        """The inverse of `to_json`."""
        return cls(**{**values, "case": Case(**values["case"])})


def of_tensors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """See above; `expected` has at least one value that is not 0."""
    if {name: tensor.shape for name, tensor in found.items()} != {name: each.shape for name, each in expected.items()}:
        return math.inf
    scales = {name: tensor.abs().max().item() for name, tensor in expected.items()}
    least = SMALLEST_SCALE * max(scales.values())
    ratios = [(found[name] - tensor).abs().max().item() / max(scales[name], least) for name, tensor in expected.items()]
    return max(ratios) if all(map(math.isfinite, ratios)) else math.inf


def of_numbers(found: Sequence[float], expected: Sequence[float]) -> float:
    """See above."""
    if len(found) != len(expected):
        return math.inf
    least = SMALLEST_SCALE * max(map(abs, expected))
    ratios = [abs(mine - wanted) / max(abs(wanted), least) for mine, wanted in zip(found, expected, strict=True)]
    return max(ratios) if all(map(math.isfinite, ratios)) else math.inf


def table(differences: Sequence[Difference]) -> list[str]:
    """All differences for people, those of one type of numbers together."""
    lines: list[str] = []
    for number, limits in TOLERANCES.items():
        rows = [each for each in differences if each.case.number == number]
        if not rows:
            continue
        judged = ", ".join(f"{name.replace('grad_', '')} within {limit:.0e}" for name, limit in limits.items())
        lines += [
            f"{number}: largest relative differences from one process; {judged}",
            "  " + HEADER,
            *(_row(each) for each in rows),
        ]
    return lines


def _row(each: Difference) -> str:
    case = each.case
    return (
        f"  {case.name:<24}{case.world_size:>9}{case.accumulation:>15}{each.parameters:>12.1e}{each.losses:>10.1e}"
        f"{each.grad_norms:>10.1e}  {each.verdict}"
    )

"""What is drawn, whoever draws it: lines over steps, minutes, tokens or operations, and what happened on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from hornbook.reporting.record import Curve
from hornbook.reporting.work import Work
from hornbook.tracking.thinning import thinned

WIDE, NARROW = 1200, 580
"""Widths of figures, in the units of their drawings: about the pixels that they have on a page."""
AXES = {
    "step": "step",
    "minutes": "minutes of training",
    "tokens": "tokens read",
    "flops": "floating-point operations of training",
}
"""Horizontal axes by name, and what is written below them."""
_MOST_DOTS = 60


@dataclass(frozen=True, kw_only=True)
class Line:
    """A curve with its looks: `colour` 0 to 7; `weight` faint, plain, dotted (a dot at each value) or
    ended (dotted, and its last value is written at its end)."""

    label: str
    curve: Curve
    colour: int
    weight: str = "plain"
    work: Work = field(default_factory=Work)

    def across(self, axis: str) -> list[float] | None:
        """Places on a horizontal axis; None if they are not known."""
        match axis:
            case "minutes":
                return list(self.curve.minutes)
            case "tokens":
                return _known([self.work.tokens_by(step) for step in self.curve.steps])
            case "flops":
                return _known([self.work.flops_by(step) for step in self.curve.steps])
        return [float(step) for step in self.curve.steps]

    def thinned(self) -> "Line":
        """As many points as a picture can show."""
        kept = thinned(self.curve.values)
        curve = Curve(
            steps=tuple(self.curve.steps[i] for i in kept),
            minutes=tuple(self.curve.minutes[i] for i in kept),
            values=tuple(self.curve.values[i] for i in kept),
        )
        weight = "plain" if self.weight == "dotted" and len(kept) > _MOST_DOTS else self.weight
        return replace(self, curve=curve, weight=weight)


@dataclass(frozen=True, kw_only=True)
class Mark:
    """Something that happened at a step of a run: `kind` skipped or branch."""

    step: int
    label: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What is drawn. `key` is an identifier of its own in the page; `log` starts with a logarithmic vertical axis."""

    key: str
    title: str
    unit: str
    lines: Sequence[Line]
    marks: Sequence[Mark] = field(default_factory=tuple)
    axes: Sequence[str] = ("step",)
    log: bool = False
    width: int = NARROW
    height: int = 240

    @cached_property
    def visible(self) -> list[Line]:
        """Lines with a finite value, thinned."""
        return [line.thinned() for line in self.lines if line.curve]

    @cached_property
    def known_axes(self) -> list[str]:
        """The axes on which every such line has its places."""
        return [axis for axis in self.axes if all(line.across(axis) is not None for line in self.visible)]


def _known(places: Sequence[float | None]) -> list[float] | None:
    found = [place for place in places if place is not None]
    return found if len(found) == len(places) else None

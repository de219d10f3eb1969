"""Where the time of a step goes: every instant counts for the innermost range that is open.

So the parts add up to the whole by construction, and what no range covers stands by itself as `other`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

PARTS = ("data", "forward", "backward", "optimizer", "communication", "logging")
"""Of a training step; ranges are named by their part, or part/detail."""
OTHER = "other"


class StepClock:
    """Ranges that take the time; a step ends with the outermost range of the part `last`. For one thread."""

    def __init__(self, *, parts: Sequence[str] = PARTS, last: str = "logging", now: Callable[[], float]) -> None:
        """`now`: the clock in seconds, when the device has done its work; see `device_clock`."""
        self.steps: list[dict[str, float]] = []
        """Of each step that has ended: range -> seconds."""
        self._parts = parts
        self._end = last
        self._now = now
        self._open: list[str] = []
        self._current: dict[str, float] = {}
        self._since = now()

    def push(self, name: str) -> None:
        """It begins."""
        self._charge()
        self._open.append(name)

    def pop(self) -> None:
        """The one that began last ends."""
        self._charge()
        name = self._open.pop()
        if not self._open and name == self._end:
            self.cut()

    def cut(self) -> None:
        """A step ends here."""
        self._charge()
        self.steps.append(self._current)
        self._current = {}

    def _charge(self) -> None:
        """What has passed belongs to the innermost range of a known part."""
        now = self._now()
        known = (name for name in reversed(self._open) if name.partition("/")[0] in self._parts)
        name = next(known, OTHER)
        self._current[name] = self._current.get(name, 0.0) + now - self._since
        self._since = now


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """Mean seconds of a step by range, over so many steps; with `other` they add up to the step."""

    seconds: dict[str, float]
    steps: int
    fastest: float
    """Seconds of a whole step."""
    slowest: float

    @classmethod
    def of(cls, steps: Sequence[dict[str, float]]) -> "Breakdown":
        """Of the steps of a clock, at least one."""
        names = list(dict.fromkeys(name for step in steps for name in step if name != OTHER))
        wholes = [sum(step.values()) for step in steps]
        return cls(
            seconds={name: sum(step.get(name, 0.0) for step in steps) / len(steps) for name in [*names, OTHER]},
            steps=len(steps),
            fastest=min(wholes),
            slowest=max(wholes),
        )

    @property
    def step(self) -> float:
        """Mean seconds of a whole step."""
        return sum(self.seconds.values())

    def parts(self, names: Sequence[str] = PARTS) -> dict[str, float]:
        """Seconds of each part with all its details, and of what belongs to none."""
        found = dict.fromkeys([*names, OTHER], 0.0)
        for name, seconds in self.seconds.items():
            found[name.partition("/")[0]] += seconds
        return found


def device_clock(synchronize: Callable[[], None] | None = None) -> Callable[[], float]:
    """A clock that first waits for the device, so that work is charged to who asked for it and not to who waits."""
    if synchronize is None:
        return time.perf_counter

    def now() -> float:
        synchronize()
        return time.perf_counter()

    return now

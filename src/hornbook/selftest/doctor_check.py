"""What a stage of `hornbook doctor` finds: numbers, each beside the truth that is known of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Status = Literal["pass", "fail", "absent"]
"""absent: an optional package that the stage is about is not installed."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A number, and how far it may lie from what is known."""

    what: str
    """The number in words, with its unit."""
    value: float
    truth: float
    below: float = 0.0
    """How far the value may lie below the truth."""
    above: float = 0.0
    """How far it may lie above."""

    @property
    def passed(self) -> bool:
        """Whether it lies where it may; NaN does not."""
        return self.truth - self.below <= self.value <= self.truth + self.above

    def to_json(self) -> Mapping[str, object]:
        """The fields, and whether it passed."""
        return {**asdict(self), "passed": self.passed}


Stage = Callable[[Path], Sequence[Check]]
"""Given an empty folder of its own, it does what the stage is about; what it raises is a failure, too."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What came of a stage."""

    stage: str
    status: Status
    checks: tuple[Check, ...]
    """Empty where it could not be finished."""
    message: str | None
    """Why it could not be finished."""
    seconds: float

    def to_json(self) -> Mapping[str, object]:
        """Fields of the event."""
        return {
            "stage": self.stage,
            "status": self.status,
            "checks": [check.to_json() for check in self.checks],
            "message": self.message,
            "seconds": round(self.seconds, 3),
        }

"""The one protocol that a run speaks to, whoever is listening.

Events are named `start`, `train`, `val`, `norms`, `sample`, `samples`, `checkpoint`, `eval`, `generate`, `artifact`,
`finish`; the names of their values stand in docs/formats.md. Each carries its own step, the number of steps done so
far, so that nothing depends on the order in which events arrive.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Scalar = str | int | float | bool | None
"""What one value of an event may be."""

ArtifactKind = Literal["best", "final", "tokenizer", "samples"]
"""What an artifact is: the best or the last checkpoint, the tokenizer, the folder of samples."""


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many values lie between neighbouring edges."""

    edges: tuple[float, ...]
    """One more than counts, ascending; the last bin holds its upper edge as well."""
    counts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What a tracker is told when a run starts."""

    name: str
    config: Mapping[str, object] = field(default_factory=dict)
    """The resolved configuration as nested tables of JSON values."""
    tags: tuple[str, ...] = ()
    notes: str = ""
    first_step: int = 0
    """Updates already done: more than 0 after a resume. Later events of an earlier session are superseded."""
    total_steps: int | None = None
    resumed: bool = False
    details: Mapping[str, Scalar] = field(default_factory=dict)
    """Further facts worth a line, such as n_parameters or device."""


class Tracker(Protocol):
    """Hears of a run's events; called by one thread, between `start` and `finish`.

    Histograms, progress and artifacts are not for everybody: with this as base class they go unheard by default.
    """

    def start(self, run: RunInfo) -> None:
        """Begin; the only call whose failure ends the run, since a wrong login or an unwritable path shows here."""

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """One event with its numbers, named as `train/loss`; non-finite floats are allowed."""

    def text(self, name: str, step: int, text: str) -> None:
        """One generated sample."""

    def histogram(self, name: str, step: int, histogram: Histogram) -> None:
        """How weights or gradients are distributed."""
        return

    def progress(self, task: str, done: int, total: int) -> None:
        """Long work between steps goes on, such as a validation; the last call has done == total."""
        return

    def artifact(self, path: Path, name: str, kind: ArtifactKind) -> None:
        """A file or directory worth keeping, as it stands at the end of a run."""
        return

    def finish(self, status: str) -> None:
        """End with the run's last state: finished, preempted or failed."""

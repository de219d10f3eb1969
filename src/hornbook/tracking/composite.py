"""Many trackers as one: the run's record must be written, everybody else is a guest who may fall ill.

A failure of metrics.jsonl (a full disk, mostly) ends the run: nothing could be saved either, and a run without its
record is not worth its time. A failure of any other tracker after `start` is warned about once, and it is dropped.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hornbook.tracking.tracker import ArtifactKind, Histogram, RunInfo, Scalar, Tracker


class CompositeTracker(Tracker):
    """Passes every call to `record`, whose errors rise, then to `guests`, whose errors do not."""

    def __init__(self, *, record: Tracker | None, guests: Sequence[Tracker]) -> None:
        self._record = record
        self._guests = list(guests)

    def start(self, run: RunInfo) -> None:
        """Start all; here every error rises: a wrong login is better known at once than after a night."""
        for tracker in [self._record, *self._guests]:
            if tracker is not None:
                tracker.start(run)

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """Pass an event on."""
        self._tell(lambda tracker: tracker.log(event, step, values))

    def text(self, name: str, step: int, text: str) -> None:
        """Pass a sample on."""
        self._tell(lambda tracker: tracker.text(name, step, text))

    def histogram(self, name: str, step: int, histogram: Histogram) -> None:
        """Pass a histogram on."""
        self._tell(lambda tracker: tracker.histogram(name, step, histogram))

    def progress(self, task: str, done: int, total: int) -> None:
        """Pass on how far it is."""
        self._tell(lambda tracker: tracker.progress(task, done, total))

    def artifact(self, path: Path, name: str, kind: ArtifactKind) -> None:
        """Pass an artifact on."""
        self._tell(lambda tracker: tracker.artifact(path, name, kind))

    def finish(self, status: str) -> None:
        """Finish all."""
        self._tell(lambda tracker: tracker.finish(status))

    def _tell(self, call: Callable[[Tracker], None]) -> None:
        if self._record is not None:
            call(self._record)
        for tracker in list(self._guests):
            try:
                call(tracker)
            except Exception as error:  # noqa: BLE001 - other people's services fail in their own ways
                self._guests.remove(tracker)
                warnings.warn(
                    f"{type(tracker).__name__} failed and hears no more of this run: {type(error).__name__}: {error}",
                    stacklevel=3,
                )

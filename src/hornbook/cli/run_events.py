"""Telling the trackers of a run what was done with its checkpoint afterwards: a text generated, an evaluation.

The event is appended to the run's metrics.jsonl, without a `start` of its own, which would mean a resumed training;
and it goes to TensorBoard and W&B if the configuration at hand asks for them. Nothing is written into a run that is
still training (two writers in one file), or that may only be read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hornbook.config.tracking import TrackingConfig
    from hornbook.storage.run_dir import RunDir
    from hornbook.tracking.tracker import Scalar, Tracker


class RunEvents:
    """Appends events at one step to a run that is not training; to nobody if there is no such run.

    Raises:
        MissingExtraError: if a tracker that the configuration asks for is not installed.
    """

    def __init__(self, run: RunDir | None, tracking: TrackingConfig, *, step: int) -> None:
        from hornbook.tracking.composite import CompositeTracker
        from hornbook.tracking.jsonl import JsonLines, MetricsFile

        self._step = step
        self._file: MetricsFile | None = None
        self._guests = CompositeTracker(record=None, guests=[])
        if run is None or _is_closed(run):
            return
        self._file = MetricsFile(run.metrics_file)
        self._record = JsonLines(self._file)
        self._guests = CompositeTracker(record=None, guests=_guests(run, tracking, step))

    def log(self, event: str, values: Mapping[str, Scalar]) -> None:
        """One event at the checkpoint's step."""
        if self._file is not None:
            self._record.log(event, self._step, values)
        self._guests.log(event, self._step, values)

    def close(self) -> None:
        """Sync and close."""
        if self._file is not None:
            self._file.close()
        self._guests.finish("finished")


def _is_closed(run: RunDir) -> bool:
    is_training = run.state_file.is_file() and run.state in ("starting", "running")
    return is_training or not os.access(run.metrics_file, os.W_OK)


def _guests(run: RunDir, tracking: TrackingConfig, step: int) -> list[Tracker]:
    from hornbook.tracking.tracker import RunInfo

    guests: list[Tracker] = []
    if tracking.tensorboard:
        from hornbook.tracking.tensorboard import TensorBoard

        guests.append(TensorBoard(run.tensorboard))
    if tracking.wandb is not None:
        from hornbook.tracking.wandb import WeightsAndBiases

        guests.append(WeightsAndBiases(tracking.wandb, run.root))
    for guest in guests:
        guest.start(RunInfo(name=run.root.name, first_step=step))
    return guests

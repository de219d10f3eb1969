"""From `[tracking]` to one tracker."""

import warnings

from hornbook.config.tracking import TrackingConfig
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.composite import CompositeTracker
from hornbook.tracking.console import console_trackers
from hornbook.tracking.jsonl import JsonLines, MetricsFile
from hornbook.tracking.tracker import Tracker


def open_tracker(config: TrackingConfig, run_dir: RunDir | None) -> Tracker:
    """The tracker of a run: its metrics.jsonl whenever it has a directory, the terminal, and whatever is asked for.

    Raises:
        MissingExtraError: TensorBoard or W&B is asked for and not installed.
    """
    guests = console_trackers(config.console)
    if run_dir is None:
        if config.tensorboard or config.wandb is not None:
            warnings.warn("tracking.tensorboard and tracking.wandb need a run directory: ignored here", stacklevel=2)
        return CompositeTracker(record=None, guests=guests)
    if config.tensorboard:
        from hornbook.tracking.tensorboard import TensorBoard

        guests.append(TensorBoard(run_dir.tensorboard))
    if config.wandb is not None:
        from hornbook.tracking.wandb import WeightsAndBiases

        guests.append(WeightsAndBiases(config.wandb, run_dir.root))
    return CompositeTracker(record=JsonLines(MetricsFile(run_dir.metrics_file)), guests=guests)

"""What happens between steps: log, validate, sample, save. The loop calls every hook after every step, in list order.

The order matters: Log, Validate, Sample, SaveCheckpoint, so that a checkpoint knows whether it is the best. A hook has
its own cadence and everything it needs from the start; the loop knows none of them by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import torch

from hornbook.config.train import CheckpointConfig
from hornbook.storage.atomic import replace_file
from hornbook.tracking.tracker import Tracker
from hornbook.training.metrics import Averages, peak_memory_bytes
from hornbook.training.state import TrainState
from hornbook.training.step import StepReport

StopReason = Literal["finished", "early_stopped", "max_minutes", "preempted"]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The instant after a step."""

    step: int
    """Steps done: every event of this moment carries it."""
    state: TrainState
    report: StepReport
    seconds: float
    """What the step took, waiting for its data included, hooks excluded."""
    waited: float = 0.0
    """Of these, seconds in which the loader had nothing ready."""
    seconds_left: float
    """An estimate, hooks included."""
    stop: StopReason | None
    """Set at the last step of this process."""

    def due(self, every: int) -> bool:
        """Whether something done every so many steps (0: never) is due."""
        return every > 0 and self.step % every == 0

    @property
    def ends_well(self) -> bool:
        """The run stops, and nobody is in a hurry to end the process."""
        return self.stop in ("finished", "early_stopped", "max_minutes")


class Hook(Protocol):
    """Something to do after a step, if it is time."""

    def __call__(self, at: Moment) -> StopReason | None:
        """Called after every step; a reason ends the run with it, and later hooks see that in their moment."""
        ...


class Log:
    """Event `train`: averages since the last one, every `every` steps and at the end."""

    def __init__(
        self,
        tracker: Tracker,
        *,
        every: int,
        device: torch.device,
        flops_per_token: float | None = None,
        peak_flops: float | None = None,
        compiles: bool = False,
    ) -> None:
        """`flops_per_token` (forward and backward) over `peak_flops` (a second) gives MFU; without both, none.

        `compiles`: the first step of this process compiles, so its time stands apart as `compile_seconds`.
        """
        self.tracker = tracker
        self.every = every
        self.device = device
        self.flops_per_token = flops_per_token
        self.peak_flops = peak_flops
        self.compiles = compiles
        self.compile_seconds: float | None = None
        self.averages = Averages()

    def __call__(self, at: Moment) -> None:
        """Take the step into the averages; log them if it is time."""
        report = at.report
        counted = report.trained_tokens
        sums = {} if report.skipped else {"loss": (report.loss * counted, float(counted)), **report.metrics}
        if self.compiles:
            self.compiles, self.compile_seconds = False, at.seconds
            self.averages.add(sums, tokens=0, seconds=0.0)
        else:
            self.averages.add(sums, tokens=report.tokens, seconds=at.seconds, waited=at.waited)
        if not (at.due(self.every) or at.stop):
            return
        values: dict[str, float] = self.averages.values()
        values["learning_rate"] = report.learning_rate
        values["grad_norm"] = report.grad_norm
        values["seconds_left"] = at.seconds_left
        values["tokens"] = at.state.tokens_seen
        if self.compile_seconds is not None:
            values["compile_seconds"], self.compile_seconds = self.compile_seconds, None
        if self.flops_per_token and self.peak_flops and "tokens_per_second" in values:
            values["mfu"] = values["tokens_per_second"] * self.flops_per_token / self.peak_flops
        if (memory := peak_memory_bytes(self.device)) is not None:
            values["peak_memory_bytes"] = memory
        if at.state.skipped:
            values["skipped"] = at.state.skipped
            values |= {f"skipped_{reason}": count for reason, count in at.state.skipped_for.items()}
        if at.state.loss_scale is not None:
            values |= {"loss_scale": at.state.loss_scale, "overflows": at.state.overflows}
        self.tracker.log("train", at.step, {f"train/{name}": value for name, value in values.items()})
        self.averages.reset()


def out_of_patience(state: TrainState, patience: int | None) -> bool:
    """Whether so many due validations in a row (None: any number) brought no new best one."""
    return patience is not None and state.validations_since_best >= patience


class Validate:
    """Event `val`, every `every` steps and at a good end (0: never); records the best loss in the state.

    It ends the run after `patience` due validations in a row without a new best one.
    """

    def __init__(
        self,
        measure: Callable[[], Mapping[str, float]],
        tracker: Tracker,
        *,
        every: int,
        patience: int | None = None,
    ) -> None:
        """`measure` gives at least "loss"."""
        self.measure = measure
        self.tracker = tracker
        self.every = every
        self.patience = patience

    def __call__(self, at: Moment) -> StopReason | None:
        """Measure if it is time."""
        # A due validation is made even when preempted: a resumed run must not differ from an unbroken one.
        if at.due(self.every) or (self.every and at.ends_well):
            values = self.measure()
            at.state.record_validation(values["loss"], due=at.due(self.every))
            self.tracker.log("val", at.step, {f"val/{name}": value for name, value in values.items()})
        return "early_stopped" if out_of_patience(at.state, self.patience) else None


class Sample:
    """Texts by the model as it is, every `every` steps and at a good end (0: never), and event `samples` about them."""

    def __init__(
        self,
        sample: Callable[[], Sequence[str]],
        tracker: Tracker,
        *,
        every: int,
        folder: Path,
        measure: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """`sample` must leave the model in the mode in which it found it; `folder` receives one text file a time;
        `measure` gives numbers of the last texts."""
        self.sample = sample
        self.measure = measure
        self.tracker = tracker
        self.every = every
        self.folder = folder

    def __call__(self, at: Moment) -> None:
        """Sample if it is time."""
        if at.due(self.every) or (self.every and at.ends_well):
            texts = self.sample()
            if not texts:  # another process samples
                return
            replace_file(self.folder / f"step-{at.step:08d}.txt", "\n\n".join(texts) + "\n")
            for index, text in enumerate(texts):
                self.tracker.text(f"sample/{index}", at.step, text)
            if values := self.measure():
                self.tracker.log("samples", at.step, {f"samples/{name}": value for name, value in values.items()})


class Save(Protocol):
    """Writes a checkpoint and returns where; None where another process writes."""

    def __call__(self, state: TrainState, *, kind: Literal["light", "full"], best: bool, is_last: bool) -> Path | None:
        """`best`: this is the lowest validation loss so far. `is_last`: the run ends here, and all must be written."""
        ...


class SaveCheckpoint:
    """Event `checkpoint`: light and full ones by their cadences, the best so far, and always a full one at the end."""

    def __init__(self, save: Save, tracker: Tracker, config: CheckpointConfig) -> None:
        self.save = save
        self.tracker = tracker
        self.light_every = config.light_every
        self.full_every = config.full_every
        self.keep_best = config.best

    def __call__(self, at: Moment) -> None:
        """Save if it is time: one checkpoint, however many reasons there are for it."""
        best = self.keep_best and at.state.best_step == at.step
        is_full = at.due(self.full_every) or at.stop is not None
        if not (is_full or best or at.due(self.light_every)):
            return
        kind: Literal["light", "full"] = "full" if is_full else "light"
        if is_full:
            at.state.full_checkpoint_step = at.step
        path = self.save(at.state, kind=kind, best=best, is_last=at.stop is not None)
        values = {"checkpoint/kind": kind, "checkpoint/best": best, "checkpoint/path": str(path)}
        self.tracker.log("checkpoint", at.step, values)

"""Where the time of training steps goes: the run's own steps, timed by parts, and then a few of them traced.

    warm-up      compiling, first allocations; not counted
    timed        a clock at the borders of parts; on a GPU it waits for the device there
    traced       torch.profiler, which makes steps slower, and so has steps of its own

They are the steps that `hornbook train` would make, with the same choices and in the same loop; of its hooks only the
log runs, into a file. Nothing of a run is written.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hornbook.assemble import Job, build_job
from hornbook.config.run import Config
from hornbook.data.mixture import Mixture
from hornbook.distributed.device import ready_device
from hornbook.distributed.environment import place_of
from hornbook.distributed.process_group import Processes, joined
from hornbook.errors import ConfigError, TrainingError
from hornbook.models.accounting import run_flops_per_token
from hornbook.profiling.memory_use import history_page, peaks, reset_peaks, start_history, stop_history, write_history
from hornbook.profiling.probe import peak_flops
from hornbook.profiling.profile import Profile
from hornbook.profiling.ranges import Ranges, Recorded
from hornbook.profiling.step_clock import PARTS, Breakdown, StepClock, device_clock
from hornbook.profiling.trace import Trace, traced
from hornbook.storage.atomic import replace_file
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.composite import CompositeTracker
from hornbook.tracking.jsonl import JsonLines, MetricsFile
from hornbook.training.annotated import annotated, annotated_for_nvtx, nvtx_remark
from hornbook.training.hooks import Hook, Log, Moment, StopReason
from hornbook.training.norms import Norms, NormWatch
from hornbook.training.reference_scores import settle_reference
from hornbook.training.state import TrainState


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How many steps of each kind, and where files go."""

    out: Path
    """A directory that exists; of several processes the first one's is meant."""
    steps: int = 10
    warm_up: int = 3
    traced: int = 3
    memory_history: bool = False
    """On a CUDA device."""


class _At:
    """A hook that does something after a step, such as ending the loop."""

    def __init__(self, step: int, do: Callable[[], StopReason | None]) -> None:
        self._step = step
        self._do = do

    def __call__(self, at: Moment) -> StopReason | None:
        return self._do() if at.step == self._step else None


def profile_steps(
    config: Config, settings: StepSettings, say: Callable[[str], None] = lambda text: None
) -> Profile | None:
    """Profile training as `config` says; every process that trains calls this, and all but the first get None.

    `say` hears on the first process what is being done.

    Raises:
        HornbookError: whatever keeps the run from starting.
    """
    if config.sweep is not None:
        raise ConfigError("[sweep] says that there are many runs, and one is profiled: leave the table out")
    needed = settings.warm_up + settings.steps + settings.traced
    if config.train.steps < needed:
        raise ConfigError(
            f"train.steps = {config.train.steps}, and a profile of {settings.steps} steps makes {needed} with its "
            f"warm-up and trace; use a smaller --steps or --set train.steps={needed}"
        )
    place = place_of(os.environ)
    if (remark := nvtx_remark()) and place.rank == 0:
        say(remark)
    device = ready_device(config.run, place)
    with joined(place, config.distributed, device) as processes, tempfile.TemporaryDirectory() as scratch:
        settings = replace(settings, out=Path(processes.first(lambda: str(settings.out))))
        job, state = build_job(config, Mixture.open(config.data), None, None, device=device, processes=processes)
        with job.computing():
            profile = _Profile(job, state, device, Path(scratch), settings, say)
            with contextlib.closing(profile.metrics):
                return profile.make()


class _Profile:
    """The stretches of steps, one after another, of one process."""

    def __init__(
        self,
        job: Job,
        state: TrainState,
        device: torch.device,
        scratch: Path,
        settings: StepSettings,
        say: Callable[[str], None],
    ) -> None:
        self.job, self.state, self.device, self.settings = job, state, device, settings
        self.say = say if job.processes.is_first else lambda text: None
        self.processes: Processes = job.processes
        self.files: list[Path] = []
        self.tokens = 0
        run = RunDir.create(scratch, "profile")
        self.metrics = MetricsFile(run.metrics_file)
        self.tracker = CompositeTracker(record=JsonLines(self.metrics), guests=[])
        given = (job.config, job.learner, job.reading, job.data.digest)
        settle_reference(*given, run, job.processes, self.tracker, tokens=job.tokenizer.vocab_size)

    def make(self) -> Profile | None:
        job, settings = self.job, self.settings
        clock = StepClock(now=device_clock(self._wait if self.device.type == "cuda" else None))
        self.say(f"warming up: {settings.warm_up} steps")
        with contextlib.ExitStack() as at_end:

            def warmed_up() -> None:
                self.say(f"timing {settings.steps} steps")
                reset_peaks(self.device)
                at_end.enter_context(self._history())
                self.tokens = self.state.tokens_seen

            self._run(settings.warm_up + settings.steps, clock, _At(settings.warm_up, warmed_up))
        tokens = self.state.tokens_seen - self.tokens
        found = peaks(self.device)
        own = Breakdown.of(clock.steps[settings.warm_up :])
        self.say(f"tracing {settings.traced} steps")
        with traced(self.device) as trace:
            self._run(settings.traced, Recorded(), finely=True)
        self._write(trace)
        everyones = [Breakdown(**each) for each in self.processes.everyones(own.__dict__)]
        if not self.processes.is_first:
            return None
        slowest = max(each.step for each in everyones)
        speed = tokens / settings.steps / slowest
        config = job.config
        return Profile(
            kind="train",
            subject=f"{config.model.architecture}: "
            f"steps of {config.rows_per_step} rows of {config.model.context_length}",
            unit="step",
            parts=PARTS,
            ranks=tuple(everyones),
            facts={"device": str(self.device), "choices": job.choices.line()},
            operators=tuple(trace.operators()),
            peaks=found,
            tokens_per_second=speed,
            mfu=self._mfu(speed),
            files=tuple(self.files),
        )

    def _run(self, steps: int, ranges: Ranges, *more: Hook, finely: bool = False) -> None:
        job = self.job
        hooks: list[Hook] = [Log(self.tracker, every=job.config.train.log_every, device=self.device), *more]
        if isinstance(job.learner.watch, NormWatch):
            hooks.append(Norms(job.learner.watch, self.tracker))
        last = self.state.step + steps
        trainer: Any = job.trainer(self.state, [*hooks, _At(last, lambda: "finished")])
        with annotated_for_nvtx(trainer), annotated(trainer, ranges, level="fine" if finely else "coarse"):
            stop = trainer.run().stop_reason
        if stop == "preempted":
            raise KeyboardInterrupt
        if self.state.step < last:
            raise TrainingError(f"training ended after {self.state.step} steps ({stop}); the profile wants {last}")

    def _wait(self) -> None:
        torch.cuda.synchronize(self.device)

    @contextlib.contextmanager
    def _history(self) -> Iterator[None]:
        """The allocator's history, if it is asked for, as files."""
        if not (self.settings.memory_history and start_history(self.device)):
            yield
            return
        try:
            yield
            path = self.settings.out / f"train-memory{_of(self.processes.rank)}.json"
            write_history(path, self.device)
            replace_file(path.with_suffix(".html"), history_page(self.device) or "")
            self.files += [path, path.with_suffix(".html")]
        finally:
            stop_history(self.device)

    def _write(self, trace: Trace) -> None:
        path = self.settings.out / f"train-trace{_of(self.processes.rank)}.json.gz"
        trace.write(path)
        self.files.append(path)

    def _mfu(self, tokens_per_second: float) -> float | None:
        config = self.job.config
        peak = peak_flops(self.device, config.train.precision)
        if peak is None:
            return None
        return tokens_per_second * run_flops_per_token(config, self.job.model.config) / peak / self.processes.world_size


def _of(rank: int) -> str:
    return f"-rank-{rank}" if rank else ""

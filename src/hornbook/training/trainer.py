"""The loop: batches in, steps, hooks between them, a reason to stop.

Every stage of training is this loop; stages differ in the batches and the objective that they hand to it. It keeps no
state but TrainState, so a run that is stopped, saved, rebuilt and continued equals one that never stopped, bit for bit.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic

from hornbook.config.train import TrainConfig
from hornbook.data.batch import B
from hornbook.data.loader import BatchSource, Prefetcher
from hornbook.distributed.precision import LossScale
from hornbook.distributed.strategy import Flags
from hornbook.errors import TrainingError
from hornbook.objectives.objective import StepContext
from hornbook.optim.optimizer import RuledOptimizer
from hornbook.storage.faults import crash_point
from hornbook.training.compiled import CompilerFailed
from hornbook.training.hooks import Hook, Moment, StopReason, out_of_patience
from hornbook.training.out_of_memory import (
    MicroBatchTooLarge,
    Shrunk,
    cut,
    release_cached,
    rows_at,
    shrunk_at,
    smaller,
    without_frames,
)
from hornbook.training.preemption import Preemption
from hornbook.training.skipping import SpikeLimits, spike_limits
from hornbook.training.state import TrainState
from hornbook.training.step import Learner, StepReport, train_step

OnRetreat = Callable[[int, str, Mapping[str, object]], None]
"""Hears the step as events count (1 is the first), a line for people, and which of a run's choices changed to what."""


def no_retreat(step: int, line: str, changes: Mapping[str, object]) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a call of `Trainer.run` ended."""

    state: TrainState
    stop_reason: StopReason
    seconds: float
    """Wall-clock, hooks included."""


class Trainer(Generic[B]):
    """Runs from `state.step` to `config.steps`; everything it needs is handed to it ready-made."""

    def __init__(
        self,
        learner: Learner[B],
        *,
        schedule: Callable[[int], float],
        batches: BatchSource[B],
        hooks: Sequence[Hook],
        state: TrainState,
        config: TrainConfig,
        samples_per_step: int,
        seed: int,
        loader_threads: int = 1,
        prefetch: int = 2,
        shrunk: Shrunk = (),
        on_retreat: OnRetreat = no_retreat,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`schedule` maps the number of an update (0 is the first) to the learning rate's multiplier.

        `samples_per_step` counts over all ranks. `loader_threads` read `prefetch` steps ahead. `shrunk` says from which
        steps on what `batches` gives is cut smaller; it grows when memory runs out. `clock` is in seconds.
        """
        self.learner = learner
        self.schedule = schedule
        self.batches = batches
        self.hooks = hooks
        self.state = state
        self.config = config
        self.samples_per_step = samples_per_step
        self.seed = seed
        self.loader_threads = loader_threads
        self.prefetch = prefetch
        self.shrunk = shrunk
        self.on_retreat = on_retreat
        self.clock = clock
        if learner.precision.kind == "fp16" and state.loss_scale is None:
            state.loss_scale = LossScale().value

    def run(self) -> TrainResult:
        """Train until the last step, the time limit, a signal or a hook that asks for it.

        Hooks see the last step as such, and save there.

        Raises:
            HornbookError: whatever a hook or the data ends the run with.
        """
        self._first_step, self._started = self.state.step, self.clock()
        stop = self._ended_before()
        self.learner.model.train()
        with Preemption() as preemption, self._prefetcher() as stream:
            while stop is None:
                begun = self.clock()
                step, micro_batches = next(stream)
                waited = self.clock() - begun
                report = self._step(step, micro_batches)
                elapsed = self.clock() - self._started
                stop = self._stop_reason(preemption, elapsed)
                moment = Moment(
                    step=self.state.step,
                    state=self.state,
                    report=report,
                    seconds=self.clock() - begun,
                    waited=waited,
                    seconds_left=self._seconds_left(elapsed),
                    stop=stop,
                )
                stop = self._call_hooks(moment)
        return TrainResult(state=self.state, stop_reason=stop, seconds=self.clock() - self._started)

    def repeat(self, last_step: int) -> StepReport | None:
        """Train until `last_step` steps are done, without hooks, limits or signals: what a run did before.

        Returns the report of the last one; None if so many were done already.
        """
        report = None
        self.learner.model.train()
        with self._prefetcher() as stream:
            while self.state.step < last_step:
                report = self._step(*next(stream))
        return report

    def _step(self, step: int, micro_batches: Sequence[B]) -> StepReport:
        at = StepContext(seed=self.seed, step=step, samples_per_step=self.samples_per_step)
        report, state = self._fitting_step(micro_batches, at), self.state
        state.advance(tokens=report.tokens, skip=report.skip_reason, overflowed=report.overflowed)
        if self.config.spike_sigma is not None and not (report.skipped or report.overflowed):
            state.remember(loss=report.loss, grad_norm=report.grad_norm, window=self.config.spike_window)
        crash_point("train:step")
        return report

    def _fitting_step(self, micro_batches: Sequence[B], at: StepContext) -> StepReport:
        """The step as it can be computed: out of memory, it is done again in smaller micro-batches, and so is all that
        follows; where compiling fails, without."""
        while True:
            rows = rows_at(self.shrunk, at.step)
            batches = micro_batches if rows is None else cut(micro_batches, rows)
            failure: MicroBatchTooLarge | CompilerFailed
            try:
                return train_step(
                    self.learner,
                    batches,
                    at,
                    multiplier=self.schedule(self.state.updates),
                    loss_scale=self.state.loss_scale,
                    limits=self._limits(),
                )
            except (MicroBatchTooLarge, CompilerFailed) as error:
                failure = without_frames(error)
            if isinstance(failure, CompilerFailed):
                self._retreat_from_compiling(failure, at.step)
            else:
                self._retreat_from_memory(failure, at.step, batches[0].n_rows)

    def _retreat_from_compiling(self, failure: CompilerFailed, step: int) -> None:
        self.learner.model.compiled = False
        if isinstance(self.learner.optimizer, RuledOptimizer):
            self.learner.optimizer.run_eagerly()
        line = f"step {step + 1}: compiling failed, so the run goes on without ({failure})"
        self.on_retreat(step + 1, line, {"compile": False})

    def _retreat_from_memory(self, failure: MicroBatchTooLarge, step: int, rows: int) -> None:
        fewer = smaller(rows)
        if fewer is None:
            raise TrainingError(
                f"step {step + 1}: out of memory with one window in a micro-batch ({failure}). Set "
                "train.activation_checkpointing = true, or train a smaller model or a shorter context_length"
            )
        release_cached(self.learner.precision.device)
        self.shrunk = shrunk_at(self.shrunk, step, fewer)
        line = f"step {step + 1}: out of memory, from here on in micro-batches of {fewer} instead of {rows}"
        self.on_retreat(step + 1, line, {"shrunk": self.shrunk})

    def _limits(self) -> SpikeLimits:
        losses, grad_norms = self.state.recent_losses, self.state.recent_grad_norms
        return spike_limits(losses, grad_norms, sigma=self.config.spike_sigma, window=self.config.spike_window)

    def _call_hooks(self, moment: Moment) -> StopReason | None:
        """Every hook in its order; those after one that asks for the end see the step as the last."""
        for hook in self.hooks:
            asked = hook(moment)
            if moment.stop is None and asked is not None:
                moment = replace(moment, stop=asked)
        return moment.stop

    def _prefetcher(self) -> Prefetcher[B]:
        return Prefetcher(
            self.batches,
            first_step=self.state.step,
            last_step=self.config.steps,
            threads=self.loader_threads,
            depth=self.prefetch,
            pin=self.learner.precision.device.type == "cuda",
        )

    def _ended_before(self) -> StopReason | None:
        """Why there is nothing left to do at the start, for instance in a run that stopped early and is resumed."""
        if self.state.step >= self.config.steps:
            return "finished"
        return "early_stopped" if out_of_patience(self.state, self.config.patience) else None

    def _stop_reason(self, preemption: Preemption, elapsed: float) -> StopReason | None:
        limit = self.config.max_minutes
        flags = self.learner.strategy.agree(
            Flags(
                preempted=preemption.requested is not None,
                out_of_time=limit is not None and elapsed >= 60.0 * limit,
            )
        )
        if self.state.step >= self.config.steps:
            return "finished"
        if flags.preempted:
            return "preempted"
        return "max_minutes" if flags.out_of_time else None

    def _seconds_left(self, elapsed: float) -> float:
        steps_done = self.state.step - self._first_step
        by_steps = (self.config.steps - self.state.step) * elapsed / steps_done
        limit = self.config.max_minutes
        return by_steps if limit is None else min(by_steps, max(0.0, 60.0 * limit - elapsed))

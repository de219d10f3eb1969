"""What is remembered of a step that was left out, and when a row of them ends the run.

One line of RUN/skipped.jsonl a step, synced before training goes on: which rows it was made of and where they stand in
the data. A resumed run repeats what lies beyond its checkpoint, so the last line of a step is the one that counts.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hornbook.config.train import TrainConfig
from hornbook.data.loader import RowOrigin
from hornbook.errors import TrainingError
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.jsonl import MetricsFile, json_line
from hornbook.tracking.tracker import Tracker
from hornbook.training.hooks import Moment
from hornbook.training.skipping import SpikeLimits, spike_limits


class RecordSkipped:
    """Event `skipped` and a line of RUN/skipped.jsonl for each step that was left out; ends a run that is lost."""

    def __init__(
        self,
        tracker: Tracker,
        *,
        run: RunDir,
        rows: Callable[[int], Sequence[RowOrigin]],
        config: TrainConfig,
        writes: bool = True,
        settle: Callable[[], None] = lambda: None,
    ) -> None:
        """`rows` says where the rows of a step, counted from 0, come from. One process `writes` for all.

        `settle` waits until the newest checkpoint is complete: it is named when the run ends.
        """
        self.writes = writes
        self.settle = settle
        self.tracker = tracker
        self.run = run
        self.rows = rows
        self.config = config

    def __call__(self, at: Moment) -> None:
        """Record the step if it was left out.

        Raises:
            TrainingError: if it was one of too many in a row.
        """
        report, state = at.report, at.state
        if report.skip_reason is None:
            return
        rows = self.rows(at.step - 1)
        said = {
            "reason": report.skip_reason,
            "loss": report.loss,
            "grad_norm": report.grad_norm,
            "in_a_row": state.skipped_in_a_row,
            "checkpoint_path": _checkpoint(self.run, state.full_checkpoint_step),
        }
        limits = {name: limit for name, limit in dataclasses.asdict(self._limits(at)).items() if math.isfinite(limit)}
        record = {"step": at.step, "time": round(time.time(), 3), **said, "limits": limits}
        line = json_line({**record, "rows": [dataclasses.asdict(row) for row in rows]})
        if self.writes:
            append_durably(self.run.skipped_file, line)
        samples = {"first_sample": rows[0].sample, "last_sample": rows[-1].sample} if rows else {}
        self.tracker.log("skipped", at.step, {f"skipped/{name}": value for name, value in {**said, **samples}.items()})
        if state.skipped_in_a_row >= self.config.max_skipped_in_a_row:
            self.settle()
            raise TrainingError(self._lost(at))

    def _limits(self, at: Moment) -> SpikeLimits:
        losses, grad_norms = at.state.recent_losses, at.state.recent_grad_norms
        return spike_limits(losses, grad_norms, sigma=self.config.spike_sigma, window=self.config.spike_window)

    def _lost(self, at: Moment) -> str:
        """A single bad batch is left out and counted; a row of them means that the run itself is lost."""
        report, count, root = at.report, at.state.skipped_in_a_row, self.run.root
        first = at.step - count + 1
        saved = _checkpoint(self.run, at.state.full_checkpoint_step)
        which = f"steps {first} to {at.step}" if count > 1 else f"step {at.step}"
        now = f"now loss {report.loss:.6g}, gradient norm {report.grad_norm:.6g}"
        if report.skip_reason in ("loss_spike", "gradient_spike"):
            limits = self._limits(at)
            what = (
                f"loss or gradient norm was above mean + {self.config.spike_sigma:g} standard deviations {count} times "
                f"in a row ({now}; limits {limits.loss:.6g} and {limits.grad_norm:.6g}): no spike, but a new level"
            )
            how = 'a larger train.spike_sigma (or "none")'
        else:
            what = f"loss or gradient was not finite {count} times in a row ({now})"
            how = "a larger train.max_skipped_in_a_row, if only these examples are bad"
        look = f"`hornbook train --replay-step {first} --resume {root}` names module and rows ({self.run.skipped_file})"
        if saved is None:
            return f"{which}: {what}. {look}. No full checkpoint was made yet: start a new run, {_CALMER}"
        return (
            f"{which}: {what}. {look}. The last good checkpoint is {saved}: go on from it (--resume {root}) with "
            f"{how}, or start a new run from its weights (model.init_from), {_CALMER}"
        )


_CALMER = "with a lower optim.learning_rate, a longer warm-up or a smaller optim.clip_grad_norm"


def _checkpoint(run: RunDir, step: int | None) -> str | None:
    return None if step is None else str(run.checkpoints / f"step-{step:08d}")


def append_durably(path: Path, line: str) -> None:
    """Append one line to a file and wait until the disk has it.

    Raises:
        StorageError: if the disk refuses.
    """
    file = MetricsFile(path)
    try:
        file.write(line)
    finally:
        file.close()

"""A step of a run once more: from the nearest checkpoint before it, by the run's own objects, and nothing written."""

from pathlib import Path

from hornbook.assemble import build_job
from hornbook.checkpoint.load import Checkpoint
from hornbook.config.run import Config
from hornbook.data.mixture import Mixture
from hornbook.distributed.device import explained_nondeterminism
from hornbook.errors import CheckpointError, ConfigError
from hornbook.storage.run_dir import RunDir, list_checkpoints
from hornbook.training.choices import Choices
from hornbook.training.reference_scores import settle_reference
from hornbook.training.replay import Replay, replay
from hornbook.training.resume import find_checkpoint, find_run, settings_of
from hornbook.training.run_record import silent


def replay_step(config: Config, run: Path, *, step: int) -> Replay:
    """Do step `step` (1 is the first) of the run at `run` again, under watch.

    `config` is the run's own; what a resumed run may change, such as run.device or data.path, may differ.

    Raises:
        ConfigError: if the run has no such step.
        HornbookError: whatever keeps the run from going on.
    """
    if not 1 <= step <= config.train.steps:
        raise ConfigError(f"--replay-step {step}: the run has the steps 1 to {config.train.steps} (train.steps)")
    run_dir = find_run(config, run)
    if run_dir is None:
        raise CheckpointError(f"{run}: no such run; name a run directory")
    settings_of(run_dir, config)
    data = Mixture.open(config.data)
    checkpoint, kept = _nearest(run_dir, step - 1, data_digest=data.digest), Choices.read(run_dir.choices_file)
    job, state = build_job(config, data, checkpoint, kept)
    if state.step >= step:
        raise ConfigError(
            f"--replay-step {step}: this branch begins after step {state.step}; replay earlier steps in "
            f"{_trunk(config)}"
        )
    given = (config, job.learner, job.reading, data.digest, run_dir, job.processes, silent().tracker)
    settle_reference(*given, tokens=job.tokenizer.vocab_size)
    trainer = job.trainer(state, hooks=[])
    with job.computing(), explained_nondeterminism():
        return replay(trainer, job.batches, job.tokenizer, step=step)


def _trunk(config: Config) -> Path:
    assert config.run.branch_from is not None, "only a branch begins after its first step"
    return RunDir.open(config.run.branch_from).root


def _nearest(run_dir: RunDir, steps_done: int, *, data_digest: str) -> Checkpoint | None:
    """The newest full checkpoint of at most so many steps; None where there is none, and the run begins again."""
    before = [
        entry for entry in list_checkpoints(run_dir.checkpoints) if entry.kind == "full" and entry.step <= steps_done
    ]
    return find_checkpoint(run_dir, before[-1].path, data_digest=data_digest) if before else None

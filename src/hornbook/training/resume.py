"""Which run to go on with, from where, and whether it would still be the same run."""

from pathlib import Path

from hornbook.checkpoint.load import Checkpoint, load_checkpoint
from hornbook.config.dump import config_hash
from hornbook.config.load import leaf_values, load_config
from hornbook.config.run import Config
from hornbook.errors import CheckpointError
from hornbook.optim.schedules import multiplier
from hornbook.storage.run_dir import RunDir, latest_run, list_checkpoints
from hornbook.training.reference import kind_of

MAY_CHANGE = (
    *("run.name", "run.out_dir", "run.tags", "run.notes", "run.device", "run.threads", "tracking.", "checkpoint."),
    *("train.steps", "train.max_minutes", "train.log_every", "train.sample_", "generate.", "eval."),
    *("train.patience", "train.max_skipped_in_a_row", "train.spike_", "train.micro_batch_size", "distributed."),
    *("data.loader_threads", "data.prefetch", "data.workers", "data.path", "data.mixture", "tokenizer.path"),
    "objective.reference_from",
)
"""Settings (or tables) that may differ when a run goes on; with any other it would be another run.

Data, tokenizer and reference may have moved: what they hold is compared by digest and fingerprint.
"""


LARGEST_JUMP = 0.1
"""By which share another train.steps may change the learning rate without a word."""


def find_run(config: Config, resume: bool | Path) -> RunDir | None:
    """The run to go on with: the one that a path or else run.name names, or else the newest of the same configuration.

    None if that does not exist. A run of the same configuration under another name is another run: a repetition.

    Raises:
        CheckpointError: if there is no run at the path.
    """
    if not isinstance(resume, Path):
        if config.run.name is None:
            wanted = config_hash(config)
            return latest_run(config.run.out_dir, lambda run: run.provenance().get("config_hash") == wanted)
        resume = config.run.out_dir / config.run.name
        if not resume.exists() or RunDir(resume).is_blank:
            return None
    return RunDir.open(resume)


def find_checkpoint(run_dir: RunDir, resume: bool | Path, *, data_digest: str) -> Checkpoint | None:
    """The checkpoint to go on from: the one that `resume` names, or else the run's newest full one.

    None if the run ended before its first, and so starts again from nothing.

    Raises:
        CheckpointError: if it is damaged or not a full one, or the run was trained on data of another digest.
    """
    if isinstance(resume, Path) and resume.resolve().parent == run_dir.checkpoints.resolve():
        checkpoint = load_checkpoint(resume)
    elif any(entry.kind == "full" for entry in list_checkpoints(run_dir.checkpoints)):
        checkpoint = load_checkpoint(run_dir.root)
    else:
        return None
    if checkpoint.kind != "full":
        raise CheckpointError(
            f"{checkpoint.path}: a light checkpoint, without the optimizer's state; resume from a full one, or start "
            f"a new run from its weights: --set 'model.init_from=\"{checkpoint.path}\"'"
        )
    if run_dir.provenance().get("data_digest", data_digest) != data_digest:
        raise other_data(run_dir)
    return checkpoint


def other_data(run_dir: RunDir) -> CheckpointError:
    """The error of going on with a run on other data."""
    return CheckpointError(
        f"{run_dir.root}: the data set has been made anew with other content since this run began; prepare the "
        f"former one, or start a new run from its weights: --set 'model.init_from=\"{run_dir.root}\"'"
    )


def changed_rate(before: Config, now: Config, *, updates: int) -> list[str]:
    """A line for people where another train.steps moves the learning rate at which the run goes on; else none."""
    old, new = (
        multiplier(config.schedule, updates, config.train.steps, config.model.d_model) for config in (before, now)
    )
    if abs(new - old) <= LARGEST_JUMP * old:
        return []
    return [
        f"train.steps = {now.train.steps}, in the run {before.train.steps}: the schedule is another, and the learning "
        f"rate goes on at {new:.3g} of its peak instead of {old:.3g}. To train longer at a low rate, start a run from "
        "these weights; to cool down from an earlier step, use --branch-from"
    ]


def settings_of(run_dir: RunDir, config: Config) -> Config | None:
    """What the run was trained with so far; None if it was killed in its first instant and is nothing yet.

    Raises:
        CheckpointError: if `config`, by which it is to go on, differs in what may not change.
    """
    if not run_dir.config_file.is_file():
        return None
    before = load_config(run_dir.config_file).config
    if listed := differences(before, config, MAY_CHANGE, where="in the run"):
        raise CheckpointError(
            f"{run_dir.root}: with other settings it would be another run: {listed}. Leave them as they were, or "
            f"start a new run from its weights: --set 'model.init_from=\"{run_dir.root}\"'"
        )
    return before


def differences(before: Config, now: Config, may_change: tuple[str, ...], *, where: str) -> str:
    """The settings that differ, in words, but for those (or the tables) in `may_change`; `where` names `before`.

    Of a table of another kind only that is said. Empty if there are none.
    """
    old, new = leaf_values(before), leaf_values(now)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and not key.startswith(may_change)]
    of_another_kind = tuple(key.removesuffix("kind") for key in changed if key.endswith(".kind"))
    changed = [key for key in changed if key.endswith(".kind") or not key.startswith(of_another_kind)]
    if kind_of(before) != kind_of(now) and not changed:  # adapters are a reference that lies nowhere else
        changed = ["objective.reference_from"]
    return "; ".join(f"{key} = {new.get(key)!r}, {where} {old.get(key)!r}" for key in changed)

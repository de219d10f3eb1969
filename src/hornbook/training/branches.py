"""Branches: many cooldowns from one trunk, each a run of its own.

    trunk     warm-up ──────────── plateau ───────────────────→        schedule wsd or constant
    branches                └ STEP ─ cooldown, N steps    └ another

A branch's configuration is its trunk's with `run.branch_from`, STEP + N steps and a decay over the last N of them. Data
order and noise are functions of the step, so it is an unbroken wsd run of STEP + N steps that was spared its beginning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hornbook.checkpoint.load import Checkpoint, load_checkpoint
from hornbook.config.load import leaf_values, load_config
from hornbook.config.optim import ConstantSchedule, ScheduleFreeAdamWConfig, WsdSchedule
from hornbook.config.run import Config
from hornbook.errors import CheckpointError, ConfigError
from hornbook.optim.schedules import plateau_end, warmup_steps
from hornbook.storage.run_dir import CheckpointEntry, RunDir, list_checkpoints, read_entry, resolve_checkpoint
from hornbook.training.choices import Choices
from hornbook.training.reference import IDENTITY_FILE, Identity, kind_of, path_of
from hornbook.training.resume import MAY_CHANGE, differences, other_data

BRANCH_MAY_CHANGE = (*MAY_CHANGE, "run.branch_from", "model.init_from", "schedule.", "train.eval_")
"""What a branch may set otherwise than its trunk; of the schedule, all but what the steps before it had."""


@dataclass(frozen=True, kw_only=True)
class Trunk:
    """A run that can be branched from, as it was configured."""

    run: RunDir
    config: Config
    first: int
    """The first step at whose end the learning rate is at its peak."""
    last: int | None
    """The last such step; None if it never leaves the peak."""

    @classmethod
    def open(cls, path: Path) -> "Trunk":
        """The run at `path`, or that of the checkpoint `path`.

        Raises:
            CheckpointError: if there is no run.
            ConfigError: if its schedule has no plateau, or its optimizer no use for a cooldown.
        """
        run = RunDir.open(path)
        config = load_config(run.config_file).config
        schedule, total = config.schedule, config.train.steps
        if isinstance(config.optim, ScheduleFreeAdamWConfig):
            raise ConfigError(
                f"{run.root}: it trains by {config.optim.kind}, whose average needs no cooldown; go on with the run "
                f"itself (--resume {run.root} with more train.steps), or take a trunk of another optim.kind"
            )
        last: int | None
        match schedule:
            case WsdSchedule():
                last = plateau_end(schedule, total)
            case ConstantSchedule():
                last = None
            case _:
                raise ConfigError(
                    f"{run.root}: its schedule is {schedule.kind}, whose learning rate falls all the way to step "
                    f"{total}: a cooldown needs a plateau to start from; train a trunk with schedule.kind = "
                    '"wsd" or "constant"'
                )
        return cls(run=run, config=config, first=max(1, warmup_steps(schedule, total)), last=last)

    def check(self, step: int) -> None:
        """Refuse a step that is not on the plateau.

        Raises:
            ConfigError: naming the full checkpoints that are.
        """
        if self.first <= step and (self.last is None or step <= self.last):
            return
        where = (
            f"in its warm-up, which ends at step {self.first}"
            if step < self.first
            else f"in its own decay, which begins after step {self.last}"
        )
        raise ConfigError(f"{self.run.root}: step {step} lies {where}; branch from the plateau ({self._on_plateau()})")

    def _on_plateau(self) -> str:
        steps = [
            entry.step
            for entry in list_checkpoints(self.run.checkpoints)
            if entry.kind == "full" and self.first <= entry.step and (self.last is None or entry.step <= self.last)
        ]
        if steps:
            return f"full checkpoints there: {', '.join(map(str, steps))}"
        return "no full checkpoint is left there; see checkpoint.full_every and checkpoint.full_keep"


def branch_config(point: str, cooldown: int, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a branch of `cooldown` steps.

    `point` is RUN@STEP, a checkpoint, or (the newest) RUN@LATEST or RUN; `overrides` are `--set` arguments.

    Raises:
        CheckpointError: if there is no such run, or it has no full checkpoint there; the nearest is named.
        ConfigError: if the run or the step cannot be branched from, or a setting may not change.
    """
    path, step = _parse(point)
    trunk = Trunk.open(path)
    entry = _entry(trunk, path, step)
    trunk.check(entry.step)
    # The kind goes first: a constant trunk's table would else take the overrides of the decay with it.
    settings = ['schedule.kind="wsd"', *overrides]
    chosen = load_config(trunk.run.config_file, settings).config
    decided: dict[str, object] = {
        "run.branch_from": str(entry.path),
        "train.steps": entry.step + cooldown,
        "schedule.kind": "wsd",
        "schedule.warmup_steps": warmup_steps(_plateau(trunk.config), trunk.config.train.steps),
        "schedule.warmup_fraction": None,
        "schedule.decay_steps": cooldown,
        "schedule.decay_fraction": None,
        "model.init_from": None,
        **_reference(trunk),
    }
    _check_undecided(trunk, chosen, decided)
    if chosen.run.name == trunk.config.run.name:
        decided["run.name"] = f"{trunk.run.root.name}-step{entry.step}-cooldown{cooldown}"
    if chosen.run.out_dir == trunk.config.run.out_dir:
        decided["run.out_dir"] = str(trunk.run.root.parent)
    config = load_config(trunk.run.config_file, settings, values=decided).config
    _check_same(trunk, config)
    return config


def find_branch_point(config: Config, *, data_digest: str) -> Checkpoint | None:
    """The checkpoint that `run.branch_from` names; None if the run is no branch.

    Raises:
        CheckpointError: if it is gone, damaged or not a full one, or the data are others than the trunk's.
        ConfigError: if the configuration is not the trunk's up to there.
    """
    path = config.run.branch_from
    if path is None:
        return None
    if read_entry(path) is None:
        raise CheckpointError(
            f"run.branch_from = {path}: there is no such checkpoint, perhaps no longer (checkpoint.full_keep of the "
            "trunk says how many stay); start a new branch from another one"
        )
    trunk = Trunk.open(path)
    checkpoint = load_checkpoint(path)
    if checkpoint.kind != "full":
        raise _light(checkpoint.path)
    trunk.check(checkpoint.step)
    _check_same(trunk, config)
    _check_schedule(trunk, config, checkpoint.step)
    if trunk.run.provenance().get("data_digest", data_digest) != data_digest:
        raise other_data(trunk.run)
    return checkpoint


def trunk_choices(config: Config) -> Choices | None:
    """The choices of the run that `run.branch_from` names: a branch computes as its trunk did."""
    path = config.run.branch_from
    return None if path is None else Choices.read(RunDir.open(path).choices_file)


def _parse(point: str) -> tuple[Path, int | None]:
    """The path and the step; None is the newest full checkpoint."""
    if Path(point).exists():
        return Path(point), None
    path, at, step = point.rpartition("@")
    if at and (step == "LATEST" or step.isdecimal()):
        return Path(path), None if step == "LATEST" else int(step)
    raise ConfigError(f"--branch-from {point}: no such run; expected RUN, RUN@STEP or RUN@LATEST")


def _entry(trunk: Trunk, path: Path, step: int | None) -> CheckpointEntry:
    """The full checkpoint that is meant."""
    root = trunk.run.root
    entries = list_checkpoints(trunk.run.checkpoints)
    full = [entry for entry in entries if entry.kind == "full"]
    if step is not None:
        found = next((entry for entry in [*full, *entries] if entry.step == step), None)
        if found is None:
            raise CheckpointError(f"{root}: no checkpoint of step {step}; {_nearest(full, step)}")
    else:
        found = read_entry(path) or (read_entry(resolve_checkpoint(root)) if full else None)
        if found is None:
            raise CheckpointError(f"{root}: no full checkpoint yet to branch from; see checkpoint.full_every")
    if found.kind != "full":
        raise _light(found.path)
    return found


def _nearest(full: Sequence[CheckpointEntry], step: int) -> str:
    if not full:
        return "it has no full checkpoint yet; see checkpoint.full_every"
    nearest = min(full, key=lambda entry: abs(entry.step - step))
    steps = ", ".join(str(entry.step) for entry in full)
    return f"the nearest full one is of step {nearest.step} (there are {steps})"


def _light(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: a light checkpoint, without the optimizer's state, cannot be branched from; take a full one "
        "(checkpoint.full_every)"
    )


def _plateau(config: Config) -> WsdSchedule | ConstantSchedule:
    assert isinstance(config.schedule, WsdSchedule | ConstantSchedule)
    return config.schedule


def _reference(trunk: Trunk) -> dict[str, object]:
    """What preferences are compared with stays what it was; a branch itself starts from elsewhere.

    A path to a run means its newest checkpoint, which by now may be another one than the trunk's.
    """
    if kind_of(trunk.config) not in ("copy", "precomputed"):
        return {}
    known = Identity.read(trunk.run.reference / IDENTITY_FILE)
    is_there = known is not None and Path(known.checkpoint).exists()
    return {"objective.reference_from": known.checkpoint if known and is_there else str(path_of(trunk.config))}


def _check_undecided(trunk: Trunk, chosen: Config, decided: dict[str, object]) -> None:
    """Refuse `--set` of what the branch itself decides: it would have no effect."""
    before = leaf_values(load_config(trunk.run.config_file, ['schedule.kind="wsd"']).config)
    after = leaf_values(chosen)
    given = [key for key in decided if before.get(key) != after.get(key)]
    if given:
        raise ConfigError(f"--set {', '.join(given)}: a branch gets this from its trunk and --cooldown; leave it")


def _check_same(trunk: Trunk, config: Config) -> None:
    if listed := differences(trunk.config, config, BRANCH_MAY_CHANGE, where="in the trunk"):
        raise ConfigError(
            f"{trunk.run.root}: a branch goes on as its trunk did: {listed}. Leave them as they were, or start a new "
            f"run from its weights: --set 'model.init_from=\"{trunk.run.root}\"'"
        )


def _check_schedule(trunk: Trunk, config: Config, step: int) -> None:
    """What a hand-written configuration may get wrong: the learning rate before the branch must be the trunk's."""
    schedule, total = config.schedule, config.train.steps
    warmup = warmup_steps(_plateau(trunk.config), trunk.config.train.steps)
    match schedule:
        case WsdSchedule() if plateau_end(schedule, total) >= step and warmup_steps(schedule, total) == warmup:
            return
    raise ConfigError(
        f"run.branch_from = {config.run.branch_from}: up to step {step} the schedule must be the trunk's: "
        f'schedule.kind = "wsd", warmup_steps = {warmup} and decay_steps at most train.steps - {step} = {total - step}'
    )

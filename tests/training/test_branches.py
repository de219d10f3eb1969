"""Branches: the learning rate at the boundary, equality with an unbroken run, kill and resume, and every refusal."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from cut_run import cut_short
from hornbook import assemble
from hornbook.checkpoint.manifest import read_manifest
from hornbook.config.dump import to_toml
from hornbook.config.load import load_config
from hornbook.config.optim import WsdSchedule
from hornbook.errors import CheckpointError, ConfigError
from hornbook.optim.schedules import multiplier, plateau_end
from hornbook.storage.run_dir import MANIFEST, RunDir, pointed
from hornbook.tracking.jsonl import read_metrics
from hornbook.training.branches import branch_config, find_branch_point
from hornbook.training.state import TrainState
from tiny_project import load, make_project

WSD = {"schedule__kind": "wsd", "schedule__warmup_steps": 2, "schedule__decay_fraction": 0.25}
CLOCKS = (
    "time",
    "train/data_wait",
    "train/tokens_per_second",
    "train/seconds_left",
    "train/mfu",
    "train/peak_memory_bytes",
)


def fake_run(root, *, schedule='kind = "wsd"\nwarmup_steps = 4', steps=40, full=(2, 10, 20, 35, 40), light=(15,)):
    """A run's directory with checkpoints that consist of a manifest only."""
    run = RunDir.create(root, "trunk")
    given = root / "given.toml"
    given.write_text(f"[schedule]\n{schedule}\n[train]\nsteps = {steps}\n")
    run.config_file.write_text(to_toml(load_config(given).config))
    for step in (*full, *light):
        directory = run.checkpoints / f"step-{step:08d}"
        directory.mkdir()
        kind = "full" if step in full else "light"
        (directory / MANIFEST).write_text(json.dumps({"step": step, "kind": kind}))
    return run


# Learning rate


@pytest.mark.parametrize("shape", ["linear", "sqrt", "cosine"])
@pytest.mark.parametrize("final", [0.0, 0.1])
def test_the_plateau_ends_at_the_peak_and_the_cooldown_at_its_final_value(shape, final):
    schedule = WsdSchedule(warmup_steps=3, decay_steps=8, decay_shape=shape, final_fraction=final)
    values = [multiplier(schedule, step, 28, 16) for step in range(40)]
    assert values[2:20] == [1.0] * 18  # updates 3 to 20, of which the last is the trunk's last
    assert values[20] < 1.0
    assert values[20:28] == sorted(values[20:28], reverse=True)
    last = final if final else multiplier(schedule.__class__(decay_steps=8, decay_shape=shape), 27, 28, 16)
    assert values[27] == pytest.approx(last)
    assert values[28:] == [values[27]] * 12  # clamped past the end: never lower, never negative
    if final == 0.0:
        assert values[27] > 0.0


def test_decay_steps_and_the_fraction_that_amounts_to_them_are_the_same():
    by_steps, by_fraction = WsdSchedule(decay_steps=10), WsdSchedule(decay_fraction=0.25)
    assert [multiplier(by_steps, s, 40, 1) for s in range(45)] == [multiplier(by_fraction, s, 40, 1) for s in range(45)]
    assert plateau_end(by_steps, 40) == 30


def test_the_length_of_a_decay_is_said_once(tmp_path):
    config = load_config(None, ['schedule={kind="wsd", decay_steps=7}']).config
    assert config.schedule == WsdSchedule(decay_steps=7)
    assert config.schedule.decay_fraction is None
    path = tmp_path / "a.toml"
    path.write_text(to_toml(config))
    assert load_config(path).config == config
    for wrong in ("decay_steps=7, decay_fraction=0.2", 'decay_fraction="none"'):
        with pytest.raises(ConfigError, match="give decay_steps or decay_fraction"):
            load_config(None, [f'schedule={{kind="wsd", {wrong}}}'])


# The configuration of a branch


def test_a_branch_is_its_trunk_with_a_cooldown(tmp_path):
    run = fake_run(tmp_path)
    trunk = load_config(run.config_file).config
    branch = branch_config(f"{run.root}@20", 8)
    assert branch.run.branch_from == run.checkpoints / "step-00000020"
    assert branch.run.name == "trunk-step20-cooldown8"
    assert branch.run.out_dir == tmp_path
    assert branch.train.steps == 28
    assert branch.schedule == WsdSchedule(warmup_steps=4, decay_steps=8)
    assert (branch.model, branch.data, branch.optim) == (trunk.model, trunk.data, trunk.optim)


def test_a_warm_up_that_is_a_fraction_of_the_trunk_stays_as_long(tmp_path):
    run = fake_run(tmp_path, schedule='kind = "constant"\nwarmup_fraction = 0.1')
    branch = branch_config(f"{run.root}@40", 100, ["schedule.decay_shape='sqrt'", "schedule.final_fraction=0.1"])
    assert branch.schedule == WsdSchedule(warmup_steps=4, decay_steps=100, decay_shape="sqrt", final_fraction=0.1)


def test_without_a_step_it_is_the_newest_full_checkpoint(tmp_path):
    run = fake_run(tmp_path, schedule='kind = "constant"', light=(50,))
    named = run.checkpoints / "step-00000010"
    for point, step in (
        (run.root, 40),
        (f"{run.root}@LATEST", 40),
        (named, 10),
    ):
        assert branch_config(str(point), 5).train.steps == step + 5


def test_names_and_trackers_may_differ(tmp_path):
    run = fake_run(tmp_path)
    settings = ["run.name='b'", f"run.out_dir='{tmp_path / 'other'}'", "train.eval_every=3", "checkpoint.full_every=2"]
    branch = branch_config(f"{run.root}@20", 8, settings)
    assert (branch.run.name, branch.run.out_dir, branch.train.eval_every) == ("b", tmp_path / "other", 3)


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("@19", "no checkpoint of step 19; the nearest full one is of step 20 \\(there are 2, 10, 20, 35, 40\\)"),
        ("@15", "step-00000015: a light checkpoint"),
        ("@35", "its own decay, which begins after step 32; branch from the plateau .full checkpoints there: 10, 20"),
        ("", "step 40 lies in its own decay"),
        ("@2", "in its warm-up, which ends at step 4"),
        ("@many", "expected RUN, RUN@STEP or RUN@LATEST"),
        ("x@10", "not a run"),
    ],
)
def test_a_point_that_cannot_be_branched_from_is_refused(tmp_path, point, said):
    run = fake_run(tmp_path)
    with pytest.raises((CheckpointError, ConfigError), match=said):
        branch_config(f"{run.root}{point}", 8)


def test_a_run_without_a_schedule_has_no_cooldown(tmp_path):
    run = fake_run(tmp_path, schedule='kind = "constant"\n[optim]\nkind = "schedule_free_adamw"')
    with pytest.raises(ConfigError, match=r"schedule_free_adamw, whose average needs no cooldown; .*--resume"):
        branch_config(f"{run.root}@20", 8)


@pytest.mark.parametrize("kind", ["cosine", "linear", "noam"])
def test_a_trunk_whose_rate_falls_all_the_way_is_refused(tmp_path, kind):
    run = fake_run(tmp_path, schedule=f'kind = "{kind}"\nwarmup_steps = 4')
    with pytest.raises(ConfigError, match=f"its schedule is {kind}.*a cooldown needs a plateau.*constant"):
        branch_config(f"{run.root}@20", 8)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.d_model=32", "model.d_model = 32, in the trunk"),
        ("data.path='elsewhere'", None),
        ("run.seed=1", "run.seed = 1, in the trunk 1337"),
        ("optim.learning_rate=1.0", "optim.learning_rate"),
        ("train.tokens_per_step=8192", "train.tokens_per_step"),
        ("train.steps=9", "train.steps: a branch gets this from its trunk and --cooldown"),
        ("schedule.warmup_steps=9", "schedule.warmup_steps: a branch gets this"),
        ("schedule.kind='cosine'", "schedule.kind.*: a branch gets this"),
    ],
)
def test_only_what_may_change_may_change(tmp_path, setting, said):
    run = fake_run(tmp_path)
    if said is None:
        branch_config(f"{run.root}@20", 8, [setting])
    else:
        with pytest.raises(ConfigError, match=said):
            branch_config(f"{run.root}@20", 8, [setting])


def test_a_trunk_without_full_checkpoints_says_so(tmp_path):
    run = fake_run(tmp_path, full=(), light=(10,))
    for point in ("", "@10", "@11"):
        with pytest.raises(CheckpointError, match="full"):
            branch_config(f"{run.root}{point}", 8)


def test_a_branch_written_by_hand_is_checked_too(tmp_path):
    run = fake_run(tmp_path)
    branch = branch_config(f"{run.root}@20", 8)
    shutil.rmtree(run.checkpoints / "step-00000020")
    with pytest.raises(CheckpointError, match="no such checkpoint, perhaps no longer"):
        find_branch_point(branch, data_digest="")


def test_the_best_of_the_trunk_does_not_hide_the_branchs():
    state = TrainState(
        step=20, tokens_seen=99, skipped_for={"loss": 1}, best_loss=1.0, best_step=10, full_checkpoint_step=20
    )
    branched = state.branched()
    assert (branched.step, branched.tokens_seen, branched.updates) == (20, 99, 19)
    assert branched.record_validation(2.0)
    assert state.best_loss == 1.0


# Whole runs


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("branches"))


@pytest.fixture(scope="module")
def runs(project, tmp_path_factory):
    """A trunk of 16 steps (warm-up 2, decay from 12 on, full checkpoints every 4), and an unbroken run to 14."""
    threads, root = torch.get_num_threads(), tmp_path_factory.mktemp("runs")
    kept = {"checkpoint__full_keep": 9, "model__dropout": 0.1, "run__out_dir": str(root)}
    assemble.train(load(project, run__name="trunk", train__steps=16, **WSD, **kept))
    schedule = {"schedule__kind": "wsd", "schedule__warmup_steps": 2, "schedule__decay_steps": 6}
    assemble.train(load(project, run__name="unbroken", train__steps=14, **schedule, **kept))
    torch.set_num_threads(threads)
    return root


@pytest.mark.medium
def test_a_branch_computes_as_its_trunk_did(runs, tmp_path):
    trunk = shutil.copytree(runs / "trunk", tmp_path / "trunk")
    path = trunk / "choices.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "plain_max_keys": 17, "shrunk": [[10, 1]]}))
    branch = assemble.train(branch_config(f"{trunk}@8", 4, [f"run.out_dir='{tmp_path}'"])).run_dir
    assert json.loads(branch.choices_file.read_text()) == json.loads(path.read_text())


def digests(run, step):
    """Weights and optimizer state."""
    files = read_manifest(run / f"checkpoints/step-{step:08d}").files
    return [files[f"{name}.safetensors"].sha256 for name in ("model", "optimizer")]


def numbers(run, *, after):
    return [
        {key: value for key, value in event.items() if key not in CLOCKS}
        for event in read_metrics(run / "metrics.jsonl")
        if event["event"] in ("train", "val") and event["step"] > after
    ]


@pytest.mark.medium
def test_a_branch_is_an_unbroken_run_of_the_same_length(runs, tmp_path):
    trained = assemble.train(branch_config(f"{runs / 'trunk'}@8", 6, [f"run.out_dir='{tmp_path}'"]))
    branch = trained.run_dir.root
    assert digests(branch, 14) == digests(runs / "unbroken", 14)
    assert numbers(branch, after=8) == numbers(runs / "unbroken", after=8)
    assert numbers(branch, after=0) == numbers(branch, after=8)
    assert trained.result.state.best_step in (12, 14)
    assert pointed(branch / "checkpoints", "best") is not None
    start = read_metrics(branch / "metrics.jsonl")[0]
    assert (start["step"], start["resumed"], start["total_steps"]) == (8, False, 14)
    assert trained.run_dir.provenance()["command"]


@pytest.mark.medium
def test_the_trunks_own_cooldown_is_a_branch_too(runs, tmp_path):
    branch = assemble.train(branch_config(f"{runs / 'trunk'}@12", 4, [f"run.out_dir='{tmp_path}'"])).run_dir.root
    assert digests(branch, 16) == digests(runs / "trunk", 16)


@pytest.mark.medium
@pytest.mark.parametrize("step", [8, 9, 13], ids=["at once", "before its first checkpoint", "after it"])
def test_a_branch_that_is_killed_goes_on_exactly(runs, tmp_path, monkeypatch, step):
    config = branch_config(f"{runs / 'trunk'}@8", 6, [f"run.out_dir='{tmp_path}'", "checkpoint.light_every=0"])
    cut_short(config, step, monkeypatch)
    branch = Path(config.run.out_dir) / str(config.run.name)
    assert (branch / "checkpoints/step-00000012").exists() == (step == 13)
    resumed = load_config(branch / "config.toml").config
    assert resumed == config
    assemble.train(resumed, resume=branch)
    assert digests(branch, 14) == digests(runs / "unbroken", 14)
    assert numbers(branch, after=0) == numbers(runs / "unbroken", after=8)


@pytest.mark.medium
def test_a_branch_of_other_data_is_refused(runs, tmp_path):
    config = branch_config(f"{runs / 'trunk'}@8", 6, [f"run.out_dir='{tmp_path}'"])
    with pytest.raises(CheckpointError, match="data set has been made anew"):
        find_branch_point(config, data_digest="another")

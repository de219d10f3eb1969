"""`hornbook train` with distributed.strategy = "fsdp": the run of one process, whoever dies and however many go on."""

import re
from pathlib import Path

import pytest
import torch

from distributed.test_runs import events, losses, run_of, train
from hornbook.checkpoint.load import load_checkpoint
from hornbook.cli.main import main
from hornbook.storage.run_dir import list_checkpoints
from tiny_project import make_project

pytestmark = pytest.mark.medium

FSDP = {"distributed.strategy": '"fsdp"'}
SHARDED = {**FSDP, "checkpoint.sharded": "true"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def one(project: Path) -> Path:
    done = train(project, "one", 1)
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture(scope="module")
def two(one: Path) -> Path:
    done = train(one, "two", 2, **SHARDED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return one


def test_two_processes_make_the_run_of_one(two: Path) -> None:
    # Sums in float32 in another order, twelve steps of Adam long.
    assert losses(two, "two") == pytest.approx(losses(two, "one"), rel=1e-4)
    for step, values in events(two, "one", "val").items():
        assert events(two, "two", "val")[step]["val/loss"] == pytest.approx(values["val/loss"], rel=1e-4)
    run, alone = run_of(two, "two"), run_of(two, "one")
    assert run.state == "finished"
    assert [path.name for path in sorted(run.samples.iterdir())] == [
        path.name for path in sorted(alone.samples.iterdir())
    ]
    assert [entry.step for entry in list_checkpoints(run.checkpoints)] == [
        entry.step for entry in list_checkpoints(alone.checkpoints)
    ]
    assert (list_checkpoints(run.checkpoints)[-1].path / "shards").is_dir()
    assert main(["checkpoint", "verify", str(run.root)]) == 0
    assert main(["generate", str(run.root), "--prompt", "a", "--set", "generate.max_new_tokens=2"]) == 0


def test_whatever_takes_a_run_takes_one_in_parts(two: Path, tmp_path: Path) -> None:
    root = run_of(two, "two").root
    sets = ["--set", 'tracking.console="none"', "--set", f'run.out_dir="{tmp_path}"']
    assert main(["train", "--replay-step", "8", str(root), *sets]) == 0
    start = [f'model.init_from="{root}"', 'run.name="started"', "train.steps=1"]
    assert main(["train", str(two), *sets, *(part for each in start for part in ("--set", each))]) == 0
    assert main(["eval", "perplexity", str(root)]) == 0
    assert main(["report", str(root)]) == 0


@pytest.mark.parametrize(
    "crash",
    [
        *(pytest.param(f"checkpoint:{point}@7", marks=pytest.mark.slow) for point in ("manifest", "rename", "latest")),
        "train:step@7#1",
    ],
)
def test_killed_while_a_save_is_under_way_it_goes_on_bit_for_bit(two: Path, crash: str) -> None:
    name = "killed-" + re.sub(r"\W", "-", crash)
    done = train(two, name, 2, crash=crash, **SHARDED)
    assert done.returncode == 2, done.stderr
    assert "was killed by SIGKILL" in done.stderr
    root = run_of(two, name).root
    assert load_checkpoint(root).step in (3, 6)
    again = train(two, name, 2, "--resume", **SHARDED)
    assert again.returncode == 0, again.stderr
    assert losses(two, name) == losses(two, "two")
    mine, theirs = load_checkpoint(root), load_checkpoint(run_of(two, "two").root)
    assert all(torch.equal(mine.weights[name], theirs.weights[name]) for name in theirs.weights)


def test_a_killed_rank_ends_the_job_with_one_message(two: Path) -> None:
    done = train(two, "lost", 2, crash="train:step@5#1", **FSDP)
    assert done.returncode == 2
    assert re.fullmatch(r"hornbook train: rank 1 of 2 was killed by SIGKILL.*--resume\n", done.stderr, re.DOTALL)
    assert "PeerLostError" in (run_of(two, "lost").logs / "rank-0.log").read_text()


def test_the_chain_one_two_three_one(one: Path) -> None:
    for n, more, settings in ((1, (), {}), (2, ("--resume",), SHARDED), (3, ("--resume",), FSDP)):
        done = train(one, "chain", n, *more, crash="train:step@5", **settings)  # two steps beyond a checkpoint
        assert done.returncode != 0
    done = train(one, "chain", 1, "--resume")
    assert done.returncode == 0, done.stderr
    assert losses(one, "chain") == pytest.approx(losses(one, "one"), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_gpus_make_the_run_of_one(project: Path, precision: str) -> None:
    device = {"run.device": '"cuda"', "train.precision": f'"{precision}"', "train.compile": '"off"'}
    for name, n, more in ((f"one-{precision}", 1, {}), (f"two-{precision}", 2, SHARDED)):
        done = train(project, name, n, **device, **more)
        assert done.returncode == 0, done.stderr
    # float32: sums in another order, twelve steps of Adam long. bfloat16 has 8 bits.
    tolerance = 1e-4 if precision == "fp32" else 2e-2
    assert losses(project, f"two-{precision}") == pytest.approx(losses(project, f"one-{precision}"), rel=tolerance)

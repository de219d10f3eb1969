"""`hornbook train` by several processes: the same run as by one, whoever dies and however many go on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from distributed.ranks import Ranks
from hornbook import assemble
from hornbook.checkpoint.load import load_checkpoint
from hornbook.config.run import Config
from hornbook.distributed.process_group import Processes
from hornbook.errors import HornbookError
from hornbook.storage.run_dir import RunDir
from tiny_project import load, make_project

pytestmark = pytest.mark.medium

# Twelve windows a step in micro-batches of two: six for one process, three for two, two for three.
SETTINGS = {
    "train.tokens_per_step": 192,
    "train.sample_every": 6,
    "train.fp32_products": '"exact"',
    "checkpoint.full_every": 3,
    "tracking.console": '"none"',
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def command(project: Path, name: str, n: int, *more: str, **settings: object) -> list[str]:
    given = {**SETTINGS, "run.name": f'"{name}"', **settings}
    sets = [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
    return [sys.executable, "-m", "hornbook", "train", str(project), "--nproc", str(n), *sets, *more]


def train(
    project: Path, name: str, n: int, *more: str, crash: str = "", **settings: object
) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HORNBOOK_CRASH": crash}
    arguments = command(project, name, n, *more, **settings)
    return subprocess.run(arguments, env=environ, capture_output=True, text=True, timeout=300, check=False)


def run_of(project: Path, name: str) -> RunDir:
    return RunDir(project.parent / "runs" / name)


def events(project: Path, name: str, event: str) -> dict[int, dict[str, float]]:
    lines = map(json.loads, run_of(project, name).metrics_file.read_text().splitlines())
    return {line["step"]: line for line in lines if line["event"] == event}


def losses(project: Path, name: str) -> list[float]:
    return [values["train/loss"] for values in events(project, name, "train").values()]


@pytest.fixture(scope="module")
def one(project: Path) -> Path:
    done = train(project, "one", 1)
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture(scope="module")
def two(one: Path) -> Path:
    done = train(one, "two", 2)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return one


def test_two_processes_make_the_run_of_one(two: Path) -> None:
    # Sums in float32 in another order, twelve steps of Adam long.
    assert losses(two, "two") == pytest.approx(losses(two, "one"), rel=1e-4)
    for step, values in events(two, "one", "val").items():
        found = events(two, "two", "val")[step]
        assert found["val/bits_per_byte"] == pytest.approx(values["val/bits_per_byte"], rel=1e-4)
    run, alone = run_of(two, "two"), run_of(two, "one")
    lines = [json.loads(line)["event"] for line in run.metrics_file.read_text().splitlines()]
    assert sorted(lines) == sorted(json.loads(line)["event"] for line in alone.metrics_file.read_text().splitlines())
    assert (run.state, run.provenance()["world_size"]) == ("finished", 2)
    assert len(run.provenance()["devices"]) == 2
    assert events(two, "two", "start")[0]["world_size"] == 2
    assert not run.logs.exists()
    mine, theirs = load_checkpoint(run.root), load_checkpoint(alone.root)
    assert list(mine.weights) == list(theirs.weights)
    assert mine.optimizer is not None
    assert theirs.optimizer is not None
    assert list(mine.optimizer) == list(theirs.optimizer)
    assert [path.name for path in sorted(run.samples.iterdir())] == ["step-00000006.txt", "step-00000012.txt"]


def test_a_killed_rank_ends_the_job_with_one_message_and_it_goes_on_bit_for_bit(two: Path) -> None:
    done = train(two, "killed", 2, crash="train:step@8#1")
    assert done.returncode == 2
    assert re.fullmatch(r"hornbook train: rank 1 of 2 was killed by SIGKILL.*--resume\n", done.stderr, re.DOTALL)
    run = run_of(two, "killed")
    assert run.state == "failed"
    assert "PeerLostError" in (run.logs / "rank-0.log").read_text()
    again = train(two, "killed", 2, "--resume")
    assert again.returncode == 0, again.stderr
    assert losses(two, "killed") == losses(two, "two")
    mine, theirs = load_checkpoint(run.root), load_checkpoint(run_of(two, "two").root)
    assert all((mine.weights[name] == tensor).all() for name, tensor in theirs.weights.items())


@pytest.mark.slow  # test_elastic has the chain in float64, from one file to the next
def test_the_chain_one_two_three_one(one: Path) -> None:
    for n, more in ((1, ()), (2, ("--resume",)), (3, ("--resume",))):
        done = train(one, "chain", n, *more, crash="train:step@5")  # two steps beyond a checkpoint
        assert done.returncode != 0
    done = train(one, "chain", 1, "--resume")
    assert done.returncode == 0, done.stderr
    starts = [json.loads(line) for line in run_of(one, "chain").metrics_file.read_text().splitlines()]
    assert [line["step"] for line in starts if line["event"] == "start"] == [0, 3, 6, 9]
    assert losses(one, "chain") == pytest.approx(losses(one, "one"), rel=1e-4)


def test_a_signal_to_the_launcher_stops_all_and_saves(project: Path) -> None:
    process = subprocess.Popen(
        command(project, "stopped", 2, **{"train.steps": 100_000, "train.eval_every": 0, "train.sample_every": 0})
    )
    metrics = run_of(project, "stopped").metrics_file
    try:
        deadline = time.monotonic() + 200
        while not metrics.exists() or metrics.read_text().count("\n") < 5:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) == 1
    finally:
        process.kill()  # whatever it left behind then sees its input end
        process.wait()
    run = run_of(project, "stopped")
    assert run.state == "preempted"
    assert load_checkpoint(run.root).kind == "full"


def resume_unseen(processes: Processes, config: Config) -> str:
    """What all say where the second process does not see the run that the first one does."""
    with pytest.MonkeyPatch.context() as patch:
        if processes.rank:
            patch.setattr(assemble, "find_run", lambda *_: None)
        try:
            assemble._train(config, True, torch.device("cpu"), processes, {})
        except HornbookError as error:
            return str(error)
    return "trained"


def test_a_run_that_not_all_see_is_named(project: Path, pair: Ranks) -> None:
    assert train(project, "begun", 1, crash="train:step@1").returncode != 0  # before its first checkpoint
    values = {**SETTINGS, "train.fp32_products": "exact", "tracking.console": "none", "run.name": "begun"}
    config = load(project, **{key.replace(".", "__"): value for key, value in values.items()})
    for said in pair.call(resume_unseen, config):
        assert "the run or checkpoint to go on from of rank 1 is another than that of rank 0" in said


@pytest.mark.parametrize(
    ("settings", "phrase"),
    [
        ({"train.tokens_per_step": 160}, "which 2 processes cannot share in micro-batches of 2"),
        ({"data.path": '"/nowhere"'}, "/nowhere"),
    ],
)
def test_what_all_find_wrong_is_said_once(project: Path, settings: dict[str, object], phrase: str) -> None:
    done = train(project, "wrong", 2, **settings)
    assert done.returncode == 2
    assert phrase in done.stderr
    assert done.stderr.count("hornbook train:") == 1
    assert "Traceback" not in done.stderr
    assert not run_of(project, "wrong").root.exists()


def test_torchrun(one: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    arguments = [part for part in command(one, "torchrun", 2)[2:] if part not in ("--nproc", "2")]
    done = subprocess.run([*torchrun, *arguments], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert losses(one, "torchrun") == pytest.approx(losses(one, "one"), rel=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_make_the_run_of_one(project: Path) -> None:
    device = {"run.device": '"cuda"', "train.compile": '"off"'}
    for name, n in (("one-gpu", 1), ("two-gpus", 2)):
        done = train(project, name, n, **device)
        assert done.returncode == 0, done.stderr
    # Sums in float32 in another order, twelve steps of Adam long.
    assert losses(project, "two-gpus") == pytest.approx(losses(project, "one-gpu"), rel=1e-4)
    assert run_of(project, "two-gpus").provenance()["devices"] == ["cuda:0", "cuda:1"]

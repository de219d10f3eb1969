"""Going on with another number of processes and another strategy; and, with the same, after any process was killed."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from distributed.elastic import go_on
from distributed.ranks import Ranks
from hornbook.checkpoint.load import load_checkpoint
from hornbook.distributed.process_group import ALONE
from hornbook.selftest.parallel_cases import STRATEGIES
from hornbook.storage.run_dir import RunDir
from tiny_project import make_project

STEPS = 4
"""Of each link of the chain."""
ALL = list(STRATEGIES)


@pytest.fixture(scope="module")
def trio() -> Iterator[Ranks]:
    started = Ranks(3)
    yield started
    started.close()


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    least = 1e-3 * max(tensor.abs().max().item() for tensor in expected.values())
    for name, tensor in expected.items():
        scale = max(tensor.abs().max().item(), least)
        assert (found[name] - tensor).abs().max().item() <= 1e-9 * scale, name


@pytest.mark.medium
@pytest.mark.parametrize("turn", range(len(ALL)))
def test_one_two_three_one_across_strategies(pair: Ranks, trio: Ranks, tmp_path: Path, turn: int) -> None:
    """Each strategy once on two and once on three processes, after and before each other."""
    first, second = ALL[turn], ALL[(turn + 1) % len(ALL)]
    unbroken = go_on(ALONE, "", tmp_path / "unbroken", 4 * STEPS)
    (tmp_path / "chain").mkdir()
    chain = [
        go_on(ALONE, "", tmp_path / "chain", STEPS),
        pair.call(go_on, first, tmp_path / "chain", 2 * STEPS)[0],
        trio.call(go_on, second, tmp_path / "chain", 3 * STEPS)[0],
        go_on(ALONE, "", tmp_path / "chain", 4 * STEPS),
    ]
    losses = [loss for link in chain for loss in link["losses"]]
    assert [len(link["losses"]) for link in chain] == [STEPS] * 4
    assert losses == pytest.approx(unbroken["losses"], rel=1e-9)
    assert losses[-1] < 0.99 * losses[0]  # it learns
    assert_close(chain[-1]["weights"], unbroken["weights"])
    assert list(chain[-1]["optimizer"]) == list(unbroken["optimizer"])


@pytest.mark.medium
@pytest.mark.parametrize("name", ALL)
def test_the_same_processes_go_on_bit_for_bit(pair: Ranks, tmp_path: Path, name: str) -> None:
    for folder in ("unbroken", "broken"):
        (tmp_path / folder).mkdir()
    unbroken = pair.call(go_on, name, tmp_path / "unbroken", 2 * STEPS)[0]
    before = pair.call(go_on, name, tmp_path / "broken", STEPS)[0]
    after = pair.call(go_on, name, tmp_path / "broken", 2 * STEPS)[0]
    assert before["losses"] + after["losses"] == unbroken["losses"]
    for part in ("weights", "optimizer"):
        assert list(after[part]) == list(unbroken[part])
        assert all(torch.equal(after[part][key], tensor) for key, tensor in unbroken[part].items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_kill_9_of_a_random_rank_at_a_random_step(tmp_path: Path, name: str) -> None:
    project = make_project(tmp_path / "project")
    rank, step = random.SystemRandom().randrange(2), random.SystemRandom().randrange(4, 12)
    where = f"rank {rank} after step {step}"
    distributed = {f"distributed.{key}": json.dumps(value) for key, value in STRATEGIES[name].items()}
    whole = train(project, "whole", **distributed)
    assert whole.returncode == 0, whole.stderr
    killed = train(project, "killed", crash=f"train:step@{step}#{rank}", **distributed)
    assert killed.returncode == 2, (where, killed.stderr)
    assert f"rank {rank} of 2 was killed by SIGKILL" in killed.stderr
    state = RunDir(tmp_path / "project" / "runs" / "killed").state  # which the first process writes, while it is there
    assert state == ("running" if rank == 0 else "failed"), where
    again = train(project, "killed", "--resume", **distributed)
    assert again.returncode == 0, (where, again.stderr)
    runs = [RunDir(tmp_path / "project" / "runs" / each) for each in ("whole", "killed")]
    assert losses(runs[1]) == losses(runs[0]), where
    expected, found = (load_checkpoint(run.root) for run in runs)
    assert all(torch.equal(found.weights[key], tensor) for key, tensor in expected.weights.items()), where
    assert expected.optimizer is not None
    assert found.optimizer is not None
    assert all(torch.equal(found.optimizer[key], tensor) for key, tensor in expected.optimizer.items()), where


def train(
    project: Path, name: str, *more: str, crash: str = "", **distributed: str
) -> subprocess.CompletedProcess[str]:
    """Twelve steps of eight windows on two processes, with dropout, since it is noise too."""
    settings = {
        **distributed,
        "run.name": json.dumps(name),
        "model.dropout": 0.1,
        "train.tokens_per_step": 128,
        "train.fp32_products": json.dumps("exact"),  # else each run chooses by the clock
        "train.eval_every": 0,
        "checkpoint.full_every": 3,
    }
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return subprocess.run(
        [sys.executable, "-m", "hornbook", "train", str(project), "--nproc", "2", *sets, *more],
        env={**os.environ, "HORNBOOK_CRASH": crash},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def losses(run: RunDir) -> dict[int, float]:
    """By step; of a step that was made twice, the last."""
    lines = map(json.loads, run.metrics_file.read_text().splitlines())
    return {line["step"]: line["train/loss"] for line in lines if line["event"] == "train"}

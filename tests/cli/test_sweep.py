"""`hornbook sweep` on a tiny project: in this process, and with processes that are killed."""

import contextlib
import json
import os
import signal
import sys
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from hornbook.cli import sweep_run
from hornbook.cli.main import main
from hornbook.errors import PeerLostError
from hornbook.sweeps.ledger import read_tries
from hornbook.sweeps.status import standings
from hornbook.sweeps.sweep import Sweep
from hornbook.training.preemption import Preemption
from sweeps.six_points import SIX, write_six
from tiny_project import make_project


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def file(source, tmp_path):
    return write_six(source, tmp_path)


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_expand(file, tmp_path, capsys):
    assert main(["sweep", "expand", str(file)]) == 0
    found = events(capsys)
    assert [event["index"] for event in found] == list(range(6))
    assert found[1]["settings"] == {"optim.learning_rate": 0.01, "optim.betas": [0.9, 0.99]}
    assert found[1]["run"] == str(tmp_path / "runs/rates" / found[1]["id"])
    assert not (tmp_path / "runs").exists()


def test_the_configuration_of_a_point_is_printed_and_nothing_trained(file, tmp_path, capsys):
    assert main(["sweep", "run", str(file), "--index", "1", "--print-config"]) == 0
    printed = tomllib.loads(capsys.readouterr().out)
    assert printed["optim"]["learning_rate"] == 0.01
    assert "sweep" not in printed
    assert not (tmp_path / "runs").exists()


def test_expand_for_people(file, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["sweep", "expand", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["index", "id", "optim.learning_rate", "optim.betas"]
    assert "6 points" in out


@pytest.mark.parametrize(("name", "points"), [("sweep", 6), ("sweep-slurm", 32)])
def test_the_examples_are_sweeps(name, points, capsys):
    assert main(["sweep", "expand", str(Path(__file__).parents[2] / "configs" / f"{name}.toml")]) == 0
    assert len(events(capsys)) == points


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--index", "6"], "the sweep has 6 points; expected 0 to 5"),
        (["run", "--set", "optim.learning_rate=1.0"], "the sweep varies it"),
        (["run", "--set", "sweep.resources.cpus=9999"], "9999 cores, and here are"),
        (["expand", "--set", "optim.beta1=3"], "optim.beta1"),
        (["best"], "no run has val/loss; there is: nothing yet"),
        (["best", "--metric", "val/nonsense"], "no run has val/nonsense"),
        (["best", "--metric", "val/loss", "--metric", "train/loss"], "the best by one metric"),
        (["submit", "--scheduler", "slurm", "--dry-run", "--set", "sweep.resources.gpu=true"], "for nothing"),
    ],
)
def test_what_cannot_be(file, capsys, arguments, words):
    action, *rest = arguments
    assert main(["sweep", action, str(file), *rest]) == 2
    assert words in capsys.readouterr().err


def test_an_index_is_a_number(file, capsys):
    with pytest.raises(SystemExit):
        main(["sweep", "run", str(file), "--index", "-1"])
    assert "expected a whole number from 0" in capsys.readouterr().err


def test_a_sweep_is_not_a_run(file, capsys):
    assert main(["train", str(file)]) == 2
    assert "hornbook sweep run" in capsys.readouterr().err


def test_one_point_is_trained_once(file, tmp_path, capsys):
    command = ["sweep", "run", str(file), "--index", "3", "--set", "train.steps=4"]
    assert main(command) == 0
    sweep = Sweep.load(file)
    point = sweep.points[3]
    run = sweep.run_dir(point)
    assert run.state == "finished"
    (event,) = events(capsys)
    assert (event["index"], event["state"], event["run"]) == (3, "finished", str(run.root))
    assert Sweep.load(sweep.root).points == sweep.points  # its directory is that of a sweep
    before = run.metrics_file.read_bytes()
    assert main(command) == 0
    assert run.metrics_file.read_bytes() == before
    assert [each.status for each in read_tries(sweep.ledger(point))] == ["finished"]
    config = run.config_file.read_text()
    assert "optim.learning_rate=0.003 optim.betas=[0.9, 0.99]" in config
    assert "[sweep]" not in config

    assert main([*command[:-1], "train.steps=8"]) == 0  # the same points, trained longer
    assert (run.checkpoints / "step-00000008").is_dir()
    assert [each.status for each in read_tries(sweep.ledger(point))] == ["finished", "finished"]

    assert main([*command[:-1], "train.tokens_per_step=32"]) == 2
    assert "with other settings it would be another run: train.tokens_per_step" in capsys.readouterr().err
    assert main(["sweep", "run", str(file), "--set", "train.tokens_per_step=32"]) == 2  # nor are others begun beside it
    assert "with other settings it would be another run: train.tokens_per_step" in capsys.readouterr().err


def test_a_failure_is_noted_and_retried(file, tmp_path, capsys):
    sweep = Sweep.load(file)
    data = sweep.base.data.path
    broken = ["--set", f'data.path="{tmp_path / "absent"}"', "--index", "0"]
    assert main(["sweep", "run", str(file), *broken]) == 2
    (each, *_) = standings(sweep)
    assert each.state == "failed"
    assert "absent" in each.message
    capsys.readouterr()
    assert main(["sweep", "status", str(file)]) == 0
    found = events(capsys)
    assert [event["state"] for event in found] == ["failed"] + ["waiting"] * 5
    assert "absent" in found[0]["message"]
    assert (
        main(["sweep", "run", str(file), "--index", "0", "--set", f'data.path="{data}"', "--set", "train.steps=1"]) == 0
    )
    assert standings(sweep)[0].state == "finished"


@pytest.mark.parametrize("before_training", [True, False])
def test_asked_to_stop_it_saves_and_says_try_again(file, monkeypatch, before_training):
    from hornbook import assemble
    from hornbook.training.trainer import Trainer

    def ask(*_, **__):
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(1)

    whole = Trainer._step

    def step(self, number, batches):
        report = whole(self, number, batches)
        if number == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return report

    command = ["sweep", "run", str(file), "--index", "0"]
    with monkeypatch.context() as patch:
        if before_training:
            patch.setattr(assemble, "train", ask)
            with pytest.raises(SystemExit) as caught:
                main(command)
            assert caught.value.code == 99
        else:
            patch.setattr(Trainer, "_step", step)
            assert main(command) == 99
    sweep = Sweep.load(file)
    assert standings(sweep)[0].state == "preempted"
    assert main(command) == 0
    assert [each.status for each in standings(sweep)[0].tries] == ["preempted", "finished"]


TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
SRUN = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "n1"}


@pytest.mark.parametrize("environment", [TORCHRUN, SRUN])
def test_only_the_first_process_keeps_the_ledger(file, monkeypatch, capsys, environment):
    from hornbook import assemble

    result = SimpleNamespace(result=SimpleNamespace(stop_reason="finished"))
    monkeypatch.setattr(assemble, "train", lambda *_, **__: result)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["sweep", "run", str(file), "--index", "0", "--set", "sweep.resources.processes=2"]) == 0
    assert not Sweep.load(file).root.exists()
    assert events(capsys) == []


def test_who_lost_another_says_so_to_the_launcher(file, monkeypatch, tmp_path):
    from hornbook import assemble
    from hornbook.distributed.launch import EXIT_PEER_LOST

    def lose(*_, **__):
        raise PeerLostError("gone")

    monkeypatch.setattr(assemble, "train", lose)
    for name, value in {**TORCHRUN, "RANK": "0", "HORNBOOK_RENDEZVOUS": str(tmp_path / "x")}.items():
        monkeypatch.setenv(name, value)
    assert main(["sweep", "run", str(file), "--index", "0"]) == EXIT_PEER_LOST
    assert standings(Sweep.load(file))[0].state == "failed"
    monkeypatch.delenv("HORNBOOK_RENDEZVOUS")
    assert main(["sweep", "run", str(file), "--index", "0"]) == 2


def test_a_point_of_several_processes_is_started_by_the_launcher(file, monkeypatch):
    from hornbook.distributed import launch

    started = []
    monkeypatch.setattr(launch, "launch", lambda command, n: started.append((command, n)) or 99)
    arguments = ["run", str(file), "--index", "1", "--set", "sweep.resources.processes=3"]
    assert main(["sweep", *arguments]) == 99
    assert started == [([sys.executable, "-P", "-m", "hornbook", "sweep", *arguments], 3)]


def test_one_pool_at_a_time_and_what_it_runs_stays(file, monkeypatch, capsys):
    from hornbook.sweeps import local

    def another_starts(points, room, *, command, **_):
        frozen = Path(command(points[3])[-3])
        before = frozen.read_text()
        assert main(["sweep", "run", str(file)]) == 2
        file.write_text(SIX.replace("[1e-2,", "[2e-2, 1e-2,"))
        assert main(["sweep", "submit", str(file), "--scheduler", "slurm", "--dry-run"]) == 0
        assert frozen.read_text() == before
        assert command(points[3])[-1] == "3"
        return {}

    monkeypatch.setattr(local, "run_points", another_starts)
    assert main(["sweep", "run", str(file)]) == 1
    assert "another `sweep run` or `retry` is at work on it" in capsys.readouterr().err


def test_a_point_that_another_process_is_at_is_running(file, monkeypatch, capsys):
    from hornbook.sweeps import local
    from hornbook.sweeps.ledger import trying

    sweep = Sweep.load(file)

    def turned_away(points, room, *, tell, **_):
        with trying(sweep.ledger(points[0]), points[0]):
            tell(points[0], 2)
        tell(points[1], -9)
        tell(points[2], 2)
        return {}

    monkeypatch.setattr(local, "run_points", turned_away)
    assert main(["sweep", "run", str(file)]) == 1
    assert [event["state"] for event in events(capsys)] == ["running", "killed", "failed"]


def test_a_directory_that_was_left_in_its_first_instant_is_in_nobodys_way(file):
    sweep = Sweep.load(file)
    (sweep.run_dir(sweep.points[0]).checkpoints).mkdir(parents=True)
    assert main(["sweep", "run", str(file), "--index", "0", "--set", "train.steps=1"]) == 0
    assert standings(sweep)[0].state == "finished"
    (sweep.root / sweep.points[1].id).mkdir()
    (sweep.root / sweep.points[1].id / "thesis.txt").write_text("mine")
    assert main(["sweep", "run", str(file), "--index", "1"]) == 2
    assert (sweep.root / sweep.points[1].id / "thesis.txt").read_text() == "mine"


def test_tables_of_several_metrics(file, capsys, monkeypatch):
    assert main(["sweep", "run", str(file), "--index", "0", "--set", "train.steps=2"]) == 0
    capsys.readouterr()
    asked = ["sweep", "table", str(file), "--metric", "train/loss", "--metric", "val/absent"]
    assert main(asked) == 0
    found = events(capsys)
    assert [(event["index"], event["metric"]) for event in found[:3]] == [
        (0, "train/loss"),
        (0, "val/absent"),
        (1, "train/loss"),
    ]
    assert found[0]["best"] > 0
    assert (found[1]["best"], found[2]["best"]) == (None, None)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(asked) == 0
    heads, first, *_ = capsys.readouterr().out.splitlines()
    assert "best train/loss" in heads
    assert "best val/absent" in heads
    assert f"{found[0]['best']:.4f}" in first


def test_status_where_the_scheduler_cannot_be_asked(file, monkeypatch, capsys):
    from hornbook.sweeps import slurm

    monkeypatch.setattr(slurm, "submit", lambda path: "77")
    assert main(["sweep", "submit", str(file), "--scheduler", "slurm"]) == 0
    monkeypatch.setenv("PATH", "/nowhere")
    capsys.readouterr()
    assert main(["sweep", "status", str(file)]) == 0
    said = capsys.readouterr()
    assert "squeue: not found" in said.err
    assert [json.loads(line)["state"] for line in said.out.splitlines()] == ["waiting"] * 6


def test_a_rehearsal_hands_nothing_in(file, tmp_path, capsys):
    assert main(["sweep", "submit", str(file), "--scheduler", "slurm", "--dry-run"]) == 0
    (event,) = events(capsys)
    assert (event["job"], event["indices"]) == (None, [0, 1, 2, 3, 4, 5])
    assert Path(event["script"]).read_text().startswith("#!/bin/bash")
    assert main(["sweep", "status", str(file)]) == 0  # and asks no scheduler


def test_being_asked_to_stop_is_not_forgotten_where_the_exception_is_swallowed():
    with sweep_run._leaving_at_once():
        with contextlib.suppress(SystemExit):  # as compiled code does that calls back into Python
            os.kill(os.getpid(), signal.SIGTERM)
        with Preemption() as preemption:
            assert preemption.requested == signal.SIGTERM
    with Preemption() as preemption:
        assert preemption.requested is None

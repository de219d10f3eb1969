"""`hornbook sweep` on a tiny project: in this process, and with processes that are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hornbook.cli.main import main
from hornbook.sweeps.ledger import read_tries
from hornbook.sweeps.status import standings
from hornbook.sweeps.sweep import Sweep
from tiny_project import make_project

SIX = """extends = "tiny.toml"
[sweep.grid]
optim.learning_rate = [1e-2, 3e-3, 1e-3]
optim.betas = [[0.9, 0.95], [0.9, 0.99]]
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def file(source, tmp_path):
    """A sweep of six points over the prepared project, with runs of its own."""
    runs = f"{source.parent.as_posix()}/runs"
    text = source.read_text(encoding="utf-8").replace(runs, f"{tmp_path.as_posix()}/runs")
    (tmp_path / "tiny.toml").write_text(text, encoding="utf-8")
    path = tmp_path / "rates.toml"
    path.write_text(SIX, encoding="utf-8")
    return path


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_expand(file, tmp_path, capsys):
    assert main(["sweep", "expand", str(file)]) == 0
    found = events(capsys)
    assert [event["index"] for event in found] == list(range(6))
    assert found[1]["settings"] == {"optim.learning_rate": 0.01, "optim.betas": [0.9, 0.99]}
    assert found[1]["run"] == str(tmp_path / "runs/rates" / found[1]["id"])
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


def test_only_the_first_process_keeps_the_ledger(file, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert main(["sweep", "run", str(file), "--index", "0", "--set", "train.steps=1"]) == 0
    assert not Sweep.load(file).ledger(Sweep.load(file).points[0]).exists()
    assert events(capsys) == []


def test_a_rehearsal_hands_nothing_in(file, tmp_path, capsys):
    assert main(["sweep", "submit", str(file), "--scheduler", "slurm", "--dry-run"]) == 0
    (event,) = events(capsys)
    assert (event["job"], event["indices"]) == (None, [0, 1, 2, 3, 4, 5])
    assert Path(event["script"]).read_text().startswith("#!/bin/bash")
    assert main(["sweep", "status", str(file)]) == 0  # and asks no scheduler


def start(*arguments):
    return subprocess.Popen([sys.executable, "-m", "hornbook", "sweep", *arguments], stdout=subprocess.PIPE, text=True)


def until(condition, process, seconds=900):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.medium
@pytest.mark.timeout(2400)  # half a minute, unless the machine is busy with something else
def test_six_points_one_killed_and_retried(file, tmp_path, capsys):
    longer = ["--set", "train.steps=200", "--set", "train.log_every=50", "--set", "checkpoint.light_every=0"]
    process = start("run", str(file), *longer)
    sweep = Sweep.load(file, longer[1::2])
    victim = sweep.points[1]
    latest = sweep.run_dir(victim).checkpoints / "LATEST"
    until(latest.exists, process)
    os.kill(read_tries(sweep.ledger(victim))[0].pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=1800)
    assert process.returncode == 1
    told = [json.loads(line) for line in out.splitlines()]
    assert [event["state"] for event in told if event["index"] == 1] == ["running", "killed"]
    assert [each.state for each in standings(sweep)] == ["finished", "killed", *["finished"] * 4]

    assert main(["sweep", "retry", str(sweep.root), "--failed"]) == 0
    found = standings(sweep)
    assert {each.state for each in found} == {"finished"}
    assert [each.status for each in found[1].tries] == [None, "finished"]
    assert [len(each.tries) for each in found] == [1, 2, 1, 1, 1, 1]
    assert "resumed" in sweep.run_dir(victim).metrics_file.read_text()
    capsys.readouterr()

    assert main(["sweep", "table", str(sweep.root)]) == 0
    rows = events(capsys)
    assert [row["step"] for row in rows] == [200] * 6
    assert main(["sweep", "best", str(sweep.root)]) == 0
    (best,) = events(capsys)
    assert best["best"] == min(row["best"] for row in rows)
    assert main(["sweep", "run", str(sweep.root)]) == 0  # nothing is left
    assert events(capsys) == []
    assert main(["report", str(sweep.root)]) == 0
    page = (sweep.root / "report.html").read_text()
    assert "learning_rate 0.003, betas [0.9, 0.99]" in page
    assert "Settings that differ" in page


@pytest.mark.medium
@pytest.mark.timeout(2400)
def test_stopped_as_a_whole_every_run_saves(file, tmp_path):
    process = start("run", str(file), "--set", "train.steps=100_000", "--set", "sweep.resources.cpus=1")
    sweep = Sweep.load(file)
    until((sweep.run_dir(sweep.points[0]).checkpoints / "LATEST").exists, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=900)
    assert process.returncode == 1
    found = [each.state for each in standings(sweep)]
    assert found[0] == "preempted"
    assert set(found) <= {"preempted", "waiting"}

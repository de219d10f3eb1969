"""`hornbook sweep` with real processes that are stopped and killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hornbook.cli.main import main
from hornbook.storage.run_dir import list_checkpoints
from hornbook.sweeps.ledger import read_tries
from hornbook.sweeps.status import standings
from hornbook.sweeps.sweep import Sweep
from sweeps.six_points import write_six
from tiny_project import make_project

pytestmark = [pytest.mark.medium, pytest.mark.timeout(2400)]  # half a minute each, unless the machine is busy

OFF = "train.compile='off'"  # which would take longer than the test


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("sweep"))


@pytest.fixture
def file(source, tmp_path):
    return write_six(source, tmp_path)


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def start(*arguments):
    return subprocess.Popen([sys.executable, "-m", "hornbook", "sweep", *arguments], stdout=subprocess.PIPE, text=True)


def until(condition, process, seconds=900):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
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


def test_stopped_as_a_whole_every_run_saves(file, tmp_path):
    process = start("run", str(file), "--set", "train.steps=100_000", "--set", OFF, "--set", "sweep.resources.cpus=1")
    sweep = Sweep.load(file)
    until((sweep.run_dir(sweep.points[0]).checkpoints / "LATEST").exists, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=900)
    assert process.returncode == 1
    found = [each.state for each in standings(sweep)]
    assert found[0] == "preempted"
    assert set(found) <= {"preempted", "waiting"}


@pytest.mark.slow
def test_when_the_pool_is_killed_its_runs_save_and_end(file):
    process = start("run", str(file), "--set", "train.steps=100_000", "--set", OFF, "--set", "sweep.resources.cpus=1")
    sweep = Sweep.load(file)
    until((sweep.run_dir(sweep.points[0]).checkpoints / "LATEST").exists, process)
    process.kill()
    process.communicate(timeout=60)
    deadline = time.monotonic() + 600
    while any(each.state == "running" for each in standings(sweep)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert standings(sweep)[0].state == "preempted"


@pytest.mark.slow
def test_two_processes_train_a_point_and_are_told_to_stop(file):
    arguments = ["run", str(file), "--index", "0", "--set", "sweep.resources.processes=2", "--set"]
    process = start(*arguments, "train.steps=100_000", "--set", OFF)
    sweep = Sweep.load(file)
    latest = sweep.run_dir(sweep.points[0]).checkpoints / "LATEST"
    until(latest.exists, process)
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=900)
    assert process.returncode == 99
    (one_try,) = standings(sweep)[0].tries
    assert one_try.status == "preempted"
    step = list_checkpoints(latest.parent)[-1].step
    process = start(*arguments, f"train.steps={step + 4}", "--set", OFF)
    process.communicate(timeout=900)
    assert process.returncode == 0
    assert [each.status for each in standings(sweep)[0].tries] == ["preempted", "finished"]
    assert '"world_size": 2' in sweep.run_dir(sweep.points[0]).metrics_file.read_text()

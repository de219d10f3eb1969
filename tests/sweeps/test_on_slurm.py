"""A sweep on a real SLURM: one job killed and retried, one told to save and queued again, one cancelled.

Needs Debian's slurmctld, slurmd, slurm-client and munge; where CI is set, their absence is a failure.
"""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from hornbook.cli.main import main
from hornbook.storage.run_dir import list_checkpoints
from hornbook.sweeps.ledger import read_tries
from hornbook.sweeps.status import standings
from hornbook.sweeps.sweep import Sweep
from sweeps.six_points import write_six
from sweeps.slurm_node import missing_programs, slurm_node
from tiny_project import make_project

SLURM = """[sweep.slurm]
minutes = 10
max_running = 2
"""
SETTINGS = ["train.steps=300", "train.log_every=20", "train.eval_every=100", "checkpoint.light_every=0"]


@pytest.fixture
def sweep(tmp_path):
    path = write_six(make_project(tmp_path), tmp_path)
    path.write_text(path.read_text() + SLURM)
    return Sweep.load(path, SETTINGS)


@pytest.fixture
def node():
    if missing := missing_programs():
        message = f"no SLURM here: {', '.join(missing)} missing (Debian: slurmctld slurmd slurm-client munge)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with tempfile.TemporaryDirectory(prefix="slurm-") as root, slurm_node(Path(root)):  # short, for it holds a socket
        yield


def hornbook(*arguments):
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    assert main(["sweep", *arguments, *settings]) == 0


def until(condition, sweep, seconds=400):
    deadline = time.monotonic() + seconds
    while not condition():
        logs = [path.read_text()[-500:] for path in (sweep.root / "logs").glob("*")]
        assert time.monotonic() < deadline, ([(s.point.index, s.state) for s in standings(sweep)], logs)
        time.sleep(0.3)


def saved(sweep, index):
    return bool(list_checkpoints(sweep.run_dir(sweep.points[index]).checkpoints))


def state(sweep, index):
    return standings(sweep)[index].state


def command(*words, check=True):
    subprocess.run(words, check=check, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(2400)  # a minute, unless the machine is busy with something else
def test_six_points(sweep, node, capsys):
    hornbook("submit", str(sweep.source))
    assert {each.state for each in standings(sweep)} <= {"queued", "running"}
    job = standings(sweep)[0].job.removeprefix("slurm:").partition("_")[0]

    # One after the other without waiting for what becomes of it: a run is over in seconds.
    until(lambda: saved(sweep, 0), sweep)
    os.kill(read_tries(sweep.ledger(sweep.points[0]))[0].pid, signal.SIGKILL)
    until(lambda: saved(sweep, 1), sweep)
    command("scancel", f"{job}_1")
    until(lambda: saved(sweep, 2), sweep)
    # What SLURM sends before the time limit. Of a task of an array, 22.05 signals it and then says that it could not.
    command("scancel", "--signal=USR1", f"{job}_2", check=False)

    until(lambda: state(sweep, 0) == "killed", sweep)
    until(lambda: state(sweep, 1) == "preempted", sweep)
    until(lambda: state(sweep, 2) == "queued", sweep)
    command("scontrol", "update", f"JobId={job}_2", "StartTime=now")  # it would wait two minutes
    until(lambda: all(state(sweep, index) == "finished" for index in (2, 3, 4, 5)), sweep)
    assert state(sweep, 1) == "preempted"  # a cancelled job is not queued again

    hornbook("retry", str(sweep.source), "--failed", "--scheduler", "slurm")
    until(lambda: state(sweep, 0) == "finished", sweep)
    hornbook("retry", str(sweep.source), "--scheduler", "slurm")
    until(lambda: state(sweep, 1) == "finished", sweep)

    found = standings(sweep)
    assert [[each.status for each in one.tries] for one in found] == [
        [None, "finished"],
        ["preempted", "finished"],
        ["preempted", "finished"],
        ["finished"],
        ["finished"],
        ["finished"],
    ]
    assert all(each.job and each.job.startswith("slurm:") for one in found for each in one.tries)
    assert len({each.job for each in found[2].tries}) == 1
    assert main(["sweep", "best", str(sweep.root)]) == 0

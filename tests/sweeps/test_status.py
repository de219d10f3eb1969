"""How far points are: from directories, ledgers and what a scheduler says."""

import json

import pytest

from hornbook.errors import ConfigError
from hornbook.storage.run_dir import RunDir
from hornbook.sweeps import slurm
from hornbook.sweeps.ledger import trying
from hornbook.sweeps.status import standings
from hornbook.sweeps.submission import choose_scheduler, hand_in, write_submission
from hornbook.sweeps.sweep import Sweep
from tiny_project import write_project


@pytest.fixture
def sweep(tmp_path):
    write_project(tmp_path)
    path = tmp_path / "seeds.toml"
    path.write_text('extends = "tiny.toml"\n[sweep.grid]\nrun.seed = [1, 2, 3, 4, 5]\n')
    return Sweep.load(path)


def states(sweep, **asking):
    return [each.state for each in standings(sweep, **asking)]


def end(sweep, index, status):
    point = sweep.points[index]
    with trying(sweep.ledger(point), point) as outcome:
        outcome.status = status


def kill(sweep, index):
    """A start without an end."""
    ledger = sweep.ledger(sweep.points[index])
    ledger.parent.mkdir(parents=True, exist_ok=True)
    start = {"event": "start", "time": 1.0, "index": index, "host": "h", "pid": 1, "job": None}
    ledger.write_text(json.dumps(start) + "\n")


def test_from_ledgers(sweep):
    assert states(sweep) == ["waiting"] * 5
    end(sweep, 0, "finished")
    end(sweep, 1, "preempted")
    end(sweep, 2, "failed")
    kill(sweep, 3)
    assert states(sweep) == ["finished", "preempted", "failed", "killed", "waiting"]
    with trying(sweep.ledger(sweep.points[3]), sweep.points[3]) as outcome:
        assert states(sweep)[3] == "running"
        outcome.status = "finished"
    assert states(sweep)[3] == "finished"


def test_a_run_that_was_finished_by_hand_is_finished(sweep):
    end(sweep, 0, "failed")
    RunDir.create(sweep.root, sweep.points[0].id).set_state("finished")
    assert states(sweep)[0] == "finished"


def test_from_a_scheduler(sweep, monkeypatch):
    monkeypatch.setattr(slurm, "submit", lambda path: "77")
    written = write_submission(sweep, sweep.points[1:], "slurm")
    assert hand_in(written) == "77"
    monkeypatch.setattr(
        slurm, "live_jobs", lambda: {"slurm:77_1": "queued", "slurm:77_2": "running", "slurm:9_4": "queued"}
    )
    assert states(sweep) == ["waiting", "queued", "running", "killed", "killed"]  # these two are gone
    assert "slurm:77_3 ended before it came to train" in standings(sweep)[3].message
    assert states(sweep, asking=False) == ["waiting"] * 5
    assert [each.job for each in standings(sweep)] == [None, "slurm:77_1", "slurm:77_2", "slurm:77_3", "slurm:77_4"]
    end(sweep, 1, "preempted")  # and was queued again
    assert states(sweep)[1] == "queued"


def test_nobody_is_asked_about_what_is_finished(sweep, monkeypatch):
    monkeypatch.setattr(slurm, "submit", lambda path: "77")
    hand_in(write_submission(sweep, sweep.points[:1], "slurm"))
    RunDir.create(sweep.root, sweep.points[0].id).set_state("finished")
    with monkeypatch.context() as patch:
        patch.setenv("SLURM_JOB_ID", "77_0")
        end(sweep, 0, "finished")
    monkeypatch.setenv("PATH", "/nowhere")
    assert states(sweep)[0] == "finished"


def test_a_finished_run_that_is_to_go_on_waits(sweep, monkeypatch):
    RunDir.create(sweep.root, sweep.points[0].id).set_state("finished")
    end(sweep, 0, "finished")
    monkeypatch.setattr(slurm, "submit", lambda path: "78")
    hand_in(write_submission(sweep, sweep.points[:1], "slurm"))
    monkeypatch.setattr(slurm, "live_jobs", lambda: {"slurm:78_0": "queued"})
    assert states(sweep)[0] == "queued"


def test_submissions_are_numbered_and_frozen(sweep, tmp_path):
    first = write_submission(sweep, sweep.points, "slurm")
    (tmp_path / "seeds.toml").write_text('extends = "tiny.toml"\n[sweep.grid]\nrun.seed = [9]\n')
    second = write_submission(sweep, sweep.points, "condor")
    assert (first.script.parent.name, second.script.parent.name) == ("001", "002")
    assert Sweep.load(first.script.parent / "sweep.toml").points == sweep.points
    assert (second.script.parent / "point.sh").stat().st_mode & 0o111
    assert second.command == f"condor_submit {second.script}"


def test_a_run_has_one_machine_in_condor(sweep, tmp_path):
    several = Sweep.load(tmp_path / "seeds.toml", ["sweep.slurm.nodes=2"])
    with pytest.raises(ConfigError, match="one machine"):
        write_submission(several, several.points, "condor")


@pytest.mark.parametrize(
    ("here", "named", "chosen"),
    [
        (["sbatch"], None, "slurm"),
        (["condor_submit"], None, "condor"),
        (["sbatch", "condor_submit"], "condor", "condor"),
    ],
)
def test_the_scheduler_is_the_one_that_is_here(tmp_path, monkeypatch, here, named, chosen):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in here:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert choose_scheduler(named) == chosen


@pytest.mark.parametrize(("here", "words"), [([], "neither"), (["sbatch", "condor_submit"], "both")])
def test_otherwise_it_must_be_named(tmp_path, monkeypatch, here, words):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in here:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(ConfigError, match=words):
        choose_scheduler(None)

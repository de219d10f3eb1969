"""What was tried: every end is told from every other one, a kill included."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from hornbook.distributed.launch import EXIT_PREEMPTED
from hornbook.errors import DataError, TrainingError
from hornbook.sweeps import ledger
from hornbook.sweeps.grid import Point
from hornbook.sweeps.ledger import is_held, read_tries, trying

POINT = Point(index=3, id="abc", settings={"a": 1})


def try_for_ever(file, ready):
    with trying(file, POINT):
        ready.set()
        time.sleep(60)


@pytest.fixture
def held(tmp_path):
    """A ledger that another process is at."""
    file = tmp_path / "ledger" / "abc.jsonl"
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=try_for_ever, args=(file, ready))
    process.start()
    assert ready.wait(30)
    yield file, process
    process.kill()
    process.join()


def test_every_end(tmp_path, monkeypatch):
    file = tmp_path / "abc.jsonl"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "77")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    with trying(file, POINT) as outcome:
        outcome.status = "finished"
    with pytest.raises(SystemExit), trying(file, POINT):
        raise SystemExit(EXIT_PREEMPTED)
    with pytest.raises(KeyboardInterrupt), trying(file, POINT):
        raise KeyboardInterrupt
    with pytest.raises(DataError), trying(file, POINT):
        raise DataError("no such file")
    with pytest.raises(KeyError), trying(file, POINT):
        raise KeyError("x")
    tries = read_tries(file)
    assert [each.status for each in tries] == ["finished", "preempted", "preempted", "failed", "failed"]
    assert [each.message for each in tries] == ["", "", "", "no such file", "KeyError: 'x'"]
    assert {(each.job, each.pid) for each in tries} == {("slurm:77_3", os.getpid())}
    assert all(each.started <= each.ended for each in tries)
    assert not is_held(file)


def test_one_process_at_a_time(held, monkeypatch):
    file, process = held
    monkeypatch.setattr(ledger, "_LOOKS", 2)
    assert is_held(file)
    with pytest.raises(TrainingError, match=r"point 3 \(a=1\): another process"), trying(file, POINT):
        pass
    assert len(read_tries(file)) == 1  # the one that was turned away left no line
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not is_held(file)
    assert read_tries(file)[0].status is None


def test_a_look_at_the_lock_does_not_end_a_job_that_starts_then(tmp_path):
    file = tmp_path / "abc.jsonl"
    file.touch()
    looking = ledger.alone(file, otherwise=TrainingError("x"))
    looking.__enter__()
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        looking.__exit__(None, None, None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        with trying(file, POINT) as outcome:
            outcome.status = "finished"
    assert len(looks) == 1


def test_torn_and_foreign_lines_are_left_out(tmp_path):
    file = tmp_path / "abc.jsonl"
    start = json.dumps({"event": "start", "time": 1.0, "index": 0, "host": "h", "pid": 1, "job": None})
    file.write_text(f"{start}\nnonsense\n[1]\n{start}\n" + '{"event": "end", "ti')
    assert [each.status for each in read_tries(file)] == [None, None]
    with trying(file, POINT) as outcome:
        outcome.status = "finished"
    assert [each.status for each in read_tries(file)] == [None, None, "finished"]


def test_no_ledger_no_tries(tmp_path):
    assert read_tries(tmp_path / "x.jsonl") == []
    assert not is_held(tmp_path / "x.jsonl")

"""Processes beside one another: how many, on which cores, and how they are stopped."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hornbook.config.sweep import ResourcesConfig
from hornbook.errors import TrainingError
from hornbook.sweeps.grid import Point
from hornbook.sweeps.local import Machine, Slot, run_points, slots, this_machine

POINTS = [Point(index=number, id=f"{number}", settings={"a": number}) for number in range(5)]


def machine(cores=8, gpus=4, memory_gb=16.0):
    return Machine(cores=tuple(range(cores)), gpus=tuple(map(str, range(gpus))), memory_gb=memory_gb)


@pytest.mark.parametrize(
    ("wanted", "room"),
    [
        ({}, 8),
        ({"cpus": 3}, 2),
        ({"cpus": 2, "processes": 2}, 2),
        ({"gpu": True}, 4),
        ({"gpu": True, "processes": 2}, 2),
        ({"memory_gb": 5.0}, 3),
        ({"memory_gb": 5.0, "processes": 3}, 1),
    ],
)
def test_as_many_as_fit(wanted, room):
    found = slots(machine(), ResourcesConfig(**wanted))
    assert len(found) == room
    cores = [core for slot in found for core in slot.cores]
    gpus = [gpu for slot in found for gpu in slot.gpus]
    assert len(set(cores)) == len(cores) == room * wanted.get("cpus", 1) * wanted.get("processes", 1)
    assert len(set(gpus)) == len(gpus) == (room * wanted.get("processes", 1) if wanted.get("gpu") else 0)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"cpus": 9}, "9 cores, and here are 8"),
        ({"gpu": True, "processes": 5}, "5 GPUs, and here are 4"),
        ({"memory_gb": 17.0}, "17 GB of memory, and here are 16.0"),
    ],
)
def test_what_does_not_fit_is_told(wanted, words):
    with pytest.raises(TrainingError, match=words):
        slots(machine(), ResourcesConfig(**wanted))


def test_this_machine_has_something():
    here = this_machine(with_gpus=False)
    assert here.cores
    assert here.memory_gb is None or here.memory_gb > 0.1


def run(tmp_path, program, room, *, stopping=lambda: False):
    """Every point runs `program` with its index; (statuses, what was told, what each said)."""
    told = []
    statuses = run_points(
        POINTS,
        room,
        command=lambda point: [sys.executable, "-S", "-c", program, str(point.index)],
        log=lambda point: tmp_path / f"{point.index}.log",
        stopping=stopping,
        tell=lambda point, status: told.append((point.index, status)),
    )
    logs = {number: (tmp_path / f"{number}.log").read_text() for number in statuses}
    return statuses, told, logs


def test_each_in_its_place_with_its_own_status_and_log(tmp_path):
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    room = [Slot(cores=(core,), gpus=(name,)) for name in ("x", "y")]
    program = (
        "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'], os.sched_getaffinity(0)); sys.exit(int(sys.argv[1]))"
    )
    statuses, told, logs = run(tmp_path, program, room)
    assert statuses == {number: number for number in range(5)}
    assert {text.split()[0] for text in logs.values()} == {"x", "y"}
    assert {text.split()[1] for text in logs.values()} == {f"{{{core}}}"}
    under_way = 0
    for _, status in told:
        under_way += 1 if status is None else -1
        assert 0 <= under_way <= 2
    assert os.sched_getaffinity(0) >= {core}


def test_a_run_without_a_gpu_of_its_own_sees_none(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert this_machine(with_gpus=True).gpus == ("0", "1")
    room = [Slot(cores=tuple(this_machine(with_gpus=False).cores), gpus=())]
    _, _, logs = run(tmp_path, "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))", room)
    assert set(logs.values()) == {"''\n"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,-1,0")
    assert this_machine(with_gpus=True).gpus == ("1",)


def test_when_the_pool_is_killed_standard_input_ends(tmp_path):
    said = [tmp_path / "0.log", tmp_path / "1.log"]
    child = "import os, sys; print(os.environ['HORNBOOK_FOLLOWS'], flush=True); os.read(0, 1); print('end', flush=True)"
    outer = f"""
import os, signal, sys
from pathlib import Path
from hornbook.sweeps.grid import Point
from hornbook.sweeps.local import Slot, run_points
points = [Point(index=number, id=str(number), settings={{}}) for number in range(2)]
room = [Slot(cores=tuple(os.sched_getaffinity(0)), gpus=())] * 2
logs = {[str(path) for path in said]!r}

def stopping():
    if all(Path(log).exists() and "1" in Path(log).read_text() for log in logs):
        os.kill(os.getpid(), signal.SIGKILL)
    return False

run_points(points, room, command=lambda _: [sys.executable, "-S", "-c", {child!r}],
    log=lambda point: Path(logs[point.index]), stopping=stopping, tell=lambda *_: None)
"""
    assert subprocess.run([sys.executable, "-c", outer], check=False, timeout=60).returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while not all(path.read_text() == "1\nend\n" for path in said):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_asked_to_stop_all_save_and_none_is_started(tmp_path):
    program = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(99));"
        "print('ready', flush=True); time.sleep(60)"
    )
    ready = lambda: all(  # noqa: E731
        (tmp_path / f"{number}.log").exists() and "ready" in (tmp_path / f"{number}.log").read_text()
        for number in (0, 1)
    )
    room = [Slot(cores=tuple(os.sched_getaffinity(0)), gpus=()) for _ in range(2)]
    statuses, told, _ = run(tmp_path, program, room, stopping=ready)
    assert statuses == {0: 99, 1: 99}
    assert len(told) == 4


def test_left_in_disorder_nothing_goes_on(tmp_path):
    seen = []

    def stopping():
        seen.append(1)
        if len(seen) > 5:
            raise KeyboardInterrupt
        return False

    program = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    room = [Slot(cores=tuple(os.sched_getaffinity(0)), gpus=())]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, program, room, stopping=stopping)
    if (tmp_path / "pid").exists() and (pid := (tmp_path / "pid").read_text()):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)

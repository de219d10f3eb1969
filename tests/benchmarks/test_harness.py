"""Toy sides in processes of their own. Nothing here depends on how fast this machine is."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hornbook.benchmarks import harness, side
from hornbook.benchmarks.harness import Case, run_case
from hornbook.benchmarks.side import Side, SideProcess, environment

pytestmark = pytest.mark.medium

TOY = """
import os, sys, time

def setup(settings):
    print("a library that greets")
    if settings.get("refuse"):
        raise ValueError("no such\\nvocabulary")
    calls = []

    def block():
        calls.append(1)
        with open(settings["diary"], "a") as diary:
            diary.write(f"{settings['name']} {os.getpid()}\\n")
        print("a library that talks")
        if len(calls) == settings.get("dies_at"):
            print("out of luck", file=sys.stderr, flush=True)
            os._exit(3)
        if len(calls) == settings.get("fails_at"):
            raise RuntimeError("out of memory")
        time.sleep(settings.get("sleep", 0))
        return len(calls)

    return block, lambda n: {"answer": settings.get("answer", 42) + (n if settings.get("drifts") else 0)}
"""


@pytest.fixture
def toy(tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(TOY)
    diary = tmp_path / "diary"

    def make(name, *, once=False, warm_up=True, n_passes=None, python=None, **settings):
        more = {} if python is None else {"python": python}
        settings = {"name": name, "diary": str(diary), **settings}
        return Side(name=name, file=str(file), settings=settings, once=once, warm_up=warm_up, n_passes=n_passes, **more)

    make.diary = diary
    return make


def names_in(diary):
    return [line.split()[0] for line in diary.read_text().splitlines()]


def processes_in(diary):
    return len({line.split()[1] for line in diary.read_text().splitlines()})


def test_standing_sides_warm_up_and_then_take_turns_with_the_order_alternating(toy):
    case = Case(name="toy", unit="MB", amount=1, sides=[toy("ours"), toy("theirs")], equal={"answer": 0})
    ours, theirs = run_case(case, blocks=3)
    assert names_in(toy.diary) == ["ours", "theirs", *["ours", "theirs"], *["theirs", "ours"], *["ours", "theirs"]]
    assert processes_in(toy.diary) == 2
    assert [len(one.seconds[""]) for one in (ours, theirs)] == [3, 3]
    assert ours.checks == theirs.checks == {"answer": 42}
    assert len(ours.setup_seconds) == 1
    assert ours.memory > 1_000_000
    assert ours.failure is None


def test_a_side_that_works_through_a_share_counts_for_the_whole(toy):
    share = replace(toy("part", sleep=0.05), share=0.1)
    _, part = run_case(Case(name="toy", unit="MB", amount=1, sides=[toy("ours"), share]), blocks=2)
    assert min(part.seconds[""]) >= 0.5
    fresh = Case(name="toy", unit="MB", amount=1, sides=[replace(share, name="ours")], fresh=True)
    assert min(run_case(fresh, blocks=1)[0].seconds[""]) >= 0.5


def test_a_slow_side_is_measured_as_slow(toy):
    case = Case(name="toy", unit="MB", amount=1, sides=[toy("ours"), toy("slow", sleep=0.05)])
    _, slow = run_case(case, blocks=2)
    assert min(slow.seconds[""]) >= 0.05


def test_fresh_sides_get_a_process_for_each_block_and_passes_in_it(toy):
    sides = [toy("ours"), toy("forgetful", n_passes=1), toy("checked", once=True)]
    case = Case(name="toy", unit="MB", amount=1, sides=sides, fresh=True, passes=("cold", "warm"))
    ours, forgetful, checked = run_case(case, blocks=2)
    assert names_in(toy.diary) == [*["ours"] * 2, "forgetful", *["checked"] * 2, "forgetful", *["ours"] * 2]
    assert processes_in(toy.diary) == 5
    assert {name: len(seconds) for name, seconds in ours.seconds.items()} == {"cold": 2, "warm": 2}
    assert {name: len(seconds) for name, seconds in forgetful.seconds.items()} == {"cold": 2}
    assert {name: len(seconds) for name, seconds in checked.seconds.items()} == {"cold": 1, "warm": 1}


def test_the_clock_can_run_from_the_start_of_the_process(toy):
    sides = [toy("ours")]
    (block,) = run_case(Case(name="toy", unit="MB", amount=1, sides=sides, fresh=True), blocks=1)
    (spawn,) = run_case(Case(name="toy", unit="MB", amount=1, sides=sides, fresh=True, clock="spawn"), blocks=1)
    assert spawn.seconds[""][0] > spawn.setup_seconds[0]
    assert spawn.seconds[""][0] > block.seconds[""][0]


@pytest.mark.parametrize(
    ("settings", "failure"),
    [
        ({"refuse": True}, "ValueError: no such vocabulary"),
        ({"dies_at": 2}, "ended with status 3: out of luck"),
        ({"fails_at": 2}, "RuntimeError: out of memory"),
    ],
)
@pytest.mark.parametrize("fresh", [False, True])
def test_a_peer_that_fails_is_one_line_and_the_others_go_on(toy, settings, failure, fresh):
    passes = ("cold", "warm") if fresh else ("",)
    sides = [toy("ours"), toy("theirs", **settings), toy("other")]
    ours, theirs, other = run_case(
        Case(name="toy", unit="MB", amount=1, sides=sides, fresh=fresh, passes=passes), blocks=3
    )
    assert theirs.failure == failure
    assert all(len(seconds) == 3 for one in (ours, other) for seconds in one.seconds.values())
    assert ours.failure is other.failure is None


def test_nobody_runs_for_a_case_in_which_ours_failed(toy):
    sides = [toy("ours", fails_at=2), toy("theirs")]
    ours, theirs = run_case(Case(name="toy", unit="MB", amount=1, sides=sides), blocks=5)
    assert ours.failure == "RuntimeError: out of memory"
    assert len(theirs.seconds.get("", [])) <= 1


def test_an_interpreter_that_is_not_there_is_one_line(toy):
    sides = [toy("ours"), toy("theirs", python="/no/python")]
    _, theirs = run_case(Case(name="toy", unit="MB", amount=1, sides=sides), blocks=1)
    assert theirs.failure == "/no/python cannot be started: No such file or directory"


def test_an_answer_that_changes_from_block_to_block_is_a_failure(toy):
    sides = [toy("ours"), toy("theirs", drifts=True)]
    _, theirs = run_case(Case(name="toy", unit="MB", amount=1, sides=sides, equal={"answer": 0}), blocks=2)
    assert theirs.failure == "its answer change from block to block"


def test_a_side_that_does_not_answer_is_ended(toy, monkeypatch):
    monkeypatch.setattr(side, "PATIENCE_SECONDS", 0.5)
    sides = [toy("ours"), toy("theirs", sleep=600)]
    _, theirs = run_case(Case(name="toy", unit="MB", amount=1, sides=sides), blocks=1)
    assert theirs.failure.startswith("ended with status -")


def test_how_long_it_will_take_is_said(toy, monkeypatch):
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(harness.time, "perf_counter", lambda: next(clock, 11.0))
    said = []
    run_case(Case(name="toy", unit="MB", amount=1, sides=[toy("ours", warm_up=False)]), blocks=4, say=said.append)
    assert said == ["about 33 s more"]


PARTS = """
import os

def setup(settings):
    return (lambda part: part), (lambda part: {"said": f"{part} of {os.getpid()}"})
"""


def test_parts_share_a_process_and_take_turns(tmp_path):
    (tmp_path / "parts.py").write_text(PARTS)
    sides = [Side(name=f"the {part}", file=str(tmp_path / "parts.py"), settings={}, part=part) for part in "ab"]
    first, second = run_case(Case(name="toy", unit="MB", amount=1, sides=sides), blocks=3)
    (mine, process), (other, same) = (each.checks["said"].split(" of ") for each in (first, second))
    assert (mine, other, process) == ("a", "b", same)
    assert len(first.seconds[""]) == len(second.seconds[""]) == 3


SPINNER = """
import threading

def spin():
    while True:
        pass

def setup(settings):
    threading.Thread(target=spin, daemon=True).start()
    return (lambda: None), (lambda _: {})
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_side_uses_no_processor_while_it_waits(tmp_path):
    (tmp_path / "spinner.py").write_text(SPINNER)
    with SideProcess(Side(name="spinner", file=str(tmp_path / "spinner.py"), settings={})) as process:
        process.set_up()
        process.block()
        time.sleep(0.05)  # until the signal has arrived
        before = cpu_seconds(process)
        time.sleep(0.3)
        assert cpu_seconds(process) == before
        process.block()


def cpu_seconds(process):
    fields = Path(f"/proc/{process._process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_every_library_hears_of_the_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "9")
    two, one = environment(2), environment(1)
    assert {two[f"{name}_NUM_THREADS"] for name in ("RAYON", "OMP", "OPENBLAS", "NUMBA")} == {"2"}
    assert (one["TOKENIZERS_PARALLELISM"], two["TOKENIZERS_PARALLELISM"]) == ("false", "true")


def test_memory_is_that_of_the_side_and_not_of_who_started_it(toy):
    ballast = bytearray(200_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    with SideProcess(toy("ours")) as process:
        process.set_up()
        process.block()
        assert 0 < process.memory < 100_000_000


def test_closing_twice_and_never_starting_are_no_errors(toy):
    process = SideProcess(toy("ours"))
    process.close()
    process.start()
    process.close()
    process.close()


DIES_SUDDENLY = """
import os, signal, sys
from hornbook.benchmarks.side import Side, SideProcess

process = SideProcess(Side(name="ours", file=sys.argv[1], settings={}))
process.start()
process.set_up()
process.block()
print(process._process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process that its parent is gone")
def test_a_stopped_side_ends_with_a_harness_that_is_killed(tmp_path):
    (tmp_path / "idle.py").write_text("def setup(settings):\n    return (lambda: None), (lambda _: {})\n")
    command = [sys.executable, "-c", DIES_SUDDENLY, str(tmp_path / "idle.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -9
    status = Path("/proc", done.stdout.strip(), "status")
    deadline = time.monotonic() + 20
    while is_alive(status) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_alive(status)


def is_alive(status):
    try:
        return "State:\tZ" not in status.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

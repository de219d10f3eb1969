"""The launcher of --nproc, with small programs in the place of training: who dies, who is told, what is left."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hornbook.distributed import launch as launching
from hornbook.distributed.environment import place_of
from hornbook.distributed.launch import EXIT_PEER_LOST, EXIT_PREEMPTED, launch
from hornbook.errors import TrainingError

PRELUDE = "import os, signal, sys, time\nrank = int(os.environ['RANK'])\n"


def program(text: str) -> list[str]:
    return [sys.executable, "-S", "-c", PRELUDE + textwrap.dedent(text)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching, "GRACE_SECONDS", 0.3)


def test_all_end_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()
    note = "open(sys.argv[-1] + os.environ['RANK'], 'w').write(repr(dict(os.environ)))"
    assert launch([*program(note), str(tmp_path / "rank")], 2) == 0
    places = [place_of(eval((tmp_path / f"rank{rank}").read_text())) for rank in range(2)]
    assert [(each.rank, each.local_rank, each.world_size, each.is_ours) for each in places] == [
        (0, 0, 2, True),
        (1, 1, 2, True),
    ]
    assert not (tmp_path / "logs").exists()


def test_preempted_together() -> None:
    assert launch(program(f"sys.exit({EXIT_PREEMPTED})"), 2) == EXIT_PREEMPTED


def test_a_killed_process_is_named_and_the_others_end() -> None:
    text = """
        print("the last words of", rank, flush=True)
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    """
    began = time.monotonic()
    with pytest.raises(TrainingError) as caught:
        launch(program(text), 3)
    assert time.monotonic() - began < 50.0
    said = str(caught.value)
    assert "rank 1 of 3 was killed by SIGKILL" in said
    assert "(the last words of 1)" in said
    log = Path(said.split("what it said is in ")[1].split(" ")[0])
    assert log.name == "rank-1.log"
    assert log.read_text() == "the last words of 1\n"


def test_who_merely_lost_another_is_not_blamed() -> None:
    text = f"""
        if rank == 2:
            time.sleep(0.2)
            sys.exit("what went wrong")
        sys.exit({EXIT_PEER_LOST})
    """
    with pytest.raises(TrainingError, match=r"rank 2 of 3 ended with status 1.*what went wrong"):
        launch(program(text), 3)


def test_an_error_that_nobody_caught_ends_those_who_wait_to_meet() -> None:
    text = """
        if rank == 1:
            raise ImportError("not on this machine")
        time.sleep(60)
    """
    began = time.monotonic()
    with pytest.raises(TrainingError, match=r"rank 1 of 2 ended with status 1.*\(ImportError: not on this machine\)"):
        launch(program(text), 2)
    assert time.monotonic() - began < 50.0


def test_what_the_first_process_has_said_is_not_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launching.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "logs"))
    (tmp_path / "logs").mkdir()
    assert launch(program("sys.exit(2)"), 2) == 2
    assert not (tmp_path / "logs").exists()


def test_what_the_first_process_says_does_not_hide_who_died_before() -> None:
    text = """
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.2)
        sys.exit(2)
    """
    with pytest.raises(TrainingError, match="rank 1 of 2 was killed by SIGKILL"):
        launch(program(text), 2)


def test_the_program_of_one_of_several_ends_without_the_interpreter() -> None:
    """Whose end threads of torch.distributed may not survive."""
    text = """
        import atexit
        atexit.register(print, "the interpreter ended")
        from hornbook.cli.main import main
        sys.argv = ["hornbook", "train"]
        sys.exit(main())
    """
    several = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for more, ended in (({"RANK": "0"}, True), (several, False)):
        command = [sys.executable, "-c", PRELUDE + textwrap.dedent(text)]
        done = subprocess.run(command, env={**os.environ, **more}, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "no configuration" in done.stderr
        assert ("the interpreter ended" in done.stdout) == ended


def test_signals_reach_everybody(tmp_path: Path) -> None:
    text = f"""
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit({EXIT_PREEMPTED}))
        open(sys.argv[-1] + str(rank), 'w').close()
        time.sleep(60)
    """
    command = [*program(text), str(tmp_path / "ready")]
    outer = f"import sys; from hornbook.distributed.launch import launch; sys.exit(launch({command!r}, 2))"
    launcher = subprocess.Popen([sys.executable, "-c", outer])
    while len(list(tmp_path.glob("ready*"))) < 2:
        assert launcher.poll() is None
        time.sleep(0.02)
    launcher.send_signal(signal.SIGUSR1)
    assert launcher.wait(60) == EXIT_PREEMPTED


def test_when_the_launcher_is_killed_input_ends(tmp_path: Path) -> None:
    text = """
        open(sys.argv[-1] + str(rank), 'w').close()
        os.read(0, 1)
        open(sys.argv[-1] + 'end' + str(rank), 'w').close()
    """
    command = [*program(text), str(tmp_path / "ready")]
    outer = f"from hornbook.distributed.launch import launch; launch({command!r}, 2)"
    launcher = subprocess.Popen([sys.executable, "-c", outer])
    while len(list(tmp_path.glob("ready?"))) < 2:
        time.sleep(0.02)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 60.0
    while len(list(tmp_path.glob("readyend?"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_cores_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(launching, "available_cores", lambda: 8)
    assert launching._environment(0, 3, Path("x"))["OMP_NUM_THREADS"] == "2"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert launching._environment(0, 3, Path("x"))["OMP_NUM_THREADS"] == "5"
    assert os.environ["OMP_NUM_THREADS"] == "5"

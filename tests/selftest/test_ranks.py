"""Processes of a self-test: how they end, and what is made of it."""

import os
import textwrap
from pathlib import Path

import pytest

from hornbook.errors import HornbookError, TrainingError
from hornbook.selftest.ranks import run_ranks

PROGRAM = """
import atexit, os, signal
from hornbook.errors import TrainingError
from hornbook.selftest.ranks import be_a_rank

rank = int(os.environ["RANK"])
atexit.register(lambda: open(sys.argv[1] + "/interpreter", "w"))

def work(folder):
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Run two processes that do so much."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def started(does: str) -> Path:
        text = "import sys\n" + PROGRAM + textwrap.indent(textwrap.dedent(does), "    ") + "\nbe_a_rank(work)\n"
        (tmp_path / "a_rank.py").write_text(text)
        run_ranks("a_rank", tmp_path, 2)
        return tmp_path

    return started


def test_they_end_without_the_interpreter(run) -> None:
    """Whose end threads of torch.distributed may not survive; what was said is said."""
    folder = run("print('done', rank)")
    assert not (folder / "interpreter").exists()


def test_what_the_first_one_cannot_do_is_its_message(run) -> None:
    with pytest.raises(HornbookError, match=r"^too few rows$"):
        run("raise TrainingError('too few rows')")


def test_another_one_is_named(run) -> None:
    with pytest.raises(TrainingError, match=r"rank 1 of 2 ended with status 2.*\(no room here\)"):
        run("if rank: raise TrainingError('no room here')")


def test_an_interruption_is_one(run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("os.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(60)")

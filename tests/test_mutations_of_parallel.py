"""Bugs that are put into data parallel training on purpose are seen: scripts/mutations_of_parallel.py."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "mutations_of_parallel.py"


def test_every_bug_can_still_be_put_in():
    """The right text of each stands in its file once; else the bug is STALE, which the slow test says too late."""
    code = (
        "from mutations_of_parallel import MUTATIONS, ROOT\n"
        "edits = [edit for each in MUTATIONS for edit in each.edits]\n"
        "source = ROOT / 'src' / 'hornbook'\n"
        "print(len(MUTATIONS), [(f, r) for f, r, _ in edits if (source / f).read_text().count(r) != 1])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("16 []\n", "")


@pytest.mark.slow
def test_every_bug_is_seen():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 of 16 caught" in done.stdout

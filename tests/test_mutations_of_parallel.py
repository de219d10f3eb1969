"""Bugs that are put into data parallel training on purpose are seen: scripts/mutations_of_parallel.py."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "mutations_of_parallel.py"


@pytest.mark.slow
def test_every_bug_is_seen():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "16 of 16 caught" in done.stdout

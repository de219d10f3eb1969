"""The exactness suite sees bugs that are put into our code on purpose: scripts/mutations_of_diffusion.py."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "mutations_of_diffusion.py"


@pytest.mark.slow
def test_every_bug_is_seen():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 of 10 caught" in done.stdout

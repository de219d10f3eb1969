import os
import subprocess
import sys

import pytest

from hornbook.errors import HornbookError
from hornbook.storage.lock import alone

pytestmark = pytest.mark.skipif(os.name == "nt", reason="no flock")

BUSY = HornbookError("busy")


def test_a_second_holder_is_refused_until_the_first_has_gone(tmp_path):
    with alone(tmp_path, otherwise=BUSY):
        with pytest.raises(HornbookError, match="busy"), alone(tmp_path, otherwise=BUSY):
            pytest.fail("both are alone")
        with alone(tmp_path.parent, otherwise=BUSY):
            pass
    with alone(tmp_path, otherwise=BUSY):
        pass


def test_a_killed_holder_holds_nothing(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path; from hornbook.errors import HornbookError\n"
        "from hornbook.storage.lock import alone\n"
        "with alone(Path(sys.argv[1]), otherwise=HornbookError('busy')): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    with alone(tmp_path, otherwise=BUSY):
        pass


def test_an_error_inside_frees_it(tmp_path):
    with pytest.raises(ZeroDivisionError), alone(tmp_path, otherwise=BUSY):
        _ = 1 / 0
    with alone(tmp_path, otherwise=BUSY):
        pass

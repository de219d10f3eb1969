"""One thread for every test and every process that a test starts; and Ctrl-C reaches them.

Tensors here are so small that waking a second thread costs more than their arithmetic; and on a machine that is busy
with something else, two threads that wait for each other are slower than one by far.
"""

import importlib.abc
import importlib.machinery
import os
import signal
import subprocess
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# Started in the background by a script, pytest inherits that SIGINT is ignored, and so would what the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


class _Kernels(importlib.abc.MetaPathFinder):
    """Finds modules of kernels as ever: checks of shapes cannot be put into what numba compiles."""

    def find_spec(self, fullname, path, target=None):
        if not fullname.startswith("hornbook.generation.kernels."):
            return None
        return importlib.machinery.PathFinder.find_spec(fullname, path, target)


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before the finder that puts checks in, which --jaxtyping-packages has installed by now."""
    sys.meta_path.insert(0, _Kernels())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Checks of shapes cannot be compiled: beside them a test that `compiles` runs in a process of its own."""
    if pyfuncitem.get_closest_marker("compiles") is None or not pyfuncitem.config.getoption("--jaxtyping-packages"):
        return None
    node, root = pyfuncitem.nodeid, str(pyfuncitem.config.rootpath)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", node]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stdout[-5000:] + done.stderr[-1000:], pytrace=False)
    return True

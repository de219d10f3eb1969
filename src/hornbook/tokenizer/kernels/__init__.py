"""The tokenizer's inner loops, compiled by numba. Import this only through `compiled`, which knows when it pays.

Every kernel has a definition in plain Python elsewhere in this room, which tests compare it with. Compiled code is kept
in the user's cache directory under a digest of all files here: numba's own cache would not notice that a file changed
from which another file takes a function. What no process has looked for in KEPT_DAYS is deleted at the next compiling.
"""

import hashlib
import importlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from types import ModuleType

import llvmlite.binding
import numba

from hornbook.storage.atomic import discard_directory, sweep_temporaries
from hornbook.storage.disk import StorageError
from hornbook.storage.user_cache import user_cache

KEPT_DAYS = 90

_MODULES = {"train": ("counting", "merging"), "encode": ("encoding", "name_search", "decoding")}
"""What each task needs; each module has `exercise()`, which runs all its kernels on a few bytes."""


def load(task: str) -> None:
    """Import the kernels of a task and run each once, which compiles it or takes it from the cache."""
    compiled = is_compiled(task)
    for name in _MODULES[task]:
        module(name).exercise()
    if not compiled:
        _marker(task).parent.mkdir(parents=True, exist_ok=True)  # another process may have swept it meanwhile
        _marker(task).touch()
        _sweep(cache_directory().parent)


def is_compiled(task: str) -> bool:
    """Whether an earlier process compiled the kernels of a task with this version of them."""
    return _marker(task).exists()


def module(name: str) -> ModuleType:
    """One of the modules of this package, with its compiled code kept in `cache_directory`."""
    with _cache_in(cache_directory()):
        return importlib.import_module(f"hornbook.tokenizer.kernels.{name}")


@cache
def cache_directory() -> Path:
    """Where compiled code is kept: HORNBOOK_CACHE, or the cache directory of this system; else a temporary one."""
    name = f"kernels-{_digest(Path(__file__).parent)}"
    for parent in (user_cache(), Path(gettempdir()) / f"hornbook-{os.getuid() if hasattr(os, 'getuid') else 'user'}"):
        directory = parent / name
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(directory, os.W_OK):
            os.utime(directory)  # somebody wants it still
            return directory
    raise OSError("no directory for compiled code can be written")


def _digest(folder: Path) -> str:
    """Of all that decides whether numba finds compiled code: besides the source its path and time, and the machine."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.implementation.cache_tag}".encode())
    digest.update(llvmlite.binding.get_host_cpu_name().encode())
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path} {path.stat().st_mtime_ns}".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _sweep(parent: Path) -> None:
    """Delete compiled code that nobody has looked for in a long time; what the disk refuses stays for another sweep."""
    with suppress(OSError, StorageError):
        sweep_temporaries(parent)  # of sweeps that were killed
        for directory in parent.glob("kernels-*"):
            if directory.stat().st_mtime < time.time() - KEPT_DAYS * 24 * 3600:
                discard_directory(directory)


@contextmanager
def _cache_in(directory: Path) -> Iterator[None]:
    """numba asks where to keep compiled code when a function is decorated, which is when its module is imported."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def _marker(task: str) -> Path:
    return cache_directory() / f"{task}.compiled"

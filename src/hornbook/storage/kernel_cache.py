"""Where the code that numba compiles is kept: a directory of the user's cache, named by a digest of all its sources.

numba's own cache would not notice that a file changed from which another file takes a function, and would write beside
the sources, which may be read-only. What no process has looked for in KEPT_DAYS is deleted at the next compiling.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from hornbook.storage.atomic import discard_directory, sweep_temporaries
from hornbook.storage.disk import StorageError
from hornbook.storage.user_cache import user_cache

KEPT_DAYS = 90


@cache
def cache_directory(folder: Path) -> Path:
    """For the kernels whose sources are in `folder`: in HORNBOOK_CACHE or this system's cache, else a temporary one.

    Raises:
        ImportError: if numba is missing.
        OSError: if no directory can be written.
    """
    name = f"kernels-{_digest(folder)}"
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
    import llvmlite.binding
    import numba

    digest = hashlib.sha256(f"{numba.__version__} {sys.implementation.cache_tag}".encode())
    digest.update(llvmlite.binding.get_host_cpu_name().encode())
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path} {path.stat().st_mtime_ns}".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def cache_in(directory: Path) -> Iterator[None]:
    """Import kernels inside: numba asks where to keep compiled code when a function is decorated."""
    import numba

    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def is_marked(directory: Path, task: str) -> bool:
    """Whether a process has compiled the kernels of a task there."""
    return _marker(directory, task).exists()


def mark(directory: Path, task: str) -> None:
    """Note that the kernels of a task are compiled, and delete compiled code that nobody has looked for in long."""
    directory.mkdir(parents=True, exist_ok=True)  # another process may have swept it meanwhile
    _marker(directory, task).touch()
    with suppress(OSError, StorageError):  # what the disk refuses stays for another sweep
        sweep_temporaries(directory.parent)  # of sweeps that were killed
        for other in directory.parent.glob("kernels-*"):
            if other.stat().st_mtime < time.time() - KEPT_DAYS * 24 * 3600:
                discard_directory(other)


def _marker(directory: Path, task: str) -> Path:
    return directory / f"{task}.compiled"

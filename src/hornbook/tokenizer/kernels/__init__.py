"""The tokenizer's inner loops, compiled by numba. Import this only through `compiled`, which knows when it pays.

Every kernel has a definition in plain Python elsewhere in this room, which tests compare it with. Compiled code is kept
in the user's cache directory under a digest of all files here: numba's own cache would not notice that a file changed
from which another file takes a function.
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from types import ModuleType

import numba

from hornbook.storage.user_cache import user_cache

_MODULES = {"train": ("counting", "merging"), "encode": ("encoding", "name_search", "decoding")}
"""What each task needs; each module has `exercise()`, which runs all its kernels on a few bytes."""


def load(task: str) -> None:
    """Import the kernels of a task and run each once, which compiles it or takes it from the cache."""
    for name in _MODULES[task]:
        module(name).exercise()
    _marker(task).touch()


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
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources))
    digest.update(f"{numba.__version__} {sys.implementation.cache_tag}".encode())
    name = f"kernels-{digest.hexdigest()[:16]}"
    for parent in (user_cache(), Path(gettempdir()) / f"hornbook-{os.getuid() if hasattr(os, 'getuid') else 'user'}"):
        directory = parent / name
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(directory, os.W_OK):
            return directory
    raise OSError("no directory for compiled code can be written; set HORNBOOK_CACHE to one")


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

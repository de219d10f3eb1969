"""The tokenizer's inner loops, compiled by numba. Import this only through `compiled`, which knows when it pays.

Every kernel has a definition in plain Python elsewhere in this room, which tests compare it with. Compiled code is kept
where hornbook.storage.kernel_cache says.
"""

import importlib
from pathlib import Path
from types import ModuleType

from hornbook.storage import kernel_cache

_MODULES = {"train": ("counting", "merging"), "encode": ("encoding", "name_search", "decoding")}
"""What each task needs; each module has `exercise()`, which runs all its kernels on a few bytes."""


def load(task: str) -> None:
    """Import the kernels of a task and run each once, which compiles it or takes it from the cache."""
    compiled = is_compiled(task)
    for name in _MODULES[task]:
        module(name).exercise()
    if not compiled:
        kernel_cache.mark(cache_directory(), task)


def is_compiled(task: str) -> bool:
    """Whether an earlier process compiled the kernels of a task with this version of them."""
    return kernel_cache.is_marked(cache_directory(), task)


def module(name: str) -> ModuleType:
    """One of the modules of this package, with its compiled code kept in `cache_directory`."""
    with kernel_cache.cache_in(cache_directory()):
        return importlib.import_module(f"hornbook.tokenizer.kernels.{name}")


def cache_directory() -> Path:
    """Where compiled code is kept: HORNBOOK_CACHE, or the cache directory of this system; else a temporary one."""
    return kernel_cache.cache_directory(Path(__file__).parent)

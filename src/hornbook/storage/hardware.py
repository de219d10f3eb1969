"""The machine that a process runs on, as far as the system says. Imports nothing heavy."""

import os
import platform
from pathlib import Path

from hornbook.storage.cores import available_cores


def hardware() -> dict[str, object]:
    """The processor's name, the cores that this process may use, and the machine's memory in bytes (None: unknown)."""
    return {"processor": processor(), "cores": available_cores(), "memory_bytes": _memory_bytes()}


def processor(root: Path = Path("/")) -> str:
    """The processor's name, or else its architecture."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not POSIX
        return None

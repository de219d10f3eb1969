"""How much memory there still is: what a device or this process may yet take."""

from pathlib import Path

import torch

_CGROUPS = (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat", "total_inactive_file"),
)
"""Limit, use, and the part of use that is cached files, given up as soon as somebody needs the memory."""


def free_bytes(device: torch.device, *, root: Path = Path("/")) -> int | None:
    """Bytes that can still be allocated on `device`; None where the system does not say.

    On a CPU the least of what the system has available and of what the process's control group leaves.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    limits = (_available(root / "proc/meminfo"), *_left_to_group(root / "sys/fs/cgroup"))
    return min((left for left in limits if left is not None), default=None)


def _available(meminfo: Path) -> int | None:
    if not meminfo.is_file():
        return None
    lines = (line.split() for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines())
    return next((int(words[1]) * 1024 for words in lines if words[:1] == ["MemAvailable:"]), None)


def _left_to_group(folder: Path) -> list[int]:
    """Limit minus use, of both generations of control groups; a group without a limit says "max" or a huge number."""
    left = []
    for limit, used, statistics, cached in _CGROUPS:
        try:
            free = int((folder / limit).read_text()) - int((folder / used).read_text())
        except (OSError, ValueError):
            continue
        left.append(max(0, free + _entry(folder / statistics, cached)))
    return left


def _entry(statistics: Path, name: str) -> int:
    if not statistics.is_file():
        return 0
    lines = (line.split() for line in statistics.read_text(encoding="ascii").splitlines())
    return next((int(words[1]) for words in lines if words[:1] == [name]), 0)

"""How much memory was taken, and on CUDA by whom: peaks, a summary, the history of the allocator.

On a CPU there is no such allocator: its functions do nothing there and say so, and the peak is the process's own.

    start_history(); ...; write_history(Path("memory.json")); print(summary()); print(peaks()); reset_peaks()
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from hornbook.storage.atomic import replace_file

HISTORY_ENTRIES = 100_000
"""Allocations and frees that are remembered, the newest of them."""


def start_history(device: torch.device | None = None, *, entries: int = HISTORY_ENTRIES) -> bool:
    """Remember every allocation of CUDA memory with the Python lines that asked for it; False without CUDA."""
    if not _is_cuda(device):
        return False
    torch.cuda.memory._record_memory_history(max_entries=entries, stacks="python")
    return True


def stop_history(device: torch.device | None = None) -> None:
    """Remember nothing any more."""
    if _is_cuda(device):
        torch.cuda.memory._record_memory_history(enabled=None)


def write_history(path: Path, device: torch.device | None = None) -> bool:
    """Write what the allocator holds and remembers as JSON; False, and no file, without CUDA.

    Raises:
        StorageError: if the disk refuses.
    """
    if not _is_cuda(device):
        return False
    snapshot: dict[str, Any] = torch.cuda.memory._snapshot()
    replace_file(path, json.dumps(snapshot, default=str))
    return True


def history_page(device: torch.device | None = None) -> str | None:
    """The history as torch's own HTML page, which fetches its script over the network; None without CUDA."""
    if not _is_cuda(device):
        return None
    from torch.cuda import _memory_viz

    page: str = _memory_viz.trace_plot(torch.cuda.memory._snapshot())  # type: ignore[no-untyped-call]
    return page


def peaks(device: torch.device | None = None) -> dict[str, int]:
    """Bytes at most: `host_peak_bytes` of this process, and on CUDA `allocated_` and `reserved_peak_bytes`.

    What the system does not tell is left out.
    """
    found = {}
    if (host := host_peak_bytes()) is not None:
        found["host_peak_bytes"] = host
    if _is_cuda(device):
        found["allocated_peak_bytes"] = torch.cuda.max_memory_allocated(device)
        found["reserved_peak_bytes"] = torch.cuda.max_memory_reserved(device)
    return found


def reset_peaks(device: torch.device | None = None) -> None:
    """Count CUDA peaks anew from here. A process's own peak never falls."""
    if _is_cuda(device):
        torch.cuda.reset_peak_memory_stats(device)


def summary(device: torch.device | None = None) -> str:
    """Peaks in words; on CUDA torch's table of its allocator too."""
    lines = [
        f"{name.replace('_', ' ').removesuffix(' bytes')}: {size / 2**20:,.0f} MiB"
        for name, size in peaks(device).items()
    ]
    return "\n".join([*lines, *([torch.cuda.memory_summary(device)] if _is_cuda(device) else [])])


def host_peak_bytes() -> int | None:
    """Most memory that this process had resident; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere but on macOS


def _is_cuda(device: torch.device | None) -> bool:
    return torch.cuda.is_available() if device is None else device.type == "cuda"

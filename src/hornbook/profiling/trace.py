"""torch.profiler over a stretch of work: a trace that Perfetto shows, and which operators took the time."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from hornbook.storage.atomic import replacement


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What calls of one operator took; times in seconds, those called by it left out."""

    name: str
    calls: int
    host: float
    device: float
    """0 without an accelerator."""


class Trace:
    """What was recorded; to be read when recording has ended."""

    def __init__(self, profiler: torch.profiler.profile) -> None:
        self._profiler = profiler

    def write(self, path: Path) -> None:
        """Write the trace, gzipped, for https://ui.perfetto.dev or chrome://tracing; `path` ends with .json.gz.

        Raises:
            StorageError: if the disk refuses.
        """
        with replacement(path) as temporary:
            named = temporary.with_name(f"{temporary.name}.json.gz")  # torch goes by the name's end
            try:
                self._profiler.export_chrome_trace(str(named))
                named.replace(temporary)
            finally:
                named.unlink(missing_ok=True)

    def operators(self) -> list[Operator]:
        """The dearest first: by time on the device where there is one, else on the host. Ranges are left out."""
        found = [
            Operator(
                name=event.key,
                calls=event.count,
                host=event.self_cpu_time_total / 1e6,
                device=event.self_device_time_total / 1e6,
            )
            for event in self._profiler.key_averages()
            if not event.is_user_annotation
        ]
        return sorted(found, key=lambda each: (-each.device, -each.host))


@contextlib.contextmanager
def traced(device: torch.device) -> Iterator[Trace]:
    """Record what happens inside, on the host and on a CUDA device."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or its library writes of itself to the terminal
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        yield Trace(profiler)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

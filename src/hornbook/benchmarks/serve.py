"""The far end of the harness: a process that sets one side up and runs blocks of it on request.

Started as `python -P serve.py SIDE.py` in whatever environment the side lives in, so this file and those in `sides` for
other libraries import nothing of hornbook. A side is a file with

    def setup(settings) -> (block, checks)

where block() is what is timed and checks(what block returned) gives values to compare, which takes no part of the time.
Where several sides are parts of one file, block(part) is told which. One message a line, as JSON:

    in     the settings                                first, once
    out    {"setup": seconds}
    in     "block", or the name of a part              each asks for a block
    out    {"seconds": ...}                            at once, so that who waits can hold a clock too
    out    {"checks": ..., "memory": bytes, "idle": share of a core used while it waited}
    out    {"error": "one line"}                       instead of any of these; then the process ends
"""

import contextlib
import ctypes
import gc
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Serve one side until the input ends."""
    _end_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is not part of the conversation

    def say(**message: object) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    try:
        _serve(sys.argv[1], say)
    except Exception as error:  # noqa: BLE001  # whatever a side dies of is one line for the table
        say(error=" ".join(f"{type(error).__name__}: {error}".split())[:300])
        sys.exit(1)


def _end_with_parent() -> None:
    """On Linux, be killed when who started us is: a process that is stopped would never see its input end."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _serve(side: str, say: Callable[..., None]) -> None:
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    start = time.perf_counter()
    block, checks = runpy.run_path(side)["setup"](settings)
    say(setup=time.perf_counter() - start)
    waited = used = 0.0
    wall, cpu = time.perf_counter(), time.process_time()
    for line in sys.stdin:
        waited, used = waited + time.perf_counter() - wall, used + time.process_time() - cpu
        gc.collect()
        part = json.loads(line)
        start = time.perf_counter()
        result = block() if part == "block" else block(part)
        say(seconds=time.perf_counter() - start)
        memory = peak_memory()
        say(checks=checks(result), memory=memory, idle=used / max(waited, 1.0))
        del result
        wall, cpu = time.perf_counter(), time.process_time()


def peak_memory() -> int | None:
    """The most bytes that this process has held in memory; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  # lighter than pathlib
            fields = dict(line.split(":", 1) for line in status)
        return int(fields["VmHWM"].split()[0]) * 1024  # getrusage's figure would begin with that of who started us
    except (OSError, KeyError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main()

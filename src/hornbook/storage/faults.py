"""Named instants at which a test can kill the process, as the kernel or a power cut would: no clean-up, no `finally`.

    HORNBOOK_CRASH=checkpoint:rename     dies the first time that instant is reached
    HORNBOOK_CRASH=checkpoint:rename@3   dies the third time
    HORNBOOK_CRASH=train:step@3#1        of several processes, only that of rank 1

Without the variable a crash point is one look-up in the environment, about a microsecond beside a write to disk.
"""

import os
import signal
from collections import Counter

_reached: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Kill this process here if HORNBOOK_CRASH asks for it; for tests of what survives."""
    wanted = os.environ.get("HORNBOOK_CRASH")
    if not wanted:
        return
    wanted, _, rank = wanted.partition("#")
    wanted_name, _, ordinal = wanted.partition("@")
    if name != wanted_name or (rank and os.environ.get("RANK", "0") != rank):
        return
    _reached[name] += 1
    if _reached[name] == int(ordinal or 1):
        # Windows has no SIGKILL; there SIGTERM ends a process just as abruptly.
        os.kill(os.getpid(), signal.SIGTERM if os.name == "nt" else signal.SIGKILL)

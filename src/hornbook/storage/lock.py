"""One process at a time in a directory, or at a file.

On Windows, and on file systems that know no locks, nothing is kept.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hornbook.errors import HornbookError
from hornbook.storage.disk import explained


@contextlib.contextmanager
def alone(place: Path, *, otherwise: HornbookError) -> Iterator[None]:
    """Keep other processes that ask alike out of an existing directory, or off a file; the system ends that with this
    process.

    Raises:
        HornbookError: `otherwise`, if another process is there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = _opened(place)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise otherwise from None
    except OSError:
        pass  # no locks here
    try:
        yield
    finally:
        os.close(descriptor)


def is_taken(place: Path) -> bool:
    """Whether a process is there by `alone` now; any number may ask at once. False where it cannot be known."""
    try:
        import fcntl
    except ImportError:
        return False
    descriptor = _opened(place)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # no locks here
    finally:
        os.close(descriptor)
    return False


def _opened(place: Path) -> int:
    """For writing, where that can be: over NFS nothing else can be locked."""
    with explained(place):
        try:
            return os.open(place, os.O_RDWR)
        except OSError:  # a directory, or not ours
            return os.open(place, os.O_RDONLY)

"""One process at a time in a directory."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from hornbook.errors import HornbookError
from hornbook.storage.disk import explained


@contextlib.contextmanager
def alone(directory: Path, *, otherwise: HornbookError) -> Iterator[None]:
    """Keep other processes that ask alike out of an existing directory; the system ends that with this process.

    On Windows, and on file systems that know no locks, nothing is kept.

    Raises:
        HornbookError: `otherwise`, if another process is there.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with explained(directory):
        descriptor = os.open(directory, os.O_RDONLY)
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

"""What the disk says, in words for people, and how to make it keep what it was given.

The operating system reports a full disk as `OSError(28)`. A user needs the path, the cause and what to do, so every
writer of this package lets such errors pass through `explained`.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from hornbook.errors import HornbookError

# Keyed by symbol: not every platform defines every number.
_ADVICE = {
    "ENOSPC": "the disk is full; free some space (`hornbook checkpoint prune RUN` removes old checkpoints) "
    "or write to another disk",
    "EDQUOT": "your disk quota is used up; free some space or write to another disk",
    "EROFS": "the file system is read-only; write to another folder",
    "EACCES": "writing here is not allowed; change the folder's permissions or write to another folder",
    "EPERM": "writing here is not allowed; change the folder's permissions or write to another folder",
    "EFBIG": "the file would be larger than is allowed here; raise the limit (ulimit -f) or write to another disk",
    "EIO": "the device failed; check the disk and write to another one",
    "ENOENT": "a folder on the way does not exist; create it or correct the path",
    "ENOTDIR": "a part of the path is a file, not a folder; correct the path",
    "EEXIST": "it exists already; choose another name",
    "ENAMETOOLONG": "the name is too long; choose a shorter one",
}
# Some file systems cannot sync a directory and say so with one of these; then there is nothing more to do.
_CANNOT_SYNC_DIRECTORIES = {errno.EINVAL, errno.EBADF, errno.ENOTSUP}


class StorageError(HornbookError):
    """The disk would not take a file: full, read-only, not allowed, broken or already there."""


def storage_error(path: Path, error: OSError) -> StorageError:
    """`error`, met while writing `path`, as one sentence that says what to do."""
    symbol = errno.errorcode.get(error.errno or 0, "unknown error")
    advice = _ADVICE.get(symbol, "check the path and the disk")
    return StorageError(f"{path}: cannot be written ({error.strerror or error}): {advice}")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError of the enclosed block into a StorageError about `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, error) from error


def sync_file(path: Path) -> None:
    """Wait until a written file's content is on the disk."""
    # Windows syncs only descriptors that may write.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Wait until a directory's entries (creations, renames) are on the disk; does nothing where that is impossible."""
    if os.name == "nt":  # directories cannot be opened there; NTFS journals its names
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_DIRECTORIES:
            raise
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Wait until everything below a directory, and the directory itself, is on the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            sync_file(Path(folder, name))
        sync_directory(Path(folder))

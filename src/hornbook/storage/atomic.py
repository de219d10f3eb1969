"""All or nothing: files and directories that are either as they were or completely new, whenever the process dies.

Everything is written under a temporary name beside its final one, synced, and then renamed, which the file system does
at once. A directory that exists cannot be renamed over, so replacing one takes two renames:

    1  step-10            -> .old-…-step-10     set aside, still whole
    2  .tmp-…-step-10     -> step-10            the new one takes its place
    3  .old-…-step-10     deleted

A process killed between 1 and 2 leaves the old one whole under its set-aside name: `standing` finds it there, and the
next `sweep_temporaries` renames it back. So there is no instant at which neither can be read.

Names of temporaries tell who made them (machine, process), so that sweeping never touches a living writer's files.
"""

import contextlib
import functools
import os
import platform
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from hornbook.storage.digest import bytes_sha256
from hornbook.storage.disk import StorageError, explained, storage_error, sync_directory, sync_file, sync_tree
from hornbook.storage.faults import crash_point

_MARKED = re.compile(r"\.(?P<kind>tmp|old)-(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-(?P<life>[0-9a-f]{6})-\w+-(?P<name>.+)")
# A process of another machine (on Windows, of any) cannot be asked whether it still lives; after a day it does not.
_SURELY_ABANDONED_SECONDS = 24 * 3600


def replace_file(path: Path, data: bytes | str) -> None:
    """Write `path` whole, or leave it as it was.

    Text is stored as UTF-8 with its line ends unchanged. The folder must exist.

    Raises:
        StorageError: if the disk refuses; what stood at `path` is unchanged.
    """
    with replacement(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """A temporary place for a file that becomes `path` when the block ends well, and vanishes when it raises.

    Raises:
        StorageError: if the disk refuses; what stood at `path` is unchanged.
    """
    temporary = _marked("tmp", path)
    try:
        with explained(path):
            yield temporary
            sync_file(temporary)
            temporary.replace(path)
            sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):  # a disk that refused the file may refuse this too; the first error counts
            temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def commit_directory(final: Path, *, replace: bool = False) -> Iterator[Path]:
    """A temporary directory that becomes `final` when the block ends well, and vanishes when it raises.

    With `replace`, a directory that stands at `final` gives way to the new one only when that is complete and synced.

    Raises:
        StorageError: if `final` exists and may not be replaced, or the disk refuses; `final` is unchanged.
    """
    if final.exists() and not (replace and final.is_dir()):
        raise StorageError(f"{final}: exists already; choose another name or remove it")
    temporary = _marked("tmp", final)
    with explained(final):
        temporary.mkdir(parents=True)
    try:
        try:
            yield temporary
        except StorageError as error:  # of a writer that was given a path in our directory, which nobody else knows
            raise StorageError(str(error).replace(temporary.name, final.name)) from error
        except OSError as error:
            # A failed write names no file, or one in our directory. Anything else (a source that is missing) is the
            # caller's to explain.
            if error.filename is None or temporary in Path(str(error.filename)).parents:
                raise storage_error(final, error) from error
            raise
        with explained(final):
            sync_tree(temporary)
            _swap(temporary, final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def standing(final: Path) -> Path:
    """Where the directory `final` can be read now: there, or set aside by a replacement that was killed half way."""
    return final if final.exists() else set_aside(final.parent).get(final.name, final)


def set_aside(parent: Path) -> dict[str, Path]:
    """The directories of `parent` that can only be read under their set-aside name, by their own name."""
    found = {_parts(path)["name"]: path for path in _marked_in(parent, "old")}
    return {name: path for name, path in found.items() if not (parent / name).exists()}


def discard_directory(path: Path) -> None:
    """Delete a directory such that a half-deleted one is never taken for a whole one.

    Raises:
        StorageError: if the disk refuses.
    """
    doomed = _marked("tmp", path)
    with explained(path):
        path.rename(doomed)
        sync_directory(path.parent)
        crash_point("storage:discard")
        _delete(doomed)


def sweep_temporaries(parent: Path) -> int:
    """Clear away what killed writers left in `parent` (not below it); returns how many leftovers there were.

    A directory that was set aside and has no successor is put back. Files of writers that still live are left alone.
    """
    swept = 0
    for path in _marked_in(parent, "old"):
        final = path.with_name(_parts(path)["name"])
        if not _abandoned(path):
            continue
        with explained(final):
            if final.exists():
                discard_directory(path)
            else:
                path.rename(final)
                sync_directory(parent)
        swept += 1
    for path in _marked_in(parent, "tmp"):
        if not _abandoned(path):
            continue
        with explained(path):
            _delete(path)
        swept += 1
    return swept


def is_temporary(path: Path) -> bool:
    """Whether `path` bears a name of this module: half written, half deleted or set aside."""
    return _MARKED.fullmatch(path.name) is not None


def _swap(temporary: Path, final: Path) -> None:
    old = None
    if final.exists():
        old = _marked("old", final)
        final.rename(old)
        crash_point("storage:swap")
    try:
        temporary.rename(final)
    except BaseException:
        if old is not None:
            old.rename(final)
        raise
    sync_directory(final.parent)
    if old is not None:
        with contextlib.suppress(StorageError):  # the new one stands; what cannot go now is swept another time
            discard_directory(old)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _marked(kind: str, path: Path) -> Path:
    return path.with_name(f".{kind}-{_host()}-{os.getpid()}-{_life()}-{secrets.token_hex(3)}-{path.name}")


def _marked_in(parent: Path, kind: str) -> list[Path]:
    return sorted(path for path in parent.glob(f".{kind}-*") if is_temporary(path))


def _parts(path: Path) -> dict[str, str]:
    match = _MARKED.fullmatch(path.name)
    assert match is not None
    return match.groupdict()


def _abandoned(path: Path) -> bool:
    parts = _parts(path)
    pid = int(parts["pid"])
    if parts["host"] != _host() or os.name == "nt":
        return time.time() - path.lstat().st_mtime > _SURELY_ABANDONED_SECONDS
    if pid == os.getpid():  # containers give every life of a program the same number
        return parts["life"] != _life()
    try:
        os.kill(pid, 0)  # asks without sending; not so on Windows, where it would end the process
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@functools.cache
def _host() -> str:
    return bytes_sha256(platform.node().encode())[:6]


@functools.cache
def _life() -> str:
    return secrets.token_hex(3)

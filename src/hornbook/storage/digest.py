"""SHA-256 digests, in lower-case hexadecimal, of files and of bytes."""

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """The digest of a file's content, read in pieces so that memory stays small."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_sha256(data: bytes) -> str:
    """The digest of bytes in memory."""
    return hashlib.sha256(data).hexdigest()

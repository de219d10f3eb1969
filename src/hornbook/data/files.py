"""Input files: finding them in folders, and reading compressed ones as a plain stream of bytes."""

import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hornbook.data.documents import Gate
from hornbook.errors import MissingExtraError

if TYPE_CHECKING:
    from zstandard import ZstdDecompressionObj

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".tokens", ".raw")
JSONL_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")
COMPRESSED_SUFFIXES = (".gz", ".zst")
_CHUNK = 1 << 18


def files_below(paths: Sequence[Path], suffixes: tuple[str, ...]) -> list[Path]:
    """The files that `paths` mean: each file itself, each folder all files below it that have one of the suffixes.

    Those of a folder are sorted, with hidden ones left out. What does not exist is left out too.
    """
    found: list[Path] = []
    for path in paths:
        found += _files_in(path, suffixes) if path.is_dir() else [path] if path.exists() else []
    return found


def input_files(paths: Sequence[Path], suffixes: tuple[str, ...], gate: Gate) -> Iterator[Path]:
    """The same one by one, with a missing path and a folder without such files refused."""
    for path in paths:
        if not path.exists():
            gate.refuse("missing path", f"{path}: no such file or folder; correct the path in data.source.paths")
        found = files_below([path], suffixes)
        if path.is_dir() and not found:
            gate.refuse(
                "empty folder", f"{path}: no files that end in {', '.join(suffixes)} below this folder; add some"
            )
        yield from found


def _files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    files = [path for path in folder.rglob("*") if _plain_suffix(path) in suffixes and path.is_file()]
    visible = [path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(visible, key=lambda path: path.relative_to(folder).parts)


def _plain_suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in COMPRESSED_SUFFIXES else path).suffix.lower()


@contextlib.contextmanager
def opened(path: Path, gate: Gate) -> Iterator[BinaryIO]:
    """The file's bytes, decompressed by suffix and otherwise untouched; damage met in the block is refused.

    The block ends early at the damage, and what it read before stays read.
    """
    try:
        with _open(path) as file:
            yield file
    except EOFError:
        gate.refuse("truncated file", f"{path}: the compressed file ends too early; fetch it again")
    except (OSError, zlib.error) as error:
        gate.refuse("unreadable file", f"{path}: cannot be read ({error}); check the file")


def _open(path: Path) -> BinaryIO:
    try:
        return _opened_file(path)
    except OSError as error:
        return io.BufferedReader(_Unopened(error))


class _Unopened(io.RawIOBase):
    """A file that could not be opened: says so when it is read, inside the block that can be left."""

    def __init__(self, error: OSError) -> None:
        self._error = error

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object) -> int:
        """Raise the error of opening."""
        raise self._error


def _opened_file(path: Path) -> BinaryIO:
    match path.suffix:
        case ".gz":
            return io.BufferedReader(gzip.open(path, "rb"), _CHUNK)
        case ".zst":
            return io.BufferedReader(_ZstdReader(path), _CHUNK)
        case _:
            return path.open("rb", buffering=_CHUNK)


class _ZstdReader(io.RawIOBase):
    """Frames of a .zst file in a row. The library's own stream reader takes a truncated file for a whole one."""

    def __init__(self, path: Path) -> None:
        try:
            import zstandard
        except ImportError:
            raise MissingExtraError(f"reading {path}", package="zstandard", extra="data") from None
        self._zstandard = zstandard
        self._file = path.open("rb")
        self._frame: ZstdDecompressionObj | None = None
        self._compressed = b""
        self._ready = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        """Fill the buffer with decompressed bytes; 0 at the end."""
        while not self._ready and self._advance():
            pass
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _advance(self) -> bool:
        """Decompress one more piece; false at the end of the file."""
        self._compressed = self._compressed or self._file.read(_CHUNK)
        if not self._compressed:
            if self._frame is not None:
                raise EOFError
            return False
        self._frame = self._frame or self._zstandard.ZstdDecompressor().decompressobj()
        try:
            self._ready = self._frame.decompress(self._compressed)
        except self._zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        self._compressed = b""
        if self._frame.eof:
            self._compressed, self._frame = self._frame.unused_data, None
        return True

    def close(self) -> None:
        """Close the file beneath."""
        self._file.close()
        super().close()

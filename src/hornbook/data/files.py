"""Input files: finding them in folders, and reading them, compressed or not, as blocks of bytes or of whole lines."""

import contextlib
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from hornbook.data.compressed import ahead, gunzipped, unzstd
from hornbook.data.documents import Gate

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".tokens", ".raw")
JSONL_SUFFIXES = (".jsonl", ".ndjson", ".json")
PARQUET_SUFFIXES = (".parquet", ".pq")
COMPRESSED_SUFFIXES = (".gz", ".zst")

BLOCK_BYTES = 1 << 19
"""Bytes that are read, and looked at, at once."""


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
def opened(path: Path, gate: Gate) -> Iterator[Iterator[bytes]]:
    """The file's bytes in blocks, decompressed by suffix and otherwise untouched; damage met in the block is refused.

    The `with` block ends early at the damage, after all that could be read before it.
    """
    try:
        with contextlib.closing(_blocks(path)) as blocks:
            yield blocks
    except EOFError:
        gate.refuse("truncated file", f"{path}: the compressed file ends too early; fetch it again")
    except (OSError, zlib.error) as error:
        gate.refuse("unreadable file", f"{path}: cannot be read ({error}); check the file")


def _blocks(path: Path) -> Generator[bytes]:
    with _opened_file(path) as file:
        match path.suffix:
            case ".gz":
                yield from ahead(gunzipped(file, BLOCK_BYTES))
            case ".zst":
                yield from ahead(unzstd(file))
            case _:
                yield from iter(lambda: file.read(BLOCK_BYTES), b"")


def _opened_file(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)


def cut_blocks(blocks: Iterable[bytes], place: Callable[[bytes], int]) -> Iterator[bytes]:
    """The same bytes, cut elsewhere.

    `place` gives where a block may be cut, and 0 where it may not: then blocks are joined until one may. It does not
    see what stands before the block.
    """
    held: list[bytes] = []
    for block in blocks:
        if cut := place(block):
            yield b"".join([*held, memoryview(block)[:cut]])
            held = []
        held.append(block[cut:])
    if rest := b"".join(held):
        yield rest


def after_last_line(block: bytes) -> int:
    """Where to cut between lines."""
    return block.rfind(b"\n") + 1

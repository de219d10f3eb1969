"""Text to measure on: at least 100 MB of what lies on this machine, by taking many files, never one of them twice.

    english        what Python brings (its library, installed packages), documentation, manual pages, C headers, and
                   the folder that HORNBOOK_DATA names
    multilingual   manual pages and handbooks in other languages, which Debian has in packages of their own

A corpus is one file: documents, each followed by <|endoftext|>. It is made once and kept in the user's cache, so that
later measurements are of the same text. The order of the files is that of the digests of their names: the same on every
run, and mixed, so that no language or library fills one end of the corpus.
"""

import gzip
import hashlib
import json
import os
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from hornbook.config.tokenizer import END_OF_TEXT
from hornbook.errors import DataError
from hornbook.storage.atomic import replace_file
from hornbook.storage.user_cache import user_cache

NAMES = ("english", "multilingual")
FULL_BYTES = 110_000_000
QUICK_BYTES = 10_000_000
SHORTEST, LONGEST = 100, 4_000_000
"""Bytes of a file; what is shorter says nothing, what is longer is a table and no text."""

DEBIAN_PACKAGES = (
    *(f"manpages-{language}" for language in ("de", "es", "fr", "it", "ja", "nl", "pl", "pt-br", "ro", "ru")),
    *(f"manpages-{language}" for language in ("sv", "tr", "uk", "zh")),
    "debian-handbook",
    "installation-guide-amd64",
    *(f"debian-reference-{language}" for language in ["de", "es", "fr", "it", "ja", "pt", "zh-cn", "zh-tw"]),
    *(f"maint-guide-{language}" for language in ["ja", "ru", "zh-cn"]),
)
_SEPARATOR = END_OF_TEXT.encode()
_CODE = (".py", ".pyi", ".h", ".c", ".hpp", ".pm", ".pl", ".pod")
_PROSE = (".txt", ".md", ".rst", ".tokens", ".raw", ".jsonl")
_MANUAL = tuple(f".{section}" for section in (*"12345678", "1p", "3p", "3pm", "3am", "7p"))


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Text on disk, in documents that are each followed by <|endoftext|>."""

    name: str
    path: Path
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Tree:
    """A folder and the files below it that count: those with one of the suffixes, a `.gz` behind it or not."""

    root: Path
    suffixes: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Names of folders that are passed by."""
    foreign: bool = False
    """Whether only folders and files that are marked with a language other than English count."""


def make_corpus(name: str, wanted: int, *, again: bool = False) -> Corpus:
    """The corpus `english` or `multilingual`, from the cache or made now.

    Args:
        name: which.
        wanted: bytes; a corpus with less is kept too, and its size tells.
        again: make it again even if there is one, since text was installed.

    Raises:
        DataError: if the machine has no such text at all.
    """
    path = user_cache() / "benchmarks" / f"{name}-{wanted // 1_000_000}MB.txt"
    if again or not path.exists():
        trees = _english() if name == "english" else _multilingual()
        _write(path, _documents(trees), wanted)
    if not path.stat().st_size:
        path.unlink()
        hint = f"; install some: apt-get install {' '.join(DEBIAN_PACKAGES)}" if name == "multilingual" else ""
        raise DataError(f"{name}: no text for this corpus was found on this machine{hint}")
    return Corpus(name=name, path=path, n_bytes=path.stat().st_size)


def corpus_of(path: Path, directory: Path, wanted: int) -> Corpus:
    """The user's own: a file as it is, or the text files below a folder, joined in `directory`.

    Raises:
        DataError: if there is no such file or folder, or no text in it.
    """
    if path.is_file():
        return Corpus(name=path.stem, path=path, n_bytes=path.stat().st_size)
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder; give a text file, or a folder with text files")
    joined = directory / f"{path.resolve().name}.txt"
    _write(joined, _documents([_Tree(root=path, suffixes=(*_PROSE, *_CODE, ".html", *_MANUAL))]), wanted)
    if not joined.stat().st_size:
        raise DataError(f"{path}: no text files below this folder")
    return Corpus(name=path.resolve().name, path=joined, n_bytes=joined.stat().st_size)


def sample_of(corpus: Corpus, wanted: int, directory: Path) -> Corpus:
    """About `wanted` bytes of a corpus: every n-th document of it, so that all kinds of text are in it."""
    step = round(corpus.n_bytes / wanted)
    if step < 2:
        return corpus
    documents = corpus.path.read_bytes().split(_SEPARATOR)
    path = directory / f"{corpus.name}-sample.txt"
    _write(path, iter(documents[::step]), corpus.n_bytes)
    return Corpus(name=f"{corpus.name} sample", path=path, n_bytes=path.stat().st_size)


def repeated(corpus: Corpus, wanted: int, directory: Path) -> Corpus:
    """A corpus over and over up to about `wanted` bytes: for peak memory only, since repeated text is easy."""
    path = directory / f"{corpus.name}-repeated.txt"
    text = corpus.path.read_bytes()
    with path.open("wb") as file:
        while file.tell() < wanted:
            file.write(text)
    return Corpus(name=f"{corpus.name} repeated", path=path, n_bytes=path.stat().st_size)


def _english() -> list[_Tree]:
    paths = sysconfig.get_paths()
    share = Path("/usr/share")
    packages = {Path(paths[kind]) for kind in ("purelib", "platlib")}
    return [
        _Tree(root=_data_folder(), suffixes=_PROSE),
        _Tree(root=Path(paths["stdlib"]), suffixes=(".py", ".txt"), without=("site-packages", "dist-packages")),
        *(_Tree(root=root, suffixes=(*_CODE, *_PROSE)) for root in sorted(packages)),
        _Tree(root=share / "doc", suffixes=_PROSE, without=("debian-handbook",)),
        *(_Tree(root=share / "man" / f"man{section}", suffixes=_MANUAL) for section in range(1, 9)),
        _Tree(root=share / "perl", suffixes=_CODE),
        _Tree(root=Path("/usr/include"), suffixes=_CODE),
    ]


def _data_folder() -> Path:
    return Path(os.environ.get("HORNBOOK_DATA", "../shared/data"))


def _multilingual() -> list[_Tree]:
    share = Path("/usr/share")
    english_pages = tuple(f"man{section}" for section in range(1, 10))
    handbooks = ("debian-handbook", "installation-guide-*", "maint-guide-*", "debian-reference-*", "debian-faq-*")
    return [
        *(
            _Tree(root=root, suffixes=_MANUAL)
            for root in sorted((share / "man").glob("*/"))
            if root.name not in english_pages
        ),
        *(
            _Tree(root=root, suffixes=(".html", ".txt"), foreign=True)
            for name in handbooks
            for root in sorted((share / "doc").glob(name))
        ),
        _Tree(root=share / "debian-reference", suffixes=(".txt",), foreign=True),
    ]


def _documents(trees: list[_Tree]) -> Iterator[bytes]:
    """The texts of all files, mixed by the digest of each file's place; each text once."""
    files = {file: f"{i}/{file.relative_to(tree.root)}" for i, tree in enumerate(trees) for file in _files(tree)}
    seen = set()
    for file in sorted(files, key=lambda file: hashlib.sha256(files[file].encode()).digest()):
        for text in _texts(file):
            digest = hashlib.sha256(text).digest()
            if len(text) >= SHORTEST and digest not in seen:
                seen.add(digest)
                yield text


def _files(tree: _Tree) -> Iterator[Path]:
    for folder, inner, names in os.walk(tree.root):
        inner[:] = sorted(name for name in inner if name not in tree.without and not name.startswith((".", "__")))
        for name in names:
            file = Path(folder, name)
            suffix = Path(name.removesuffix(".gz")).suffix
            if suffix in tree.suffixes and file.is_file() and not file.is_symlink():
                if tree.foreign and not _is_foreign(file.relative_to(tree.root.parent)):
                    continue
                yield file


def _is_foreign(place: Path) -> bool:
    """Whether a handbook's file is not English, by the language in its folder's name or before its suffix."""
    marks = {mark for part in place.parts for mark in part.replace("-", ".").replace("_", ".").split(".")}
    return "en" not in marks and bool(marks & _LANGUAGES)


_LANGUAGES = frozenset(
    {"ar", "ca", "cs", "da", "de", "el", "es", "fa", "fr", "hr", "hu", "id", "it", "ja", "ko", "nb", "nl", "pl", "pt"}
    | {"ro", "ru", "sk", "sr", "sv", "tr", "uk", "vi", "zh"}
)


def _texts(file: Path) -> Iterator[bytes]:
    """The documents of a file, decompressed; none if it is no UTF-8 text or cannot be read."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        text = data.decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        return
    if "\0" in text:
        return
    name = file.name.removesuffix(".gz")
    if name.endswith(".jsonl"):
        yield from _rows(text)
    elif SHORTEST <= len(data) <= LONGEST or name.endswith((".tokens", ".raw")):
        yield from (_text_of_html(text) if name.endswith(".html") else text).encode().split(_SEPARATOR)


def _rows(text: str) -> Iterator[bytes]:
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return
        if isinstance(row, dict) and isinstance(row.get("text"), str):
            yield row["text"].encode("utf-8", "replace")


class _Text(HTMLParser):
    """Collects what a page shows."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Text inside a script or a style sheet is not shown."""
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        """And behind it is."""
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        """Text."""
        if not self._hidden:
            self.parts.append(data)


def _text_of_html(page: str) -> str:
    parser = _Text()
    parser.feed(page)
    return "".join(parser.parts)


def _write(path: Path, documents: Iterator[bytes], wanted: int) -> None:
    parts, size = [], 0
    for document in documents:
        if not document:
            continue
        parts.append(document + _SEPARATOR)
        size += len(parts[-1])
        if size >= wanted:
            break
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, b"".join(parts))

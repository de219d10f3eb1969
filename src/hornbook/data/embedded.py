"""The corpus that every machine has: Python's documentation topics, and the docstrings of its standard library.

All of it is read as text: the topics file and the library's sources are parsed with `ast`, never imported. The order is
sorted, so for one Python version the corpus is always the same. Parsing takes seconds, so a process does it once: a
demo reads the corpus two or three times.
"""

import ast
import functools
import inspect
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from hornbook.data.documents import Block, Gate
from hornbook.errors import DataError

SHORTEST = 40
"""Characters; what is shorter says too little to learn from."""

_NOISE = {
    "distutils",
    "encodings",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "turtledemo",
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def embedded_blocks(gate: Gate) -> Iterator[Block]:
    """Topics first, then docstrings file by file; texts that occur more than once are given once.

    Raises:
        DataError: if this Python comes without its sources.
    """
    library = Path(sysconfig.get_path("stdlib"))
    seen: set[str] = set()
    for path in [library / "pydoc_data" / "topics.py", *_sources(library)]:
        for line, text in _texts(path):
            if text in seen:
                continue
            seen.add(text)
            yield gate.value_block(text + "\n", "docstring", str(path.relative_to(library)), line)
    if not seen:
        raise DataError(
            f"{library}: this Python comes without its documentation and library sources, so there is no embedded "
            'corpus; use your own text: [data.source] kind = "text"'
        )


def _sources(library: Path) -> list[Path]:
    files: list[Path] = []
    for folder, inner, names in os.walk(library):
        inner[:] = [name for name in inner if name not in _NOISE]  # site-packages may hold far more than the library
        files += [Path(folder, name) for name in names if name.endswith(".py")]
    return sorted(files)


@functools.cache
def _texts(path: Path) -> tuple[tuple[int, str], ...]:
    """The texts of a file that are long enough, with the lines they start in; about 3 MB for the whole library."""
    found = _topics(path) if path.name == "topics.py" else _docstrings(path)
    cleaned = ((line, inspect.cleandoc(raw)) for line, raw in found)
    return tuple((line, text) for line, text in cleaned if len(text) >= SHORTEST)


def _topics(path: Path) -> Iterator[tuple[int, str]]:
    """Values of the one dictionary of strings that the file consists of."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Dict):
            for value in node.values:
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    yield value.lineno, value.value


def _docstrings(path: Path) -> Iterator[tuple[int, str]]:
    waiting: list[ast.stmt | ast.Module] = [_parsed(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, _DOCUMENTED) and (text := ast.get_docstring(node, clean=False)):
            yield node.body[0].lineno, text
        if isinstance(node, (*_DOCUMENTED, ast.If, ast.Try)):  # expressions hold no docstrings: ten times less to walk
            waiting += reversed(node.body)


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # some systems leave out files; some ship samples that do not parse
        return ast.Module(body=[], type_ignores=[])

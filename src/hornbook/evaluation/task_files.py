"""The files of harness tasks: JSON lines, plain, gzipped or in a zip archive, each object one question.

    choices     {"query": ..., "choices": [...], "gold": 1}     and what BLiMP, HellaSwag and ARC write
    cloze       {"query": ..., "target": ...}                   and what LAMBADA's two forms write

docs/harness.md says which fields each task takes, and where its file is looked for.
"""

import gzip
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hornbook.errors import DataError
from hornbook.evaluation.task_documents import Document, arc, blimp, choices, cloze, hellaswag, lambada

_ENDINGS = (".jsonl", ".jsonl.gz")


@dataclass(frozen=True)
class TaskForm:
    """What the questions of a task are, and how they are asked."""

    read: Callable[[Mapping[str, object]], Document]
    """From an object of the file to a document; KeyError, TypeError and ValueError say what is wrong with it."""
    delimiter: str
    """Between the question and a choice."""
    metrics: tuple[str, ...]

    @property
    def is_cloze(self) -> bool:
        """Whether there is nothing to choose from."""
        return "perplexity" in self.metrics


_BY_LENGTH = ("acc", "acc_norm", "acc_bytes")
_NAMED = ("perplexity", "acc")
FORMS: dict[str, TaskForm] = {
    "blimp": TaskForm(blimp, "", ("acc",)),
    "lambada": TaskForm(lambada, "", _NAMED),
    "hellaswag": TaskForm(hellaswag, " ", _BY_LENGTH),
    "arc_easy": TaskForm(arc, " ", _BY_LENGTH),
    "choices": TaskForm(choices, "", _BY_LENGTH),
    "cloze": TaskForm(cloze, "", _NAMED),
}
"""By the names that `--tasks` takes; tasks/NAME.yaml says the same to lm-eval."""


@dataclass(frozen=True, kw_only=True)
class Questions:
    """The documents of one file: a task, or one part of a task of several files."""

    task: str
    name: str
    """The task's, with that of the part: blimp_adjunct_island."""
    path: Path
    documents: list[Document]


def read_task(task: str, data: Path, *, limit: int | None = None) -> list[Questions]:
    """The files of a task in `data`, a directory or the file itself; the first `limit` questions of each.

    Raises:
        DataError: for an unknown task, no file or several that might be meant, and a file that is damaged or empty.
    """
    if task not in FORMS:
        raise DataError(f"no task {task!r}; expected {', '.join(FORMS)}")
    found = _parts(task, data)
    return [
        Questions(task=task, name=name, path=path, documents=_documents(FORMS[task], path, inside, limit))
        for name, path, inside in found
    ]


def _parts(task: str, data: Path) -> list[tuple[str, Path, str | None]]:
    """(name, file, name in the archive if it is one) of each part; a task of one file has one part."""
    files = [data] if data.is_file() else _candidates(task, data)
    if task == "blimp" and files:
        parts: list[tuple[str, Path, str | None]] = []
        for path in files:
            inside: list[str] | list[None] = _members(path) if path.suffix == ".zip" else [None]
            parts += ((f"blimp_{_stem(name or path.name)}", path, name) for name in inside)
        return sorted(parts)
    if len(files) == 1:
        return [(task, files[0], None)]
    if files:
        raise DataError(
            f"{data}: {len(files)} files might be {task}: {', '.join(path.name for path in files)}; name one of them"
        )
    wanted = "BLiMP.zip or its *.jsonl" if task == "blimp" else f"{task}*.jsonl or {task}*.jsonl.gz"
    raise DataError(f"{data}: nothing for task {task}; expected {wanted} there or in {data / task}, or name the file")


def _candidates(task: str, data: Path) -> list[Path]:
    """Files in DATA/TASK, or else in DATA itself, whose names fit the task; of BLiMP the archive, or else its files."""
    for folder in (data / task, data):
        files = sorted(folder.iterdir()) if folder.is_dir() else []
        lines = [path for path in files if path.name.endswith(_ENDINGS)]
        if task == "blimp":
            archive = [path for path in files if path.name.lower() == "blimp.zip"]
            fitting = archive or [path for path in lines if _is_pairs(path)]
        else:
            fitting = [path for path in lines if path.name.startswith(task)]
        if fitting:
            return fitting
    return []


def _is_pairs(path: Path) -> bool:
    """Whether a file begins with a minimal pair."""
    first = next(_objects(path, None), None)
    return first is not None and "sentence_good" in first[1]


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read: {error}; fetch it again") from error
    return [name for name in names if name.endswith(".jsonl") and not name.startswith("__MACOSX")]


def _stem(name: str) -> str:
    return PurePosixPath(name).name.removesuffix(".gz").removesuffix(".jsonl")


def _documents(form: TaskForm, path: Path, inside: str | None, limit: int | None) -> list[Document]:
    documents: list[Document] = []
    for number, row in _objects(path, inside):
        if limit is not None and len(documents) == limit:
            break
        try:
            documents.append(form.read(row))
        except KeyError as error:
            raise DataError(f"{path}:{number}: no field {error}; docs/harness.md lists what a task takes") from None
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}:{number}: {error}") from None
    if not documents:
        raise DataError(f"{path}: holds no questions; expected one JSON object a line")
    return documents


def _objects(path: Path, inside: str | None) -> Iterator[tuple[int, Mapping[str, object]]]:
    """(line, object), as they are read."""
    number = 0
    try:
        for number, line in enumerate(_lines(path, inside), start=1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DataError(f"{path}:{number}: not a JSON object, which a question is")
                yield number, row
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}:{number}: not JSON: {error}") from None
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path}: cannot be read after line {number}: {error}; fetch it again") from error


def _lines(path: Path, inside: str | None) -> Iterator[bytes]:
    if inside is not None:
        with zipfile.ZipFile(path) as archive, archive.open(inside) as member:
            yield from member
    elif path.suffix == ".gz":
        with gzip.open(path) as file:
            yield from file
    else:
        with path.open("rb") as file:
            yield from file

"""manifest.json: what a checkpoint directory must hold. Written last, so a directory that has one is complete.

    {"format": 1, "kind": "full", "step": 5000,
     "files": {"model.safetensors": {"bytes": 1048, "sha256": "9f…"}, ...},
     "sha256": "…"}                      of the other four, so that a damaged manifest is noticed too

Reading needs neither torch nor numpy.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from hornbook.errors import CheckpointError
from hornbook.storage.atomic import replace_file
from hornbook.storage.digest import bytes_sha256, file_sha256
from hornbook.storage.disk import explained
from hornbook.storage.run_dir import MANIFEST, Kind

FORMAT = 1
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
MODEL_JSON = "model.json"
STATE_JSON = "state.json"
TOKENIZER_FOLDER = "tokenizer"
SHARDS_FOLDER = "shards"
"""Of a sharded checkpoint: what each process wrote, in the place of both safetensors files."""
MODEL, OPTIMIZER = "model/", "optimizer/"
"""What names in shards begin with."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """What one file must be."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint is, and every other file in it by its path with forward slashes."""

    step: int
    kind: Kind
    files: Mapping[str, FileRecord]

    @property
    def shards(self) -> list[str]:
        """The files with the parts that several processes wrote; an ordinary checkpoint has none."""
        return [name for name in self.files if name.startswith(f"{SHARDS_FOLDER}/")]


def write_manifest(directory: Path, *, step: int, kind: Kind) -> Manifest:
    """Describe every file below `directory` in its manifest, which completes the checkpoint.

    Raises:
        StorageError: if the disk refuses.
    """
    with explained(directory):
        files = {
            path.relative_to(directory).as_posix(): FileRecord(bytes=path.stat().st_size, sha256=file_sha256(path))
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }
    content = {
        "format": FORMAT,
        "kind": kind,
        "step": step,
        "files": {name: asdict(record) for name, record in files.items()},
    }
    text = json.dumps({**content, "sha256": _content_sha256(content)}, indent=2) + "\n"
    replace_file(directory / MANIFEST, text)
    return Manifest(step=step, kind=kind, files=files)


def read_manifest(directory: Path) -> Manifest:
    """The manifest of a checkpoint directory, itself checked; the files are not: see `verify_files`.

    Raises:
        CheckpointError: if it is missing, damaged, of another format, or names a file outside the directory.
    """
    path = directory / MANIFEST
    if not path.is_file():
        raise CheckpointError(
            f"{directory}: incomplete checkpoint: no {MANIFEST}, which is written last; "
            "the save or copy was interrupted, use another checkpoint"
        )
    content = read_object(path)
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: format {content.get('format')!r}, this version of hornbook reads format {FORMAT}; "
            "use the version that wrote it"
        )
    if content.pop("sha256", None) != _content_sha256(content):
        raise CheckpointError(f"{path}: damaged: it does not match its own digest; use another checkpoint")
    return _parse(path, content)


def verify_files(directory: Path, manifest: Manifest, *, names: Collection[str], digests: bool = True) -> None:
    """Check the files `names` of a checkpoint: there, of the right size and, with `digests`, of the right content.

    Raises:
        CheckpointError: naming every broken file and what is wrong with it.
    """
    found = [(name, _problem(directory, name, manifest.files[name], digests=digests)) for name in sorted(names)]
    problems = [f"{name}: {problem}" for name, problem in found if problem is not None]
    if problems:
        raise CheckpointError(f"{directory}: damaged checkpoint: {'; '.join(problems)}; use another checkpoint")


def read_object(path: Path) -> dict[str, object]:
    """The JSON object in one of a checkpoint's files.

    Raises:
        CheckpointError: if there is none.
    """
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}; use another checkpoint") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: not a JSON object; use another checkpoint")
    return value


def _problem(directory: Path, name: str, record: FileRecord, *, digests: bool) -> str | None:
    path = directory / name
    if not path.is_file():
        return "missing"
    if not path.resolve().is_relative_to(directory.resolve()):
        return "a link that leads out of the checkpoint"
    try:
        size = path.stat().st_size
        if size != record.bytes:
            return f"{size} bytes, expected {record.bytes}"
        if digests and file_sha256(path) != record.sha256:
            return "its sha256 differs from the manifest's: the content has changed since it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None


def _parse(path: Path, content: Mapping[str, object]) -> Manifest:
    step, kind, files = content.get("step"), content.get("kind"), content.get("files")
    if not isinstance(step, int) or kind not in ("light", "full") or not isinstance(files, dict):
        raise CheckpointError(f"{path}: step, kind or files is missing or of a wrong type; use another checkpoint")
    records = {name: _parse_record(path, name, record) for name, record in files.items()}
    return Manifest(step=step, kind="full" if kind == "full" else "light", files=records)


def _parse_record(path: Path, name: str, record: object) -> FileRecord:
    windows = PureWindowsPath(name)  # the stricter reading: knows drives and both slashes
    if windows.drive or windows.root or ".." in windows.parts or name != PurePosixPath(name).as_posix():
        raise CheckpointError(f"{path}: the name {name!r} leads out of the checkpoint; do not trust this directory")
    match record:
        case {"bytes": int(size), "sha256": str(digest)}:
            return FileRecord(bytes=size, sha256=digest)
    raise CheckpointError(
        f"{path}: the record of {name!r} is not of the form {{bytes, sha256}}; use another checkpoint"
    )


def _content_sha256(content: Mapping[str, object]) -> str:
    return bytes_sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode())

"""What a checkpoint is and whether it is whole, told without loading it: no torch, no numpy, only headers and JSON."""

from dataclasses import dataclass
from pathlib import Path

from hornbook.checkpoint.header import read_header
from hornbook.checkpoint.manifest import (
    MODEL,
    MODEL_FILE,
    MODEL_JSON,
    STATE_JSON,
    Manifest,
    read_manifest,
    read_object,
    verify_files,
)
from hornbook.errors import CheckpointError
from hornbook.storage.atomic import is_temporary
from hornbook.storage.run_dir import (
    MANIFEST,
    Kind,
    Pointer,
    list_checkpoints,
    pointed,
    pointer_file,
    read_entry,
    resolve_checkpoint,
)

_POINTERS: tuple[Pointer, ...] = ("latest", "best")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One checkpoint: `files` are sizes in bytes by name, `marks` the pointers (latest, best) that name it."""

    path: Path
    step: int
    kind: Kind
    marks: tuple[Pointer, ...]
    parameters: int
    files: dict[str, int]
    model: dict[str, object]
    objective: dict[str, object]
    lora: dict[str, object] | None
    """Of the adapters among the parameters."""
    state: dict[str, object]

    @property
    def bytes(self) -> int:
        """Size of all files but the manifest."""
        return sum(self.files.values())


def find(path: Path) -> list[Path]:
    """The complete checkpoints of a run or a checkpoints/ directory, oldest first, or the checkpoint `path` itself.

    Raises:
        CheckpointError: if there is none.
    """
    root = checkpoints_root(path)
    return [entry.path for entry in list_checkpoints(root)] if root else [resolve_checkpoint(path)]


def checkpoints_root(path: Path) -> Path | None:
    """The checkpoints/ directory that a user means by `path`, or None if `path` is a checkpoint or holds none."""
    if (path / MANIFEST).is_file():
        return None
    root = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    return root if list_checkpoints(root) or any(pointer_file(root, name).is_file() for name in _POINTERS) else None


def summarise(path: Path) -> Summary:
    """Describe the checkpoint directory `path`; digests are not checked.

    Raises:
        CheckpointError: if it is incomplete or what it says of itself is damaged.
    """
    path = path.absolute()
    manifest = read_manifest(path)
    verify_files(path, manifest, names=manifest.files, digests=False)
    described = read_object(path / MODEL_JSON)
    model, objective, lora = (described.get(name) for name in ("model", "objective", "lora"))
    return Summary(
        path=path,
        step=manifest.step,
        kind=manifest.kind,
        marks=tuple(name for name in _POINTERS if pointed(path.parent, name) == path),
        parameters=_parameters(path, manifest),
        files={name: record.bytes for name, record in manifest.files.items()},
        model=model if isinstance(model, dict) else {},
        objective=objective if isinstance(objective, dict) else {},
        lora=lora if isinstance(lora, dict) else None,
        state=read_object(path / STATE_JSON),
    )


def _parameters(path: Path, manifest: Manifest) -> int:
    if not manifest.shards:
        return sum(record.size for record in read_header(path / MODEL_FILE).values())
    headers = (read_header(path / name) for name in manifest.shards)
    return sum(record.size for header in headers for name, record in header.items() if name.startswith(MODEL))


def find_problems(path: Path) -> dict[Path, str | None]:
    """What is wrong with the checkpoint `path` or each one of a run, by directory or pointer file; None where whole.

    Every digest is computed. In a run, directories without a manifest and pointers that lead nowhere are problems too.

    Raises:
        CheckpointError: if there is nothing to verify.
    """
    root = checkpoints_root(path)
    if root is None:
        found = resolve_checkpoint(path)
        return {found: _problem(found)}
    candidates = [entry for entry in sorted(root.iterdir()) if entry.is_dir() and not is_temporary(entry)]
    problems = {candidate: _problem(candidate) for candidate in candidates}
    for name in _POINTERS:
        target = pointed(root, name)
        if target is not None and read_entry(target) is None:
            file = pointer_file(root, name)
            problems[file] = f"{file}: names {target.name}, which is missing or incomplete; resume or save to renew it"
    return problems


def _problem(path: Path) -> str | None:
    try:
        manifest = read_manifest(path)
        verify_files(path, manifest, names=manifest.files)
    except CheckpointError as error:
        return str(error)
    return None

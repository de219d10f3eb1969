"""The one place that knows where things live in a run, and which of its checkpoints is meant.

    runs/NAME/
      config.toml  provenance.json  choices.json  state  metrics.jsonl  skipped.jsonl  report.html
      checkpoints/LATEST, BEST, step-00005000/ ...   reference/  samples/  evals/  logs/  tensorboard/  plots/  profile/

`state` is one word. Checkpoints are recognised by their manifest, never by their directory's name.
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, cast, get_args

from hornbook.errors import CheckpointError
from hornbook.storage.atomic import is_temporary, replace_file, set_aside, standing
from hornbook.storage.disk import StorageError, explained

MANIFEST = "manifest.json"
RunState = Literal["starting", "running", "preempted", "finished", "failed"]
Kind = Literal["light", "full"]
Pointer = Literal["latest", "best"]


@dataclass(frozen=True)
class RunDir:
    """A run's directory. The object holds only the path; every property is computed from it."""

    root: Path

    @classmethod
    def create(cls, out_dir: Path, name: str) -> Self:
        """Make a new run directory in state `starting`; nothing that exists is ever overwritten.

        Raises:
            CheckpointError: if the directory exists, or `name` is not a plain name.
            StorageError: if the disk refuses.
        """
        if not _is_plain_name(name):
            raise CheckpointError(
                f"run.name = {name!r} is not a plain name; the folder before it belongs in run.out_dir"
            )
        run = cls(out_dir / name)
        with explained(run.root):
            out_dir.mkdir(parents=True, exist_ok=True)
            try:
                run.root.mkdir()
            except FileExistsError:
                if not run.is_blank:
                    raise CheckpointError(
                        f"{run.root}: this run exists already; choose another run.name, "
                        f"or go on with it: --resume {run.root}"
                    ) from None
            for folder in run._folders:
                folder.mkdir(exist_ok=True)
        run.set_state("starting")
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run at `path`, or the run that the checkpoint directory `path` lies in.

        Raises:
            CheckpointError: if there is none.
        """
        above = path.absolute().parents[:2] if path.exists() else ()  # else a misspelt checkpoint would do for its run
        for root in (path, *above):
            run = cls(root)
            if run.state_file.is_file() or (run.config_file.is_file() and run.checkpoints.is_dir()):
                return run
        raise CheckpointError(
            f"{path}: not a run; expected a directory with {cls(path).state_file.name} and checkpoints/, "
            f"found {_content(path)}"
        )

    @property
    def is_blank(self) -> bool:
        """Whether nothing is in it: whoever made it was killed in its first instant, before it had a state."""
        return self.root.is_dir() and all(
            is_temporary(path) or (path in self._folders and not any(path.iterdir())) for path in self.root.iterdir()
        )

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self.checkpoints, self.samples, self.evals)

    @property
    def config_file(self) -> Path:
        """The resolved configuration; training from it repeats the run."""
        return self.root / "config.toml"

    @property
    def provenance_file(self) -> Path:
        """Command line, commit, versions, host, devices; see hornbook.storage.provenance."""
        return self.root / "provenance.json"

    @property
    def choices_file(self) -> Path:
        """What was chosen by clock or by probing; see hornbook.training.choices."""
        return self.root / "choices.json"

    @property
    def state_file(self) -> Path:
        """One word, a RunState."""
        return self.root / "state"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line, one line an event."""
        return self.root / "metrics.jsonl"

    @property
    def skipped_file(self) -> Path:
        """One JSON object a line, one line a training step that was left out."""
        return self.root / "skipped.jsonl"

    @property
    def report_file(self) -> Path:
        """The run as one page."""
        return self.root / "report.html"

    @property
    def checkpoints(self) -> Path:
        """LATEST, BEST and the checkpoint directories."""
        return self.root / "checkpoints"

    @property
    def reference(self) -> Path:
        """Which model preferences are compared with, and what it says of them; see
        hornbook.training.reference_scores."""
        return self.root / "reference"

    @property
    def samples(self) -> Path:
        """Texts generated during training."""
        return self.root / "samples"

    @property
    def evals(self) -> Path:
        """Results of evaluations."""
        return self.root / "evals"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.root / "tensorboard"

    @property
    def plots(self) -> Path:
        """Pictures of the curves."""
        return self.root / "plots"

    @property
    def profile(self) -> Path:
        """Traces of the profiler."""
        return self.root / "profile"

    @property
    def logs(self) -> Path:
        """What ended a process of several, one file each."""
        return self.root / "logs"

    @property
    def state(self) -> RunState:
        """How far the run is.

        Raises:
            CheckpointError: if the file is missing or holds another word.
        """
        word = self.state_file.read_text().strip() if self.state_file.is_file() else "nothing"
        if word not in get_args(RunState):
            raise CheckpointError(f"{self.state_file}: holds {word!r}, expected one of {', '.join(get_args(RunState))}")
        return cast(RunState, word)

    def set_state(self, word: RunState) -> None:
        """Say how far the run is.

        Raises:
            StorageError: if the disk refuses.
        """
        try:
            replace_file(self.state_file, word + "\n")
        except StorageError:
            # A full disk has no room for a second file, but where one word stands another one fits.
            with explained(self.state_file):
                self.state_file.write_text(word + "\n", encoding="utf-8")

    def write_provenance(self, values: dict[str, object]) -> None:
        """Store what `hornbook.storage.provenance.provenance` collected."""
        replace_file(self.provenance_file, json.dumps(values, indent=2) + "\n")

    def provenance(self) -> dict[str, object]:
        """What was stored when the run started; empty where nothing readable is."""
        return _read_object(self.provenance_file)


def latest_run(out_dir: Path, predicate: Callable[[RunDir], bool]) -> RunDir | None:
    """The run in `out_dir` that started last among those that `predicate` accepts, or None.

    To find the newest run of a configuration: `lambda run: run.provenance().get("config_hash") == config_hash`.
    """
    runs = [RunDir(path.parent) for path in out_dir.glob("*/state")]
    accepted = [run for run in runs if predicate(run)]
    return max(accepted, key=lambda run: (str(run.provenance().get("started", "")), run.root.name), default=None)


@dataclass(frozen=True, kw_only=True)
class CheckpointEntry:
    """A complete checkpoint directory, as its manifest describes it."""

    path: Path
    step: int
    kind: Kind


def list_checkpoints(root: Path) -> list[CheckpointEntry]:
    """The complete checkpoints in a checkpoints/ directory, oldest step first; contents are not verified."""
    own = [path for path in root.glob("*") if path.is_dir() and not is_temporary(path)]
    paths = [*own, *set_aside(root).values()]
    entries = [entry for path in paths if (entry := read_entry(path)) is not None]
    return sorted(entries, key=lambda entry: (entry.step, entry.path.name))


def read_entry(path: Path) -> CheckpointEntry | None:
    """What the manifest in `path` says it is, or None without a readable one: an incomplete directory."""
    manifest = _read_object(path / MANIFEST)
    step, kind = manifest.get("step"), manifest.get("kind")
    if not isinstance(step, int) or kind not in ("light", "full"):
        return None
    return CheckpointEntry(path=path, step=step, kind="full" if kind == "full" else "light")


def pointer_file(root: Path, pointer: Pointer) -> Path:
    """LATEST or BEST in a checkpoints/ directory: a text file that holds the name of a directory beside it."""
    return root / pointer.upper()


def pointed(root: Path, pointer: Pointer) -> Path | None:
    """The directory that LATEST or BEST names, whether or not it exists; None without such a file."""
    file = pointer_file(root, pointer)
    if not file.is_file():
        return None
    name = file.read_text(errors="replace").strip()
    # Only a plain name counts, so that a damaged or forged file leads nowhere else.
    return standing(root / name) if _is_plain_name(name) else root / "unreadable-name"


def resolve_checkpoint(path: Path, prefer: Pointer = "latest") -> Path:
    """The checkpoint directory that a user means by `path`: a run, its checkpoints/ or a checkpoint directory itself.

    Of a run, `latest` is the one that LATEST names, without it the newest full one, without any the newest light one.
    When LATEST names a directory that is gone or incomplete, the newest complete one is taken, full before light, and
    a UserWarning says so: losing a few steps serves better than stopping. `best` never falls back to another.

    Raises:
        CheckpointError: if there is none; the message says what was looked for and what is there.
    """
    path = standing(path)
    if (path / MANIFEST).is_file():
        return path
    root = path / "checkpoints" if (path / "checkpoints").is_dir() else path
    entries = list_checkpoints(root)
    named = pointed(root, prefer)
    if named is not None and read_entry(named) is not None:
        return named
    if prefer == "best" and root.is_dir():
        missing = "BEST is absent" if named is None else f"BEST names {named.name}, which is missing or incomplete"
        raise CheckpointError(f"{root}: {missing}; validate while training, or take the latest ({_names(entries)})")
    if not entries:
        raise CheckpointError(_nothing(path, root))
    newest = max(entries, key=lambda entry: (entry.kind == "full", entry.step))
    if named is not None:
        message = (
            f"{root}: LATEST names {named.name}, which is missing or incomplete; taking {newest.path.name} instead"
        )
        warnings.warn(message, stacklevel=2)
    return newest.path


def _is_plain_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", "..")


def _nothing(path: Path, root: Path) -> str:
    if not path.exists():
        return f"{path}: does not exist; expected a run, its checkpoints/ or a checkpoint directory"
    if (path / "model.safetensors").exists() or (path / "model.json").exists():
        return f"{path}: incomplete checkpoint: no {MANIFEST}; the save or copy was interrupted, use another checkpoint"
    return (
        f"{root}: no complete checkpoint: looked for LATEST and for directories with {MANIFEST}; found {_content(root)}"
    )


def _names(entries: list[CheckpointEntry]) -> str:
    return ", ".join(entry.path.name for entry in entries) or "no checkpoint yet"


def _content(path: Path) -> str:
    if not path.is_dir():
        return "no directory"
    names = sorted(entry.name for entry in path.iterdir())
    return (", ".join(names[:8]) + (", ..." if len(names) > 8 else "")) or "an empty directory"


def _read_object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}

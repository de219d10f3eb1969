"""A sweep as its file says it, and where its runs lie.

    runs/NAME/
      sweep.toml        what was last started: the file with all that it extends, every point written out
      ID/               a run's directory, one a point
      ledger/ID.jsonl   what was tried, and what came of it
      logs/ID.log       what its processes said
      submissions/N/    what was started at one time: sweep.toml as it was then, and the job script

Nothing in it is ever deleted or written over but sweep.toml.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from hornbook.config.dump import toml_value
from hornbook.config.keys import Key, dotted
from hornbook.config.layers import Layer, Origin, stack
from hornbook.config.load import LoadedConfig, resolve, written_layer
from hornbook.config.read import error_of, read_assignments, read_mapping
from hornbook.config.run import Config
from hornbook.config.sweep import NAME, SweepConfig
from hornbook.errors import ConfigError
from hornbook.storage.atomic import replace_file
from hornbook.storage.run_dir import RunDir
from hornbook.sweeps.grid import Point, points

FILE = "sweep.toml"
_POINTS: tuple[Key, ...] = (("sweep", "grid"), ("sweep", "zip"), ("sweep", "list"), ("sweep", "search"))
_MOST_PROBLEMS = 5


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The points of a file, and the directory that all of them share."""

    source: Path
    written: Layer
    """What the file says, `[sweep]` included."""
    base: Config
    """The configuration without a point's settings."""
    table: SweepConfig
    points: tuple[Point, ...]
    root: Path

    @classmethod
    def load(cls, path: Path, overrides: Sequence[str] = ()) -> "Sweep":
        """Read a sweep's file, or the `sweep.toml` in a sweep's directory; `overrides` are `--set` arguments.

        Raises:
            ConfigError: listing all that is wrong with the file, or that it has no [sweep].
        """
        source = path / FILE if path.is_dir() else path
        if path.is_dir() and not source.is_file():
            raise ConfigError(f"{path}: no sweep has been started here (no {FILE}); give its TOML file")
        written = written_layer(source, overrides)
        base = resolve(written, otherwise=Origin(str(source))).config
        if base.sweep is None:
            raise ConfigError(
                f"{source}: no [sweep]; say what varies, as in [sweep.grid] optim.learning_rate = [1e-3, 3e-3]"
            )
        found, root = points(base.sweep), base.run.out_dir / (base.sweep.name or source.stem)
        if path.is_dir():  # wherever it lies by now
            root = path if path.name not in ("", "..") else path.resolve()
        if not re.fullmatch(NAME, root.name):
            raise ConfigError(
                f"{source}: {root.name!r} is no name for a sweep, expected letters, digits, . _ and -; give it one: "
                'sweep.name = "..."'
            )
        _check_overrides(overrides, found)
        return cls(source=source, written=written, base=base, table=base.sweep, points=found, root=root)

    def config(self, point: Point) -> Config:
        """The configuration of one run: the file's, with the point's settings over everything else.

        Raises:
            ConfigError: listing all that is wrong with it.
        """
        return self.loaded(point).config

    def loaded(self, point: Point) -> LoadedConfig:
        """The same, with where each value came from.

        Raises:
            ConfigError: listing all that is wrong with it.
        """
        values: dict[str, object] = {**point.settings, "sweep": None, "run.out_dir": self.root, "run.name": point.id}
        if not self.base.run.notes:
            values.setdefault("run.notes", point.label)
        if self.base.run.threads is None:
            values.setdefault("run.threads", self.table.resources.cpus)
        if self.base.tracking.wandb is not None and self.base.tracking.wandb.group is None:
            values.setdefault("tracking.wandb.group", self.root.name)
        try:
            return resolve(stack(self.written, read_mapping(values)), otherwise=Origin(str(self.source)))
        except ConfigError as error:
            raise ConfigError(f"{self.source}: {point}: {error}") from None

    def check(self) -> None:
        """Read every point's configuration.

        Raises:
            ConfigError: listing what is wrong with the first few that are.
        """
        problems = []
        for point in self.points:
            try:
                _check_device(self.config(point).run.device, point, gpu=self.table.resources.gpu)
            except ConfigError as error:
                problems.append(str(error))
        if len(problems) > _MOST_PROBLEMS:
            problems[_MOST_PROBLEMS:] = [f"and {len(problems) - _MOST_PROBLEMS} more points like these"]
        if problems:
            raise error_of(problems)

    def run_dir(self, point: Point) -> RunDir:
        """Where the point's run lies, if it has begun."""
        return RunDir(self.root / point.id)

    def ledger(self, point: Point) -> Path:
        """What was tried; see hornbook.sweeps.ledger."""
        return self.root / "ledger" / f"{point.id}.jsonl"

    def log(self, point: Point) -> Path:
        """What the point's processes say."""
        return self.root / "logs" / f"{point.id}.log"

    @property
    def submissions(self) -> Path:
        """What schedulers were given."""
        return self.root / "submissions"

    @cached_property
    def swept(self) -> list[str]:
        """The keys that vary, in the order of the file."""
        return list(dict.fromkeys(key for point in self.points for key in point.settings))

    def prepare(self) -> Path:
        """Make the directory, keep in it what is started, and return that file.

        Raises:
            StorageError: if the disk refuses.
        """
        for folder in ("ledger", "logs", "submissions"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        replace_file(self.root / FILE, self.frozen())
        return self.root / FILE

    def frozen(self) -> str:
        """A file of the same sweep that needs no other: what `extends` names is in it, and every point is written out.

        What waits for a scheduler keeps its index and settings, whatever becomes of the file that it came from.
        """
        kept = {key: entry for key, entry in self.written.items() if key[:2] not in _POINTS}
        named = stack(kept, read_mapping({"sweep.name": self.root.name, "run.out_dir": self.root.parent}))
        listed = ",\n".join(f"  {toml_value(dict(point.settings))}" for point in self.points)
        settings = "".join(f"{dotted(key)} = {_value(entry.value)}\n" for key, entry in named.items())
        return f"# Written by hornbook sweep, from {self.source}.\n{settings}sweep.list = [\n{listed},\n]\n"


def _check_overrides(overrides: Sequence[str], found: Sequence[Point]) -> None:
    """A setting that every point decides for itself is not for --set."""
    swept = {f"{key}." for point in found for key in point.settings}
    for key in map(dotted, read_assignments(overrides)):
        if any(f"{key}.".startswith(other) or other.startswith(f"{key}.") for other in swept):
            raise ConfigError(f"--set {key}: the sweep varies it, so this would have no effect; take it out of [sweep]")


def _check_device(device: str, point: Point, *, gpu: bool) -> None:
    if device.startswith("cuda") and not gpu:
        raise ConfigError(f'{point}: run.device = "{device}", but no GPU is asked for; say sweep.resources.gpu = true')
    if device == "cpu" and gpu:
        raise ConfigError(f'{point}: run.device = "cpu", so sweep.resources.gpu = true would be for nothing; say false')


def _value(value: object) -> str:
    return toml_value(dict(value)) if isinstance(value, Mapping) else toml_value(value)

"""A run as its directory tells it. Nothing in it is required: a run may be going on, half-written, damaged or old."""

import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hornbook.errors import HornbookError
from hornbook.storage.run_dir import CheckpointEntry, RunDir, list_checkpoints, pointed
from hornbook.tracking.jsonl import read_metrics

_OF_STEPS = ("start", "train", "val", "skipped", "checkpoint")
"""Events of training itself; what evaluations say may be of any step."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric over a run, oldest first; a value that was not finite is NaN, which a line leaves out."""

    steps: tuple[int, ...] = ()
    minutes: tuple[float, ...] = ()
    """Of training, since the run began; what a killed session did in vain does not count."""
    values: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return any(math.isfinite(value) for value in self.values)

    @property
    def last(self) -> float | None:
        """The last finite value."""
        return next((value for value in reversed(self.values) if math.isfinite(value)), None)

    @property
    def lowest(self) -> tuple[int, float] | None:
        """Step and value of the lowest finite value, the earliest of equals."""
        finite = [(value, step) for step, value in zip(self.steps, self.values, strict=True) if math.isfinite(value)]
        return (min(finite)[1], min(finite)[0]) if finite else None

    def at(self, step: int) -> float | None:
        """The last finite value at or before a step."""
        known = [v for s, v in zip(self.steps, self.values, strict=True) if s <= step and math.isfinite(v)]
        return known[-1] if known else None


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is known of a run."""

    run: RunDir
    state: str
    events: tuple[dict[str, object], ...]
    minutes: tuple[float, ...]
    """Of training at each event."""
    config_text: str
    settings: Mapping[str, object]
    """{dotted key: value} of config.toml; unset ones are absent."""
    provenance: Mapping[str, object]
    choices: Mapping[str, object]
    """What was chosen by the clock or by probing."""
    problems: tuple[str, ...]
    """What could not be read, in words."""
    checkpoints: tuple[CheckpointEntry, ...] = ()
    marks: Mapping[str, str] = field(default_factory=dict)
    """{name of a checkpoint's directory: latest, best or both}."""
    alias: str | None = None
    """What tells it from another run of the same name."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.alias or self.run.root.absolute().name

    def of(self, kind: str) -> Iterator[tuple[int, float, dict[str, object]]]:
        """(step, minutes, event) of every event of one kind."""
        for event, minutes in zip(self.events, self.minutes, strict=True):
            step = event.get("step")
            if event.get("event") == kind and isinstance(step, int):
                yield step, minutes, event

    def curve(self, metric: str, *, kind: str | None = None) -> Curve:
        """A metric such as `train/loss`, which events of `kind` (by default `train`) carry."""
        found = [
            (step, minutes, _number(event[metric]))
            for step, minutes, event in self.of(kind or metric.partition("/")[0])
            if metric in event
        ]
        steps, minutes, values = zip(*found, strict=True) if found else ((), (), ())
        return Curve(steps=steps, minutes=minutes, values=values)

    def fact(self, name: str) -> object:
        """What the newest `start` event says, such as n_parameters or device."""
        starts = [event for _, _, event in self.of("start")]
        return starts[-1].get(name) if starts else None

    @property
    def total_steps(self) -> int | None:
        """How many steps are planned."""
        planned = self.settings.get("train.steps")
        return planned if isinstance(planned, int) else None

    @property
    def tokens_per_step(self) -> int:
        """Tokens in one step; 0 if unknown, as in tuning, where rows are filled more or less."""
        if self.settings.get("data.stage", "pretrain") != "pretrain":
            return 0
        size = self.settings.get("train.tokens_per_step")
        return size if isinstance(size, int) else 0

    @property
    def last_step(self) -> int:
        """The newest step that an event speaks of."""
        return max((step for kind in _OF_STEPS for step, _, _ in self.of(kind)), default=0)

    @property
    def training_minutes(self) -> float:
        """Of training so far, validation and samples included."""
        return max((m for kind in ("train", "val") for _, m, _ in self.of(kind)), default=0.0)

    @property
    def skipped_steps(self) -> list[tuple[int, str]]:
        """(step, why) of every step that was left out, as far as events tell."""
        told = [(step, str(event.get("skipped/reason", "skipped"))) for step, _, event in self.of("skipped")]
        if told:
            return told
        counts, found, before = self.curve("train/skipped"), [], 0.0
        for step, count in zip(counts.steps, counts.values, strict=True):
            if count > before:
                found.append((step, f"{count - before:.0f} skipped up to here"))
            before = count
        return found


def read_run(path: Path) -> RunRecord:
    """Read the run at `path`, or the one that the checkpoint `path` lies in; its files are not changed.

    Raises:
        CheckpointError: if there is no run.
    """
    run = RunDir.open(path)
    problems: list[str] = []
    events = _events(run, problems)
    text = _text(run.config_file, problems)
    return RunRecord(
        run=run,
        state=_state(run, problems),
        events=tuple(events),
        minutes=tuple(_minutes(events)),
        config_text=text,
        settings=_settings(text, run.config_file, problems),
        provenance=run.provenance(),
        choices=_object(run.root / "choices.json"),
        problems=tuple(problems),
        checkpoints=tuple(list_checkpoints(run.checkpoints)),
        marks=_marks(run.checkpoints),
    )


def read_runs(paths: Iterable[Path]) -> list[RunRecord]:
    """Read several runs, each once, in the order given; runs of the same name are called by their paths.

    Raises:
        CheckpointError: if there is no run at one of the paths.
    """
    records = list({(record := read_run(path)).run.root.resolve(): record for path in paths}.values())
    names = [record.name for record in records]
    return [
        replace(record, alias=str(record.run.root)) if names.count(record.name) > 1 else record for record in records
    ]


def _events(run: RunDir, problems: list[str]) -> list[dict[str, object]]:
    if not run.metrics_file.is_file():
        return []
    damaged: list[str] = []
    events = read_metrics(run.metrics_file, damaged=damaged)
    if damaged:
        more = f" and {len(damaged) - 1} more lines" if len(damaged) > 1 else ""
        problems.append(f"{damaged[0]}{more}: left out")
    return events


def _state(run: RunDir, problems: list[str]) -> str:
    try:
        return run.state
    except HornbookError as error:
        problems.append(str(error))
        return "unknown"


def _text(path: Path, problems: list[str]) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        problems.append(f"{path}: cannot be read ({error.strerror})")
        return ""


def _settings(text: str, path: Path, problems: list[str]) -> dict[str, object]:
    # Read as TOML, not as a Config: a run of another version has settings that this one does not know.
    try:
        return dict(_leaves("", tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: not TOML ({error})")
        return {}


def _leaves(prefix: str, table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, value in table.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _leaves(f"{key}.", value)
        else:
            yield key, value


def _object(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _marks(root: Path) -> dict[str, str]:
    marks: dict[str, str] = {}
    for pointer in ("latest", "best"):
        target = pointed(root, "best" if pointer == "best" else "latest")
        if target is not None:
            marks[target.name] = ", ".join(filter(None, (marks.get(target.name), pointer)))
    return marks


_LATER = ("eval", "generate")
"""Events that other commands add to a run, perhaps days after a session."""


def _minutes(events: list[dict[str, object]]) -> Iterator[float]:
    """Minutes of training at each event: sessions follow one another without the pauses between them."""
    carried = now = 0.0
    began: float | None = None
    for event in events:
        time = _number(event.get("time"))
        if event.get("event") == "start" or began is None:
            carried, began = now, time
        if math.isfinite(time - began) and event.get("event") not in _LATER:
            now = max(now, carried + (time - began) / 60.0)  # a clock that is set back does not turn time back
        yield now


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300:
        return math.nan
    return float(value)

"""What a run writes beside its checkpoints, from its first word to its last, by the first of its processes alone.

The others compute the same and say nothing, but for what they end of: RUN/logs/rank-1.log and so on.
"""

import contextlib
import json
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hornbook.config.dump import config_hash, to_json, to_toml
from hornbook.config.run import Config
from hornbook.distributed.process_group import Processes
from hornbook.errors import TrainingError
from hornbook.storage.atomic import replace_file
from hornbook.storage.disk import StorageError
from hornbook.storage.lock import alone
from hornbook.storage.provenance import provenance
from hornbook.storage.run_dir import RunDir, RunState
from hornbook.tracking.composite import CompositeTracker
from hornbook.tracking.open import open_tracker
from hornbook.tracking.tracker import RunInfo, Scalar, Tracker
from hornbook.training.choices import Choices


@dataclass
class Record:
    """Who hears of the run's events, and how it stands if it ends now."""

    tracker: Tracker
    status: RunState = "failed"


def silent() -> Record:
    """That of a process which writes nothing."""
    return Record(CompositeTracker(record=None, guests=[]))


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What is said of a run when it begins or goes on."""

    devices: tuple[str, ...]
    """Of each process, by rank."""
    data_digest: str
    data_words: str
    """The data set, for people."""
    first_step: int
    """Steps done before."""
    resumed: bool
    details: Mapping[str, Scalar]
    """Further values of the event `start`."""
    accelerator: str | None = None
    """Name and memory of the first process's."""
    data_cards: Sequence[Mapping[str, object]] = ()
    """What is known of each data set."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """{dotted key: where its value was written}; what is missing is a default."""


@contextlib.contextmanager
def recorded(run_dir: RunDir, config: Config, choices: Choices, beginning: Beginning) -> Iterator[Record]:
    """Begin the record of a run, or go on with it; whatever ends it early leaves the run `failed`.

    Raises:
        TrainingError: if another process trains this run.
    """
    busy = TrainingError(f"{run_dir.root}: another process is training this run; wait for it, or stop it")
    with contextlib.ExitStack() as at_end:
        at_end.enter_context(alone(run_dir.root, otherwise=busy))
        record = silent()

        def last_word(say: Callable[[RunState], None]) -> None:
            # What ended the run is what the user must hear of, not that a full disk refuses this too.
            with contextlib.suppress(*([StorageError] if record.status == "failed" else [])):
                say(record.status)

        at_end.callback(last_word, run_dir.set_state)
        choices.write(run_dir.choices_file)
        _describe(run_dir, config, beginning)
        record.tracker = open_tracker(config.tracking, run_dir)
        record.tracker.start(_info(run_dir, config, beginning))
        at_end.callback(last_word, record.tracker.finish)
        run_dir.set_state("running")
        yield record


def _describe(run_dir: RunDir, config: Config, beginning: Beginning) -> None:
    """The configuration, and where the run came from; a run that goes on keeps its origin."""
    known, devices = config_hash(config), beginning.devices
    replace_file(run_dir.config_file, to_toml(config))
    if beginning.resumed:
        origin = run_dir.provenance()
    else:
        origin = provenance(config_hash=known, devices=devices, world_size=len(devices))
        origin["accelerator"] = beginning.accelerator
    told: dict[str, object] = {"data": list(beginning.data_cards), "origins": _origins(origin, run_dir, beginning)}
    subject = {"architecture": config.model.architecture, "dataset": beginning.data_words}
    digests = {"config_hash": known, "data_digest": beginning.data_digest}
    run_dir.write_provenance({**origin, **digests, **subject, **told})


def _origins(origin: Mapping[str, object], run_dir: RunDir, beginning: Beginning) -> dict[str, str]:
    """Where values were written; the run's own config.toml, which a run goes on from, is no origin of anything."""
    before, own = origin.get("origins"), str(run_dir.config_file)
    written = {key: where for key, where in beginning.origins.items() if where.rpartition(":")[0] != own}
    return {**(before if isinstance(before, dict) else {}), **written}


def _info(run_dir: RunDir, config: Config, beginning: Beginning) -> RunInfo:
    size = len(beginning.devices)
    return RunInfo(
        name=run_dir.root.name,
        config=json.loads(to_json(config)),
        tags=config.run.tags,
        notes=config.run.notes,
        first_step=beginning.first_step,
        total_steps=config.train.steps,
        resumed=beginning.resumed,
        details={
            "run_dir": str(run_dir.root),
            "device": beginning.devices[0],
            **({"world_size": size} if size > 1 else {}),
            "architecture": config.model.architecture,
            "dataset": beginning.data_words,
            **beginning.details,
        },
    )


@contextlib.contextmanager
def failures_logged(run_dir: RunDir, processes: Processes) -> Iterator[None]:
    """Where several processes train, write what ends one of them into a file of its own in the run."""
    try:
        yield
    except Exception:
        if processes.world_size > 1:
            said = f"{time.strftime('%Y-%m-%d %H:%M:%S')} on {socket.gethostname()}\n{traceback.format_exc()}\n"
            with contextlib.suppress(OSError):  # the error itself matters more
                run_dir.logs.mkdir(exist_ok=True)
                with (run_dir.logs / f"rank-{processes.rank}.log").open("a", encoding="utf-8") as file:
                    file.write(said)
        raise

"""`hornbook sweep run`: one point in this process, or all of them in processes of their own."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import pydantic, which no --help may wait for
    from hornbook.config.run import Config
    from hornbook.storage.run_dir import RunDir
    from hornbook.sweeps.grid import Point
    from hornbook.sweeps.ledger import Outcome
    from hornbook.sweeps.status import Standing
    from hornbook.sweeps.sweep import Sweep


def run_one(sweep: Sweep, index: int) -> int:
    """Train one point, or go on with it; the exit status is 99 if it saved because it was asked to stop."""
    from hornbook.sweeps.grid import chosen_point
    from hornbook.sweeps.jobs import PREEMPTED

    point = chosen_point(sweep.points, index)
    config, run = sweep.config(point), sweep.run_dir(point)
    if is_done(run, config):
        _tell_point(sweep, point, "finished")
        return 0
    with _leaving_at_once(), _trying(sweep, point) as outcome:
        from hornbook import assemble

        trained = assemble.train(config, resume=True)
        outcome.status = "preempted" if trained.result.stop_reason == "preempted" else "finished"
    if _is_first_process():
        _tell_point(sweep, point, outcome.status)
    return PREEMPTED if outcome.status == "preempted" else 0


def run_all(sweep: Sweep, states: Sequence[str] | None = None) -> int:
    """Train the points in one of the `states` (by default, all that are neither finished, failed nor under way)."""
    from hornbook.sweeps.local import run_points, slots, this_machine
    from hornbook.sweeps.status import standings
    from hornbook.tracking.console import speaks_to_people
    from hornbook.training.preemption import Preemption

    chosen = points_to_run(sweep, states)
    wanted = sweep.table.resources
    room = slots(this_machine(with_gpus=wanted.gpu), wanted)
    file = sweep.prepare()
    if speaks_to_people():
        print(f"{sweep.root}: {len(chosen)} of {len(sweep.points)} points to train, {len(room)} at a time")
    with Preemption() as preemption:
        run_points(
            chosen,
            room,
            command=lambda point: _command(str(file), point.index, wanted.processes),
            log=sweep.log,
            stopping=lambda: preemption.requested is not None,
            tell=lambda point, status: _tell_point(sweep, point, _state_of(status)),
        )
    found = standings(sweep, asking=False)
    _tell_end(sweep, [each for each in found if each.point in chosen])
    is_finished = {each.point.id: each.state == "finished" for each in found}
    return 0 if all(is_finished[point.id] for point in chosen) else 1


def points_to_run(sweep: Sweep, states: Sequence[str] | None = None, *, asking: bool = True) -> list[Point]:
    """The points in one of the `states`, each checked: its configuration, and that its run would still be the same.

    Without `states`: what is waiting, was preempted or killed, or finished with fewer steps than are now asked for.

    Raises:
        HornbookError: if a point's configuration is wrong, or its run was begun with other settings.
    """
    from hornbook.sweeps.status import RUNNABLE, standings

    sweep.check()
    chosen = []
    for each in standings(sweep, asking=asking):
        config, run = sweep.config(each.point), sweep.run_dir(each.point)
        if run.root.exists():
            from hornbook.training.resume import find_run

            find_run(config, True)
        longer = states is None and each.state == "finished" and not is_done(run, config)
        if longer or each.state in (RUNNABLE if states is None else states):
            chosen.append(each.point)
    return chosen


def is_done(run: RunDir, config: Config) -> bool:
    """Whether a run is finished, and was not meant to be shorter than it is meant to be now.

    Raises:
        CheckpointError: if the run was begun with other settings.
    """
    from hornbook.config.load import load_config

    if not run.state_file.is_file() or run.state != "finished":
        return False
    from hornbook.training.resume import find_run

    find_run(config, True)
    return load_config(run.config_file).config.train.steps >= config.train.steps


@contextlib.contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Until training listens to signals itself, and has something to save, being asked to stop ends the process."""
    from hornbook.sweeps.jobs import PREEMPTED

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(PREEMPTED)

    numbers = [signal.Signals[name] for name in ("SIGTERM", "SIGUSR1") if name in signal.Signals.__members__]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _trying(sweep: Sweep, point: Point) -> contextlib.AbstractContextManager[Outcome]:
    """Only the first of a run's processes keeps the ledger."""
    from hornbook.sweeps.ledger import Outcome, trying

    return trying(sweep.ledger(point), point) if _is_first_process() else contextlib.nullcontext(Outcome())


def _is_first_process() -> bool:
    """By what torchrun or srun says of it."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"


def _command(file: str, index: int, processes: int) -> list[str]:
    from hornbook.sweeps.jobs import torchrun_words

    return [sys.executable, *torchrun_words(processes), "-m", "hornbook", "sweep", "run", file, "--index", str(index)]


def _state_of(status: int | None) -> str:
    from hornbook.sweeps.jobs import PREEMPTED

    if status is None:
        return "running"
    if status < 0:
        return "killed"
    return {0: "finished", PREEMPTED: "preempted"}.get(status, "failed")


def _tell_point(sweep: Sweep, point: Point, state: str) -> None:
    from hornbook.tracking.console import emit, speaks_to_people

    run = sweep.run_dir(point).root
    emit("sweep_point", index=point.index, id=point.id, state=state, settings=point.settings, run=run)
    if speaks_to_people():
        log = f"; see {sweep.log(point)}" if state in ("failed", "killed") else ""
        print(f"{state:<10}{point.index:>4}  {point.id}  {point.label}{log}")


def _tell_end(sweep: Sweep, found: Sequence[Standing]) -> None:
    """What came of the points that were chosen, for people."""
    from hornbook.cli.demo import program
    from hornbook.cli.sweep import summary
    from hornbook.tracking.console import speaks_to_people

    if not speaks_to_people() or not found:
        return
    print(summary(sweep, found))
    for each in found:
        if each.message:
            print(f"{each.point} failed: {each.message}")
    states = {each.state for each in found}
    hints = [*(["table", "best"] if "finished" in states else []), *(["retry"] if states - {"finished"} else [])]
    print("\n".join(["Try next:", *(f"  {program()} sweep {hint} {shlex.quote(str(sweep.root))}" for hint in hints)]))

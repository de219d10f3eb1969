"""`hornbook sweep run`: one point in this process, or all of them in processes of their own."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # these import pydantic, which no --help may wait for
    from hornbook.config.run import Config
    from hornbook.distributed.environment import Place
    from hornbook.storage.run_dir import RunDir
    from hornbook.sweeps.grid import Point
    from hornbook.sweeps.local import Slot
    from hornbook.sweeps.status import Standing
    from hornbook.sweeps.sweep import Sweep


def run_one(sweep: Sweep, index: int, arguments: Sequence[str]) -> int:
    """Train one point, or go on with it; the exit status is 99 if it saved because it was asked to stop.

    `arguments` are the verb's, for the processes of a point that has several.
    """
    from hornbook.distributed import launch
    from hornbook.distributed.environment import place_of
    from hornbook.sweeps.grid import chosen_point

    point, place = chosen_point(sweep.points, index), place_of(os.environ)
    if launch.FOLLOWS in os.environ and not place.is_ours:
        launch.stop_with_launcher()
    if is_done(sweep.run_dir(point), sweep.config(point)):
        if place.rank == 0:
            _tell_point(sweep, point, "finished")
        return 0
    n = sweep.table.resources.processes
    if n > 1 and place.world_size == 1:
        return launch.launch([sys.executable, "-P", "-m", "hornbook", "sweep", *arguments], n)
    return _train(sweep, point, place)


def _train(sweep: Sweep, point: Point, place: Place) -> int:
    """This process's part; the first one keeps the ledger and speaks."""
    from hornbook.distributed.launch import EXIT_PREEMPTED
    from hornbook.sweeps.ledger import Outcome, trying
    from hornbook.sweeps.sweep import FILE

    if place.rank == 0 and not (sweep.root / FILE).exists():
        sweep.prepare()
    with contextlib.ExitStack() as inside:
        if place.world_size == 1:
            inside.enter_context(_leaving_at_once())
        outcome = inside.enter_context(trying(sweep.ledger(point), point)) if place.rank == 0 else Outcome()
        from hornbook import assemble

        loaded = sweep.loaded(point)
        trained = assemble.train(loaded.config, resume=True, origins=loaded.origins)
        outcome.status = "preempted" if trained.result.stop_reason == "preempted" else "finished"
    if place.rank == 0:
        _tell_point(sweep, point, outcome.status)
    return EXIT_PREEMPTED if outcome.status == "preempted" else 0


def run_all(sweep: Sweep, states: Sequence[str] | None = None) -> int:
    """Train the points in one of the `states` (by default, all that are neither finished, failed nor under way)."""
    from hornbook.errors import TrainingError
    from hornbook.storage.lock import alone
    from hornbook.sweeps.local import slots, this_machine
    from hornbook.sweeps.status import standings
    from hornbook.tracking.console import speaks_to_people

    chosen = points_to_run(sweep, states)
    if not chosen:
        return nothing_to_do(sweep)
    wanted = sweep.table.resources
    room = slots(this_machine(with_gpus=wanted.gpu), wanted)
    if speaks_to_people():
        print(f"{sweep.root}: {len(chosen)} of {len(sweep.points)} points to train, {len(room)} at a time")
        if not wanted.gpu and shutil.which("nvidia-smi"):
            print("They see no GPU; for one each: sweep.resources.gpu = true")
    sweep.prepare()
    busy = TrainingError(f"{sweep.root}: another `sweep run` or `retry` is at work on it here; wait for it, or stop it")
    with alone(sweep.root, otherwise=busy):
        _run_points(sweep, chosen, room)
    found = standings(sweep, asking=False)
    _tell_end(sweep, [each for each in found if each.point in chosen])
    is_finished = {each.point.id: each.state == "finished" for each in found}
    return 0 if all(is_finished[point.id] for point in chosen) else 1


def _run_points(sweep: Sweep, chosen: Sequence[Point], room: Sequence[Slot]) -> None:
    """Each in processes of its own, until all are done or this one is asked to stop."""
    from hornbook.sweeps.jobs import point_command
    from hornbook.sweeps.local import run_points
    from hornbook.sweeps.submission import frozen_file
    from hornbook.training.preemption import Preemption

    command = point_command(frozen_file(sweep))
    with Preemption() as preemption:
        run_points(
            chosen,
            room,
            command=lambda point: [*command, str(point.index)],
            log=sweep.log,
            stopping=lambda: preemption.requested is not None,
            tell=lambda point, status: _tell_point(sweep, point, _state_of(sweep, point, status)),
        )


def nothing_to_do(sweep: Sweep) -> int:
    """Say why no point was chosen."""
    from hornbook.cli.sweep import summary
    from hornbook.sweeps.status import standings
    from hornbook.tracking.console import speaks_to_people

    if speaks_to_people():
        print(f"nothing to do: {summary(sweep, standings(sweep, asking=False))}")
    return 0


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
            _begun(config)
        longer = states is None and each.state == "finished" and not is_done(run, config)
        if longer or each.state in (RUNNABLE if states is None else states):
            chosen.append(each.point)
    return chosen


def is_done(run: RunDir, config: Config) -> bool:
    """Whether a run is finished, and was not meant to be shorter than it is meant to be now.

    Raises:
        CheckpointError: if the run was begun with other settings.
    """
    if not run.state_file.is_file() or run.state != "finished":
        return False
    before = _begun(config)
    return before is not None and before.train.steps >= config.train.steps


def _begun(config: Config) -> Config | None:
    """What the run of a configuration was trained with so far; None if it is nothing yet.

    Raises:
        CheckpointError: if that are other settings, or what stands in its place is no run.
    """
    from hornbook.training.resume import find_run, settings_of

    run = find_run(config, True)
    return None if run is None else settings_of(run, config)


@contextlib.contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Until training listens to signals itself, and has something to save, being asked to stop ends the process.

    For a process that trains alone: one that waits for others would not come to handle a signal.
    """
    from hornbook.distributed.launch import EXIT_PREEMPTED
    from hornbook.training.preemption import Preemption

    def leave(number: int, frame: FrameType | None) -> None:
        Preemption.early = signal.Signals(number)  # compiled code takes an exception for its own and goes on
        raise SystemExit(EXIT_PREEMPTED)

    numbers = [signal.Signals[name] for name in ("SIGTERM", "SIGUSR1") if name in signal.Signals.__members__]
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        Preemption.early = None
        for number, handler in before.items():
            signal.signal(number, handler)


def _state_of(sweep: Sweep, point: Point, status: int | None) -> str:
    """What to say of a point whose process has this exit status, None while it runs."""
    from hornbook.distributed.launch import EXIT_PREEMPTED
    from hornbook.sweeps.status import standing

    if status is None:
        return "running"
    if status in (0, EXIT_PREEMPTED):
        return "preempted" if status else "finished"
    state = standing(sweep, point).state
    if state in ("running", "killed"):  # another process was at it; or it was one of several processes that was killed
        return state
    return "killed" if status < 0 else "failed"


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

"""`--nproc N`: the same command N times on this machine, and what to say when one of them dies.

The first process speaks to the terminal; what the others say goes into a file each, which is kept if something goes
wrong. Signals are passed on to all. When one process fails, the others notice that they lost it, and have a few seconds
to end by themselves before they are killed: checkpoints are atomic, so nothing is lost. When the launcher itself dies,
each process sees its standard input end and stops as if preempted. Imports nothing heavy.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from hornbook.distributed.environment import RENDEZVOUS
from hornbook.errors import TrainingError
from hornbook.storage.cores import available_cores

EXITS_SAID = (2, 130, 141)
"""Of a first process that has told the user itself: what to mend, interrupted, nobody reads."""
EXIT_PEER_LOST = 75
"""Of a process that ends because another one did."""
EXIT_PREEMPTED = 99
"""Of a process that saved because it was asked to stop; to Grid Engine, too, it says: queue me again.

No other end has it: 1 is an error that nobody expected, 2 one that the user can mend, 128 and more are signals.
"""
FOLLOWS = "HORNBOOK_FOLLOWS"
"""Set for a process that is to stop when its standard input ends."""
GRACE_SECONDS = 10.0
_ENDED_WELL = (0, EXIT_PREEMPTED)
_POLL_SECONDS = 0.05
_FORWARDED = ("SIGINT", "SIGTERM", "SIGUSR1")


@dataclass
class _Rank:
    process: subprocess.Popen[bytes]
    log: Path | None
    """None: it speaks to the terminal."""
    was_killed: bool = False
    """By us, because another had failed."""


def launch(command: Sequence[str], n: int, *, advice: str = ". Go on with --resume") -> int:
    """Run `command` as `n` processes that train together; the exit status: 0, EXIT_PREEMPTED, or what the first one
    ended with after it told the user why.

    `advice` ends the message of an error.

    Raises:
        TrainingError: naming the process that failed first, how, and the file with what it said, unless that is on the
            terminal already.
    """
    folder = Path(tempfile.mkdtemp(prefix="hornbook-"))
    ranks: list[_Rank] = []
    with contextlib.ExitStack() as at_end:
        at_end.enter_context(_passing_signals_to(ranks))
        at_end.callback(_kill, ranks)
        ranks.extend(_start(command, rank, n, folder, at_end) for rank in range(n))  # one by one: who is there is ended
        first_failed = _wait(ranks)
    if first_failed is None:
        shutil.rmtree(folder, ignore_errors=True)
        return _status(ranks[0])
    (folder / "rendezvous").unlink(missing_ok=True)
    if {_status(ranks[0]), _status(ranks[first_failed])} <= {*EXITS_SAID}:
        shutil.rmtree(folder, ignore_errors=True)  # all ended for what the first one has said
        return _status(ranks[0])
    raise TrainingError(_what_happened(ranks, first_failed) + advice)


def end_now(status: int) -> NoReturn:
    """End this process, one of several, with what it has said, but without an end of the interpreter.

    gloo's threads live as long as anything refers to the group, which a model that is cut up does. One that gives back
    a tensor while the interpreter ends aborts the process, which would then seem to have failed after it did its work.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def stop_with_launcher() -> None:
    """From now on, when what started this process is gone and its standard input ends, it stops as if preempted."""

    def follow() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="launcher", daemon=True).start()


def _start(command: Sequence[str], rank: int, n: int, folder: Path, at_end: contextlib.ExitStack) -> _Rank:
    log = folder / f"rank-{rank}.log" if rank else None
    output: IO[bytes] | None = None if log is None else at_end.enter_context(log.open("wb"))
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # nobody writes; its end is the end of this process
        stdout=output,
        stderr=None if output is None else subprocess.STDOUT,
        env=_environment(rank, n, folder),
        start_new_session=True,  # or Ctrl-C would reach every process twice
    )
    return _Rank(process, log)


def _environment(rank: int, n: int, folder: Path) -> dict[str, str]:
    share = {"OMP_NUM_THREADS": str(max(1, available_cores() // n))}
    here = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    number = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_WORLD_SIZE": str(n)}
    return {**share, **here, **os.environ, **number, RENDEZVOUS: str(folder / "rendezvous")}


def _wait(ranks: Sequence[_Rank]) -> int | None:
    """Until all have ended; which one failed first, of those that did not merely lose another. None: all went well."""
    failed: list[int] = []
    deadline = None
    while True:
        running = False
        for index, rank in enumerate(ranks):
            status = rank.process.poll()
            running |= status is None
            if status is not None and status not in _ENDED_WELL and index not in failed and not rank.was_killed:
                failed.append(index)
        if not running:
            return _first_cause(ranks, failed)
        if failed and deadline is None:
            deadline = time.monotonic() + GRACE_SECONDS
        if deadline is not None and time.monotonic() > deadline:
            _kill(ranks)
        time.sleep(_POLL_SECONDS)


def _first_cause(ranks: Sequence[_Rank], failed: Sequence[int]) -> int | None:
    """Of those that failed, in the order in which they did: who did not merely lose another."""
    causes = [index for index in failed if _status(ranks[index]) != EXIT_PEER_LOST] or failed
    return causes[0] if causes else None


def _kill(ranks: Sequence[_Rank]) -> None:
    for rank in ranks:
        if rank.process.poll() is None:
            rank.was_killed = True
            rank.process.kill()
        rank.process.wait()
        assert rank.process.stdin is not None
        rank.process.stdin.close()


@contextlib.contextmanager
def _passing_signals_to(ranks: Sequence[_Rank]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(number)

    if threading.current_thread() is not threading.main_thread():  # where Python forbids handlers
        yield
        return
    names = [name for name in _FORWARDED if hasattr(signal, name)]
    before = {getattr(signal, name): signal.signal(getattr(signal, name), pass_on) for name in names}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _status(rank: _Rank) -> int:
    status = rank.process.returncode
    assert status is not None
    return status


def _what_happened(ranks: Sequence[_Rank], index: int) -> str:
    rank, status = ranks[index], _status(ranks[index])
    if status < 0:
        how = f"was killed by {signal.Signals(-status).name}"
        how += " (out of memory?)" if -status == getattr(signal, "SIGKILL", None) else ""
    else:
        how = f"ended with status {status}"
    said = "what it said stands above" if rank.log is None else f"what it said is in {rank.log}{_last_line(rank.log)}"
    return f"rank {index} of {len(ranks)} {how}, so the others were ended too; {said}"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f" ({lines[-1].strip()[:300]})" if lines else " (nothing)"

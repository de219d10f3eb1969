"""Processes that a self-test starts as `train --nproc` starts its own, and one message when one of them fails.

    python -m MODULE FOLDER      one of the processes; FOLDER holds what they are asked, and what they answer

`MODULE` calls `be_a_rank` with what to do; the test itself calls `run_ranks`.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from hornbook.distributed.environment import place_of
from hornbook.distributed.launch import EXIT_PEER_LOST, end_now, launch
from hornbook.errors import HornbookError, PeerLostError, TrainingError
from hornbook.storage.atomic import replace_file

_SAID = "error.txt"
_EXIT_SAID, _EXIT_INTERRUPTED = 2, 130


def run_ranks(module: str, folder: Path, n: int) -> None:
    """Run `n` processes of a module to their end.

    Raises:
        HornbookError: what the first process could not do; else a TrainingError that names the process that failed.
        KeyboardInterrupt: if they were interrupted.
    """
    status = launch([sys.executable, "-P", "-m", module, str(folder)], n, advice="")
    if (folder / _SAID).exists():
        raise HornbookError((folder / _SAID).read_text(encoding="utf-8"))
    if status == _EXIT_INTERRUPTED:
        raise KeyboardInterrupt
    if status:
        raise TrainingError(f"{n} processes of {module} ended with status {status}; what they said stands above")


def be_a_rank(work: Callable[[Path], None]) -> None:
    """Be one of the processes, to its end: do `work` in the folder that is named on the command line."""
    end_now(_status(work, Path(sys.argv[1])))


def _status(work: Callable[[Path], None], folder: Path) -> int:
    try:
        work(folder)
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except PeerLostError as error:
        sys.stderr.write(f"{error}\n" if place_of(os.environ).rank else "")
        return EXIT_PEER_LOST
    except HornbookError as error:
        if place_of(os.environ).rank == 0:
            replace_file(folder / _SAID, str(error))
        else:
            sys.stderr.write(f"{error}\n")
        return _EXIT_SAID
    return 0

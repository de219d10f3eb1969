"""When the compiled kernels do the work, and what is said when they cannot.

Compiling costs seconds once on a machine, loading half a second in each process; pure Python handles a few megabytes in
that time. So nothing is compiled for a small text, and nothing twice:

    kernels loaded in this process    any text of 1 KiB or more
    compiled before on this machine   once LOADING_PAYS bytes have gone through pure Python, or come at once
    never compiled                    the same with COMPILING_PAYS

HORNBOOK_KERNELS=off keeps to pure Python, =on takes the kernels for everything, =auto is as above.
"""

import importlib
import logging
import os
import threading
from collections import Counter
from types import ModuleType
from typing import Literal, get_args

from hornbook.errors import TokenizerError

Task = Literal["train", "encode"]
TASKS: tuple[Task, ...] = get_args(Task)

SMALLEST = 1 << 10
LOADING_PAYS = 2 << 20
COMPILING_PAYS = 16 << 20

_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_loaded: dict[Task, ModuleType] = {}
_seen_bytes: Counter[Task] = Counter()
_pays_from: dict[Task, int] = dict.fromkeys(TASKS, 0)
"""Bytes that must have been seen before it is worth looking again; set when nothing was found compiled."""
_failed: list[str] = []
"""Why there are no kernels in this process; said once."""


def kernels_for(task: Task, n_bytes: int) -> ModuleType | None:
    """The kernels for `n_bytes` more of text, compiled or loaded if that pays; None where pure Python is to do it.

    Args:
        task: train counts words and learns merges, encode is text to ids.
        n_bytes: text that is about to be worked through.

    Raises:
        TokenizerError: if HORNBOOK_KERNELS is none of its three values.
    """
    choice = os.environ.get("HORNBOOK_KERNELS") or "auto"
    if choice not in ("on", "off", "auto"):
        raise TokenizerError(f"HORNBOOK_KERNELS = {choice!r}; expected on, off or auto")
    if choice == "off" or _failed:
        return None
    if (kernels := _loaded.get(task)) is not None:
        return kernels if n_bytes >= SMALLEST or choice == "on" else None
    with _lock:
        if (kernels := _loaded.get(task)) is not None:  # by a thread that was quicker
            return kernels
        _seen_bytes[task] += n_bytes
        if choice != "on" and _seen_bytes[task] < max(LOADING_PAYS, _pays_from[task]):
            return None
        return _load(task, whatever_it_costs=choice == "on")


def warm_up(task: Task) -> str | None:
    """Compile the kernels of a task, or load them where that was done before; returns why it cannot be, or None."""
    with _lock:
        if task not in _loaded and not _failed:
            _load(task, whatever_it_costs=True)
    return _failed[0] if _failed else None


def kept_in() -> str:
    """The directory of the compiled code.

    Raises:
        ImportError: if numba is missing.
    """
    return str(importlib.import_module("hornbook.tokenizer.kernels").cache_directory())


def _load(task: Task, *, whatever_it_costs: bool) -> ModuleType | None:
    try:
        kernels = importlib.import_module("hornbook.tokenizer.kernels")
        if not kernels.is_compiled(task):
            if not whatever_it_costs and _seen_bytes[task] < COMPILING_PAYS:
                _pays_from[task] = COMPILING_PAYS
                return None
            _logger.warning("Compiling the tokenizer's kernels, once on this machine: about ten seconds.")
        kernels.load(task)
    except ImportError as error:
        _give_up(f"numba is missing ({error})", "to have them: pip install numba")
        return None
    except OSError as error:
        _give_up(
            f"{type(error).__name__}: {error}", "to have them: set HORNBOOK_CACHE to a directory with room for them"
        )
        return None
    except Exception as error:  # noqa: BLE001  # whatever a compiler finds wrong with a machine, there is another way
        _give_up(f"{type(error).__name__}: {error}".splitlines()[0], "please report this")
        return None
    _loaded[task] = kernels
    return kernels


def _give_up(reason: str, advice: str) -> None:
    _failed.append(reason)
    _logger.warning(
        "The tokenizer's kernels cannot be used: %s; it goes on in pure Python, some 30 times slower; %s.",
        reason,
        advice,
    )

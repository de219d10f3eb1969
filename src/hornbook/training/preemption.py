"""Signals that mean "end soon": finish the step, save, leave.

SIGTERM comes from schedulers, SIGUSR1 from SLURM's `--signal`, SIGINT from Ctrl-C. A handler only takes a note; the
loop reads it after each step, so a signal during validation or a save costs one more step. A second Ctrl-C is
KeyboardInterrupt at once: checkpoints are atomic, so it is safe.
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ClassVar, Self

_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")  # Windows has no SIGUSR1
_Handler = Callable[[int, FrameType | None], object] | int | None


class Preemption:
    """While entered, notes the signals; outside the main thread, where Python forbids handlers, it notes nothing."""

    early: ClassVar[signal.Signals | None] = None
    """A signal that came before, whose exception should have ended the process and was swallowed by some library."""

    def __init__(self) -> None:
        self.requested: signal.Signals | None = self.early
        """The first signal that came."""
        self._interrupts = 0
        self._before: dict[signal.Signals, _Handler] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            raise KeyboardInterrupt
        self.requested = self.requested or signal.Signals(number)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                number = signal.Signals.__members__.get(name)
                # A shell that starts a job in the background has it ignore Ctrl-C, which is then meant for others.
                if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not installed by Python
        self._before.clear()

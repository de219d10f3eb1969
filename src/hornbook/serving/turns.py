"""Taking turns: threads that compute do it one after another, in the order in which they asked."""

import threading
from collections import deque
from types import TracebackType


class Turns:
    """A lock that is fair, unlike threading.Lock: who lets go and asks again waits for all who asked before.

    Two models that decode at once would only be in each other's way: each uses all cores by itself, and compiled
    kernels may run in one thread at a time.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._queue: deque[object] = deque()

    def __enter__(self) -> None:
        me = object()
        with self._condition:
            self._queue.append(me)
            self._condition.wait_for(lambda: self._queue[0] is me)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._queue.popleft()
            self._condition.notify_all()

    def pass_on(self) -> None:
        """Let the others go first; for the one whose turn it is."""
        if len(self._queue) > 1:
            self.__exit__(None, None, None)
            self.__enter__()

"""Reading a buffer with all threads, again and again: what no way of reading weights once a step can beat."""

import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np


@numba.njit(parallel=True)
def total(numbers):  # type: ignore[no-untyped-def]
    """The sum, which needs every number."""
    found = 0
    for i in numba.prange(len(numbers)):
        found += numbers[i]
    return found


def setup(settings: dict[str, Any]) -> tuple[Callable[[], float], Callable[[float], dict[str, Any]]]:
    """A buffer of as many bytes, touched by the threads that read it."""
    numba.set_num_threads(settings["threads"])
    numbers = np.ones(settings["bytes"] // 8, np.int64)
    assert total(numbers) == len(numbers)

    def block() -> float:
        begun = time.perf_counter()
        for _ in range(settings["times"]):
            total(numbers)
        return time.perf_counter() - begun

    read = numbers.nbytes * settings["times"]
    return block, lambda taken: {"said": f"{read / taken / 1e9:.1f} GB/s of {numbers.nbytes / 1e6:.1f} MB a step"}

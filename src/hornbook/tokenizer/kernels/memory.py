"""Large memory that is zero."""

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def zeroed(n: int) -> npt.NDArray[Any]:
    """uint64[n] of zeros that starts at a page, on large pages where the system has them.

    A table that is read here and there is a fifth faster on large pages: the processor remembers where few pages lie.
    """
    memory = mmap.mmap(-1, max(1, n) * 8)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint64, count=n)

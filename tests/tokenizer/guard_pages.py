"""Memory that ends at a page which nobody may read: one byte too far ends the process, and the test with it."""

import ctypes
import mmap

import numpy as np
import pytest


def guarded(array):
    """A copy of the array whose last byte lies directly before an unreadable page."""
    array = np.ascontiguousarray(array)
    page = mmap.PAGESIZE
    size = -(-max(array.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, size + page)
    _forbid(ctypes.addressof(ctypes.c_char.from_buffer(memory)) + size, page)
    copy = np.frombuffer(memory, array.dtype, count=array.size, offset=size - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


class GuardedNumpy:
    """numpy for a module whose arrays are to end before unreadable pages, those too that it gives no name."""

    def __getattr__(self, name):
        value = getattr(np, name)
        if name not in ("array", "ascontiguousarray", "concatenate", "empty", "zeros"):
            return value
        return lambda *arguments, **options: guarded(value(*arguments, **options))


def _forbid(address, n_bytes):
    try:
        protect = ctypes.CDLL(None, use_errno=True).mprotect
    except (AttributeError, OSError, TypeError):
        pytest.skip("this system has no mprotect")
    if protect(ctypes.c_void_p(address), ctypes.c_size_t(n_bytes), 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")

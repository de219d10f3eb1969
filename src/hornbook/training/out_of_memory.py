"""When a step cannot be computed as it was meant to be: know why, and cut smaller micro-batches."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch

from hornbook.data.batch import B
from hornbook.distributed.process_group import is_lost, lost
from hornbook.training.compiled import CompilerFailed, is_of_compiler

E = TypeVar("E", bound=Exception)
Shrunk = tuple[tuple[int, int], ...]
"""Each time that memory ran out: after how many steps, and the windows in a micro-batch from then on; in order."""
_ALLOCATORS_SAY = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")


class MicroBatchTooLarge(Exception):
    """Memory ran out in a forward or backward pass; weights and optimizer are as they were."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up: torch's on a GPU or on the CPU, or C++'s."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _ALLOCATORS_SAY)


@contextlib.contextmanager
def watched(*, memory: bool = True) -> Iterator[None]:
    """Turn the complaints of allocators (if `memory`), compilers and networks into exceptions; everything else passes.

    Raises:
        MicroBatchTooLarge: catch it, take it `without_frames`, leave the `except` block, then retry.
        CompilerFailed: the same.
        PeerLostError: another process is gone.
    """
    try:
        yield
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        if memory and is_out_of_memory(error):
            raise MicroBatchTooLarge(first_line) from None
        if is_of_compiler(error):
            raise CompilerFailed(f"{type(error).__name__}: {first_line}"[:200]) from None
        if is_lost(error):  # where a pass itself waits for others
            raise lost(error) from error
        raise


def without_frames(error: E) -> E:
    """The error, without the frames it came through and that it was made from: they keep the tensors of what failed."""
    error.__context__ = None
    return error.with_traceback(None)


def release_cached(device: torch.device) -> None:
    """Give back what torch keeps of a CUDA device for later: what was kept in one size may not serve another."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def smaller(rows: int) -> int | None:
    """The largest divisor of `rows` below it; None below 1. Every cut of a step stays a cut of the same step."""
    return next((size for size in range(rows // 2, 0, -1) if rows % size == 0), None)


def rows_at(shrunk: Shrunk, step: int) -> int | None:
    """The most rows in a micro-batch of `step`, counted from 0; None where memory has not run out so far."""
    return next((rows for first, rows in reversed(shrunk) if first <= step), None)


def shrunk_at(shrunk: Shrunk, step: int, rows: int) -> Shrunk:
    """The same, but for `rows` from `step` on. What a former attempt met later stays, if that was smaller still."""
    before, later = (entry for entry in shrunk if entry[0] < step), (entry for entry in shrunk if entry[0] > step)
    return (*before, (step, rows), *(entry for entry in later if entry[1] < rows))


def cut(batches: Sequence[B], rows: int) -> list[B]:
    """The same rows in the same order, at most `rows` in a micro-batch."""
    return [piece for batch in batches for piece in batch.cut(rows)]

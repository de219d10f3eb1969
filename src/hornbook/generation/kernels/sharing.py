"""How threads share a step: regions one after the other, each cut into chunks that whoever is free takes.

A region is over when all of its chunks are, not when all threads have come: a thread that the system holds up delays
nobody unless it has taken a chunk, and one that never comes (after a fork, say) is not missed. Counters carry the
number of the step, so that a thread that comes late takes nothing and leaves:

    claim    step << 20 | the next chunk        done    chunks that are finished
"""

from hornbook.generation.kernels.layout import REGION_BYTES
from hornbook.generation.kernels.machine import (
    atomic_add,
    atomic_read,
    atomic_replace,
    atomic_write,
    give_way,
    inner,
    pause,
)

CHUNK_BITS = 20
_CHUNK = (1 << CHUNK_BITS) - 1
_PATIENCE = 256
"""Looks at a counter, a few microseconds, before another thread is let in."""


@inner
def claim(counters, region, epoch, n_chunks):
    """The number of a chunk that is this thread's now, or -1: there are no more, or the step is over."""
    counter = counters + region * REGION_BYTES
    while True:
        seen = atomic_read(counter)
        if seen >> CHUNK_BITS != epoch or seen & _CHUNK >= n_chunks:
            return -1
        if atomic_replace(counter, seen, seen + 1):
            return seen & _CHUNK


@inner
def finish(counters, region):
    """Say that a claimed chunk is done."""
    atomic_add(counters + region * REGION_BYTES + REGION_BYTES // 2, 1)


@inner
def is_open(counters, region, epoch, n_chunks):
    """Whether chunks of a region can still be claimed."""
    seen = atomic_read(counters + region * REGION_BYTES)
    return seen >> CHUNK_BITS == epoch and seen & _CHUNK < n_chunks


@inner
def wait(counters, region, epoch_address, epoch, n_chunks):
    """Return when every chunk of a region is done, or the step is over."""
    done = counters + region * REGION_BYTES + REGION_BYTES // 2
    looks = 0
    while atomic_read(done) < n_chunks and atomic_read(epoch_address) == epoch:
        pause()
        looks += 1
        if looks % _PATIENCE == 0:
            give_way()


@inner
def publish(counters, n_regions, epoch_address, epoch):
    """Make the counters ready for a step and let the waiting threads see it."""
    for region in range(n_regions):
        counter = counters + region * REGION_BYTES
        atomic_write(counter + REGION_BYTES // 2, 0)
        atomic_write(counter, epoch << CHUNK_BITS)
    atomic_write(epoch_address, epoch)


@inner
def close(counters, n_regions, epoch):
    """End a step: from now on nobody can claim a chunk of it, however many a thread that comes late takes there to be.

    The caller writes down the next step as soon as this one is over. A thread that still runs through the one before
    would read more rows there than it had, and do chunks that count for the next.
    """
    for region in range(n_regions):
        atomic_write(counters + region * REGION_BYTES, epoch << CHUNK_BITS | _CHUNK)


@inner
def await_step(epoch_address, last, looks):
    """The number of the step after `last`, or `last` itself when it has not come after so many looks."""
    for look in range(looks):
        epoch = atomic_read(epoch_address)
        if epoch != last:
            return epoch
        pause()
        if look % _PATIENCE == _PATIENCE - 1:
            give_way()
    return last

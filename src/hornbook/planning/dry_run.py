"""A training step on tensors without numbers: what would be alive at once, and what the allocator would hold for it.

Formulas know how many bytes are needed, not where they lie. A process on a CPU keeps what tensors give back (see
`hornbook.distributed.device.keep_freed_memory`), and a gradient that was put into a hole between two activations leaves
no room there for the next activation: what the process holds is up to twice as much and more. So the step is run with
shapes alone (torch's FakeTensorMode), and for each tensor the allocator of this process is asked for its bytes, which
are given back when the tensor goes. No page of them is ever touched, so this takes addresses and no memory.

What is alive is exact to a few per cent. What is held follows from which block happens to fit into which hole, and
small things move it: it is known to about a fifth (docs/planning.md).
"""

import contextlib
import ctypes
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hornbook.distributed.device import keep_freed_memory
from hornbook.models.transformer import Transformer

ALIGNMENT = 64
"""Of torch's tensors on a CPU."""
_STEPS, _MOST_MICRO_BATCHES = 2, 2
"""The allocator holds most from the second step on; later micro-batches find what the second one needed."""


@dataclass(frozen=True, kw_only=True)
class DryRun:
    """What a step would take, in bytes."""

    live: int
    """Of all tensors that are alive at the same time, at most."""
    held: int
    """What the process's allocator gets from the system for them; `live` where it does not say (no glibc)."""


def dry_run(
    model: Transformer, *, rows: int, length: int, micro_batches: int, half: bool, state_tensors: int, chunk_tokens: int
) -> DryRun:
    """Steps of `model`, which was built under torch.device("meta"), on micro-batches of `rows` windows.

    `model` can be used no more. The update is left out: it works in slices that fit the processor's cache.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode  # seconds of imports

    keep_freed_memory()
    heap = _Heap()
    with FakeTensorMode(), heap, contextlib.ExitStack() as stack:
        _give_shapes(model)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        state = [torch.empty(each.shape) for each in trained for _ in range(state_tensors)]
        tokens = torch.zeros(rows, length + 1, dtype=torch.int64)
        for _ in range(_STEPS):
            for _ in range(min(micro_batches, _MOST_MICRO_BATCHES)):
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    scores = model(tokens[:, :-1], targets=tokens[:, 1:], chunk_tokens=chunk_tokens, nll_only=True)
                scores.nll.sum().backward()
            for parameter in trained:
                parameter.grad = None
        stack.callback(state.clear)
    return DryRun(live=heap.most_live, held=heap.most_held or heap.most_live)


def _give_shapes(model: nn.Module) -> None:
    """Every parameter as one on the CPU without numbers."""
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                shaped = torch.empty(parameter.shape, device="cpu")
                module._parameters[name] = nn.Parameter(shaped, requires_grad=parameter.requires_grad)


class _Heap(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Mirrors every new storage in the allocator, and counts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most_live = self.most_held = self._live = 0
        self._known: set[int] = set()
        self._glibc = _Glibc.find()
        self._before = self._glibc.in_use() if self._glibc else 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._take(tensor.untyped_storage())
        return out

    def _take(self, storage: torch.UntypedStorage) -> None:
        key, n_bytes = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        address = self._glibc.take(n_bytes) if self._glibc and n_bytes else None
        weakref.finalize(storage, self._give, key, n_bytes, address)
        self._live += n_bytes
        self.most_live = max(self.most_live, self._live)
        if self._glibc:
            self.most_held = max(self.most_held, self._glibc.held() - self._before)

    def _give(self, key: int, n_bytes: int, address: int | None) -> None:
        self._known.discard(key)
        self._live -= n_bytes
        if self._glibc and address is not None:
            self._glibc.give(address)


def _tensors(out: object) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor))


class _Statistics(ctypes.Structure):
    """struct mallinfo2 of malloc.h."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


class _Glibc:
    """The allocator that torch's CPU tensors come from on Linux."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._take, self._free, self._statistics = library.posix_memalign, library.free, library.mallinfo2
        self._take.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
        self._free.argtypes = [ctypes.c_void_p]
        self._statistics.restype = _Statistics

    @classmethod
    def find(cls) -> "_Glibc | None":
        """None where there is none (macOS, Windows, musl, glibc before 2.33)."""
        try:
            return cls(ctypes.CDLL(None))
        except (OSError, TypeError, AttributeError):
            return None

    def take(self, n_bytes: int) -> int | None:
        """An address; None where the system refuses so much, so that only what is live is known."""
        address = ctypes.c_void_p()
        return None if self._take(ctypes.byref(address), ALIGNMENT, n_bytes) else address.value

    def give(self, address: int) -> None:
        """The block back."""
        self._free(address)

    def in_use(self) -> int:
        """Bytes of blocks that are not free. What is free by now, a step will use before it asks for more."""
        found = self._statistics()
        return int(found.uordblks + found.hblkhd)

    def held(self) -> int:
        """Bytes that this process has from the system for its blocks, free ones between them included."""
        found = self._statistics()
        return int(found.arena + found.hblkhd)

"""Decoding by kernels of our own: the whole forward step in compiled code over a static KV cache, on the CPU.

    read(spans) -> rows of (token, slot, position) -> steps of up to MAX_ROWS rows, by all threads -> logits

In float32 a row's logits depend on its slot's tokens alone, bit for bit: not on other rows, nor on how the tokens were
cut into spans, nor on the number of threads.
"""

import threading
import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor, nn

from hornbook.errors import GenerationError
from hornbook.generation.backends import Span
from hornbook.generation.kernel_plan import Plan
from hornbook.generation.kernels import layout, load
from hornbook.generation.kernels.layout import Field
from hornbook.models.transformer import Transformer

MAX_THREADS = 16
_LOOKS = 50_000
"""How often a thread looks for the next step before it sleeps: around a millisecond."""
_LEAVE = -1


def why_not(model: nn.Module, precision: str) -> str | None:
    """Why the kernels do not serve a model, in a few words; None where they do."""
    if not isinstance(model, Transformer):
        return f"the kernels know no {type(model).__name__}"
    config = model.config
    reasons = {
        f"the kernels know no precision {precision}": precision not in layout.PRECISIONS,
        "the model is not on a CPU": model.token_embedding.weight.device.type != "cpu",
        "the kernels do not compute in float64": model.token_embedding.weight.dtype == torch.float64,
        "the kernels have no n-gram embeddings": model.ngram_embedding is not None,
        "the kernels have no post-norm layers": config.norm_position != "pre",
        "the model has adapters": model.lora is not None,
    }
    for reason, holds in reasons.items():
        if holds:
            return reason
    return load()[1]


class KernelBackend:
    """A Transformer that is read by the kernels; see hornbook.generation.backends.Backend.

    Its weights are copies, laid out as the kernels read them: a model that is trained further wants a new one.
    Reads of one backend are for one thread at a time.
    """

    name = "kernel"

    def __init__(
        self, model: Transformer, *, slots: int, max_length: int, precision: str, threads: int | None = None
    ) -> None:
        """`threads`: default as many as torch uses, at most MAX_THREADS.

        Raises:
            GenerationError: for a model that the kernels do not serve.
        """
        if reason := why_not(model, precision):
            raise GenerationError(f"the decoding kernels cannot serve this model: {reason}; use the torch backend")
        self.precision, self.slots, self.max_length = precision, slots, max_length
        self.vocab_size = model.config.vocab_size
        is_learned = model.position_embedding is not None
        self._limit = min(max_length, model.config.context_length) if is_learned else max_length
        compiled = load()[0]
        assert compiled is not None
        has_dot = bool(compiled.MULTIPLIES_BFLOAT16)
        self._plan = Plan(model, slots=slots, max_length=max_length, precision=precision, has_dot=has_dot)
        self._take_part = compiled.take_part
        n_threads = min(threads or torch.get_num_threads(), MAX_THREADS)
        self._crew = _Crew(self._plan, compiled, n_threads)

    def read(self, spans: Sequence[Span]) -> Float32[Tensor, "n v"]:
        """Logits, span after span: one row for each, or with `every` one a token.

        Raises:
            GenerationError: for a span that does not fit its slot.
        """
        n_rows = sum(len(span.tokens) if span.every else 1 for span in spans)
        logits = torch.empty(n_rows, self.vocab_size)
        plan, at, row, wanted = self._plan, logits.data_ptr(), 0, 0
        for span in spans:
            self._check(span)
            last = len(span.tokens) - 1
            for index, token in enumerate(span.tokens):
                plan.tokens[row], plan.positions[row], plan.row_slots[row] = token, span.start + index, span.slot
                if span.every or index == last:
                    plan.wanted_rows[wanted] = row
                    wanted += 1
                row += 1
                if row == layout.MAX_ROWS:
                    self._step(row, wanted, at)
                    at += wanted * self.vocab_size * 4
                    row = wanted = 0
        if row:
            self._step(row, wanted, at)
        return logits

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of slot `target` those of `source`."""
        if source == target or length == 0:
            return
        for keys, values in zip(self._plan.keys, self._plan.values, strict=True):
            blocks = -(-length // layout.LANES)
            keys[target, :, :blocks] = keys[source, :, :blocks]
            values[target, :, :length] = values[source, :, :length]

    def _check(self, span: Span) -> None:
        end = span.start + len(span.tokens)
        if not span.tokens or span.start < 0 or end > self._limit or not 0 <= span.slot < self.slots:
            raise GenerationError(
                f"a span of {len(span.tokens)} tokens at position {span.start} of slot {span.slot} does not fit: "
                f"there are {self.slots} slots of {self._limit} positions"
            )
        if min(span.tokens) < 0 or max(span.tokens) >= self.vocab_size:
            raise GenerationError(f"a span has a token outside 0 .. {self.vocab_size - 1}")

    def _step(self, rows: int, wanted: int, logits: int) -> None:
        fields = self._plan.fields
        fields[Field.ROWS], fields[Field.WANTED], fields[Field.LOGITS] = rows, wanted, logits
        self._crew.wake()
        self._take_part(self._plan.address, 0, 0, 0)


class _Crew:
    """The threads beside the caller's own; they start at the first step and sleep while there is none."""

    def __init__(self, plan: Plan, compiled: ModuleType, n_threads: int) -> None:
        plan.share(n_threads)
        self._sleepers = [_Sleeper() for _ in range(n_threads - 1)]
        self._start: list[tuple[Any, ...]] | None = [
            (sleeper, plan, compiled, number) for number, sleeper in enumerate(self._sleepers, start=1)
        ]
        self._leave = weakref.finalize(self, _dismiss, plan.epoch, self._sleepers)

    def wake(self) -> None:
        """Call the threads that sleep: a step is about to begin."""
        if self._start is not None:
            for sleeper, *rest in self._start:
                sleeper.thread = threading.Thread(
                    target=_work, args=(sleeper, *rest), daemon=True, name="hornbook-kernel"
                )
                sleeper.thread.start()
            self._start = None
        for sleeper in self._sleepers:
            if sleeper.is_asleep:
                sleeper.is_asleep = False
                sleeper.bell.release()


class _Sleeper:
    """A thread's bed."""

    def __init__(self) -> None:
        self.is_asleep = False
        self.is_leaving = False
        self.bell = threading.Semaphore(0)
        self.thread: threading.Thread | None = None


def _work(sleeper: _Sleeper, plan: Plan, compiled: ModuleType, number: int) -> None:
    last = 0
    while not sleeper.is_leaving:
        last = compiled.take_part(plan.address, number, last, _LOOKS)
        if last == _LEAVE or sleeper.is_leaving:
            return
        sleeper.is_asleep = True
        sleeper.bell.acquire()


def _dismiss(epoch: NDArray[np.int64], sleepers: list[_Sleeper]) -> None:
    for sleeper in sleepers:
        sleeper.is_leaving = True
    epoch[0] = _LEAVE
    for sleeper in sleepers:
        sleeper.bell.release()
    for sleeper in sleepers:
        if sleeper.thread is not None:
            sleeper.thread.join(timeout=1.0)

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
from hornbook.generation.kernels import layout, load
from hornbook.generation.kernels.layout import Field, LayerField, Number, whole
from hornbook.models.positions import rotation, sinusoid
from hornbook.models.quantise import quantise
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

    float32 weights are the model's own memory, so that they are as they are at each read; others are copies.
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
        self._plan = _Plan(model, slots=slots, max_length=max_length, precision=precision)
        compiled = load()[0]
        assert compiled is not None
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


class _Plan:
    """The arrays behind a plan, kept alive as long as it is; see layout.Field."""

    def __init__(self, model: Transformer, *, slots: int, max_length: int, precision: str) -> None:
        config = model.config
        self._precision = precision
        self._kept: list[Any] = []
        self.fields = np.zeros(layout.PLAN_FIELDS, dtype=np.int64)
        self.address = self.fields.ctypes.data
        width, length = whole(config.head_dim), whole(max_length)
        rows = layout.MAX_ROWS
        cap = config.logit_soft_cap
        numbers = np.zeros(len(Number), dtype=np.float32)
        numbers[Number.NORM_EPS] = config.norm_eps
        numbers[Number.EMBEDDING_SCALE] = config.d_model**0.5 if config.scale_embeddings else 1.0
        numbers[Number.SCORE_SCALE] = config.head_dim**-0.5
        numbers[Number.SOFT_CAP] = 0.0 if cap is None else cap
        self.tokens, self.positions, self.row_slots, self.wanted_rows = (np.zeros(rows, np.int64) for _ in range(4))
        self._set(
            LAYERS=config.n_layers,
            D_MODEL=config.d_model,
            HEADS=config.n_heads,
            KV_HEADS=config.n_kv_heads,
            HEAD_DIM=config.head_dim,
            HEAD_WIDTH=width,
            D_FF=config.d_ff,
            VOCABULARY=config.vocab_size,
            MAX_LENGTH=length,
            NORM=layout.NORMS[config.norm],
            ACTIVATION=layout.ACTIVATIONS[config.feed_forward],
            PRECISION=layout.PRECISIONS[precision],
            KEYS_PRECISION=layout.PRECISIONS[layout.PRECISION_OF_KEYS[precision]],
            NUMBERS=self._at(numbers),
            EMBEDDING=self._floats(model.token_embedding.weight),
            TOKENS=self._at(self.tokens),
            POSITIONS=self._at(self.positions),
            SLOTS=self._at(self.row_slots),
            WANTED_ROWS=self._at(self.wanted_rows),
            HIDDEN=self._at(np.zeros((rows, config.d_model), np.float32)),
            QUERIES=self._at(np.zeros((rows, config.n_heads, width), np.float32)),
            MIXED=self._at(np.zeros((rows, config.n_heads * config.head_dim), np.float32)),
            INNER=self._at(np.zeros((rows, config.d_ff), np.float32)),
        )
        self.counters = _aligned((config.n_layers * layout.REGIONS_PER_LAYER + 1) * layout.REGION_BYTES)
        self._set(COUNTERS=self._at(self.counters))
        self._place_positions(model, max_length)
        self.epoch = _aligned(layout.REGION_BYTES).view(np.int64)
        self._set(EPOCH=self._at(self.epoch))
        self._place_weights(model)
        stored = torch.float32 if precision == "float32" else torch.bfloat16
        shape = (slots, config.n_kv_heads, length // layout.LANES, width, layout.LANES)
        self.keys = [torch.zeros(shape, dtype=stored) for _ in range(config.n_layers)]
        self.values = [torch.zeros(slots, config.n_kv_heads, length, width, dtype=stored) for _ in model.layers]
        for layer, keys, values in zip(self.layers, self.keys, self.values, strict=True):
            layer[LayerField.KEYS], layer[LayerField.VALUES] = keys.data_ptr(), values.data_ptr()

    def share(self, threads: int, *, multiplies_bfloat16: bool) -> None:
        """Memory for each of so many threads, and how much work they take at a time."""
        d_model, d_ff = int(self.fields[Field.D_MODEL]), int(self.fields[Field.D_FF])
        mixed = int(self.fields[Field.HEADS] * self.fields[Field.HEAD_DIM])
        size = layout.WEIGHT_BYTES[self._precision]
        if self._precision == "bfloat16" and multiplies_bfloat16 and not any(n % 32 for n in (d_model, mixed, d_ff)):
            self._set(PRECISION=layout.BFLOAT16_DOT)
        self._set(
            O_OUTS=layout.chunk_outs(d_model, mixed * size, threads),
            INNER_OUTS=layout.chunk_outs(d_ff, d_model * size, threads),
            DOWN_OUTS=layout.chunk_outs(d_model, d_ff * size, threads),
            HEAD_OUTS=layout.chunk_outs(int(self.fields[Field.VOCABULARY]), d_model * size, threads),
        )
        width = int(max(layout.MAX_CHUNK_OUTS, self.fields[Field.HEAD_WIDTH]))
        widest = max(d_model, -(-max(mixed, d_ff) // 2))  # what is copied there is rounded to half as many bytes
        floats = layout.MAX_ROWS * (widest + 2 * width) + int(self.fields[Field.MAX_LENGTH])
        size = whole(floats * 4, of=layout.REGION_BYTES)
        self._set(SCRATCH=self._at(_aligned(size * threads)), SCRATCH_BYTES=size, WIDEST=widest)

    def _place_positions(self, model: Transformer, max_length: int) -> None:
        config, positions = model.config, torch.arange(max_length)[None]
        if model.position_embedding is not None:
            self._set(POSITIONS_TABLE=self._floats(model.position_embedding.weight))
        elif config.position == "sinusoidal":
            self._set(POSITIONS_TABLE=self._floats(sinusoid(positions, d_model=config.d_model)[0]))
        elif config.position == "rotary":
            theta, scaling = config.rope_theta, config.rope_scaling
            turn = rotation(positions, head_dim=config.head_dim, theta=theta, scaling=scaling)
            self._set(COSINES=self._floats(turn.cos), SINES=self._floats(turn.sin))

    def _place_weights(self, model: Transformer) -> None:
        self._set(FINAL_NORM=self._parameter(model.norm, "weight"), FINAL_NORM_BIAS=self._parameter(model.norm, "bias"))
        head = model.token_embedding if model.head is None else model.head
        self._set(**dict(zip(("HEAD", "HEAD_SCALES"), self._matrix(head)[:2], strict=True)))
        self.layers = np.zeros((len(model.layers), layout.LAYER_FIELDS), dtype=np.int64)
        self._set(LAYER_PLANS=self._at(self.layers))
        for layer, fields in zip(model.layers, self.layers, strict=True):
            for name in ("attention_norm", "feed_forward_norm"):
                norm = layer.get_submodule(name)
                fields[LayerField[name.upper()]] = self._parameter(norm, "weight")
                fields[LayerField[f"{name}_bias".upper()]] = self._parameter(norm, "bias")
            attention, feed_forward = layer.get_submodule("attention"), layer.get_submodule("feed_forward")
            for name in ("q_norm", "k_norm"):
                fields[LayerField[name.upper()]] = self._parameter(getattr(attention, name), "weight")
            for room, names in ((attention, "qkvo"), (feed_forward, ("gate", "up", "down"))):
                for name in names:
                    at = LayerField[name.upper()]
                    fields[at : at + 3] = self._matrix(getattr(room, f"{name}_proj"))

    def _matrix(self, layer: nn.Module | None) -> tuple[int, int, int]:
        """Addresses of weight, scales and bias, 0 for what is not there."""
        if layer is None:
            return 0, 0, 0
        weight, bias = layer.get_parameter("weight").detach(), self._parameter(layer, "bias")
        if self._precision == "float32":
            return self._floats(weight), 0, bias
        if self._precision == "bfloat16":
            return self._keep(weight.to(torch.bfloat16).contiguous()), 0, bias
        quantised = quantise(weight)
        return self._keep(quantised.values), self._keep(quantised.scales), bias

    def _parameter(self, layer: nn.Module | None, name: str) -> int:
        parameter = getattr(layer, name, None)
        return 0 if parameter is None else self._floats(parameter)

    def _floats(self, tensor: Tensor) -> int:
        return self._keep(tensor.detach().float().contiguous())

    def _keep(self, tensor: Tensor) -> int:
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _at(self, array: NDArray[Any]) -> int:
        self._kept.append(array)
        return array.ctypes.data

    def _set(self, **fields: int) -> None:
        for name, value in fields.items():
            self.fields[Field[name]] = value


def _aligned(size: int) -> NDArray[np.uint8]:
    """Zeros that start at a cache line."""
    room = np.zeros(size + layout.REGION_BYTES, dtype=np.uint8)
    start = -room.ctypes.data % layout.REGION_BYTES
    return room[start : start + size]


class _Crew:
    """The threads beside the caller's own; they start at the first step and sleep while there is none."""

    def __init__(self, plan: _Plan, compiled: ModuleType, n_threads: int) -> None:
        plan.share(n_threads, multiplies_bfloat16=compiled.MULTIPLIES_BFLOAT16)
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


def _work(sleeper: _Sleeper, plan: _Plan, compiled: ModuleType, number: int) -> None:
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

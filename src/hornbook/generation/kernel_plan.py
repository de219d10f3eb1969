"""What the kernels are told of a model: its sizes, its weights as they read them, and the memory that they work in."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hornbook.generation.kernels import layout
from hornbook.generation.kernels.layout import Field, LayerField, Number, whole
from hornbook.models.positions import rotation, sinusoid
from hornbook.models.quantise import quantise
from hornbook.models.transformer import Transformer


class Plan:
    """The arrays behind a plan, kept alive as long as it is; see layout.Field."""

    def __init__(self, model: Transformer, *, slots: int, max_length: int, precision: str, has_dot: bool) -> None:
        config = model.config
        self._precision = precision
        is_whole = not any(n % 32 for n in (config.d_model, config.n_heads * config.head_dim, config.d_ff))
        multiplies_bfloat16 = precision == "bfloat16" and has_dot and is_whole
        self._stored = "bfloat16_dot" if multiplies_bfloat16 else precision
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
            PRECISION=layout.BFLOAT16_DOT if multiplies_bfloat16 else layout.PRECISIONS[precision],
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

    def share(self, threads: int) -> None:
        """Memory for each of so many threads, and how much work they take at a time."""
        d_model, d_ff = int(self.fields[Field.D_MODEL]), int(self.fields[Field.D_FF])
        mixed = int(self.fields[Field.HEADS] * self.fields[Field.HEAD_DIM])
        size = layout.WEIGHT_BYTES[self._precision]
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
        if self._precision != "int8":
            return self._packed(weight.to(getattr(torch, self._precision))), 0, bias
        quantised = quantise(weight)
        return self._packed(quantised.values), self._keep(quantised.scales), bias

    def _packed(self, weight: Tensor) -> int:
        """(outputs, length) as layout.BLOCKS says, with zeros where the last tile or block is not full."""
        block = layout.BLOCKS[self._stored][0]
        n_outs, length = weight.shape
        padded = nn.functional.pad(weight, (0, -length % block, 0, -n_outs % layout.TILE_OUTS))
        tiles = padded.view(-1, layout.TILE_OUTS, padded.shape[1] // block, block)
        return self._keep(tiles.transpose(1, 2).contiguous())

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

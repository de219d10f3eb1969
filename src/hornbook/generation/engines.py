"""Where a decoder gets its engine: a new one for each call, or the one of the call before."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from hornbook.config.generate import GenerateConfig
from hornbook.generation.engine import Engine
from hornbook.generation.open_backend import open_backend
from hornbook.generation.torch_backend import TorchBackend
from hornbook.models.transformer import Transformer

MOST_SLOTS = 32
"""Rows that are decoded at once, whatever is asked for; the others wait."""
LEAST_LENGTH = 256
"""Positions of a slot at first, where keys and values of the whole context would take too much memory."""
EASY_BYTES = 2**27
"""How much is not too much, for all slots."""


@runtime_checkable
class EngineSource(Protocol):
    """Gives an engine that nobody uses, with at least so many positions a slot."""

    def __call__(self, model: Transformer, config: GenerateConfig, *, slots: int, max_length: int) -> Engine:
        """`slots` are wanted, MOST_SLOTS at most are given."""
        ...


def torch_engine(model: Transformer, config: GenerateConfig | None = None, *, slots: int, max_length: int) -> Engine:
    """A new engine on the model as it is now, whatever `config` says of backend and precision; for models in training.

    Rows share their products, so a row's logits are those that it would have alone up to rounding.
    """
    slots = min(slots, MOST_SLOTS)
    backend = TorchBackend(model, slots=slots, max_length=max_length, together=True)
    return Engine(backend, context_length=model.config.context_length)


class Engines:
    """Opens what the settings ask for, and keeps it while model and settings stay the same.

    So the next turn of a conversation finds its beginning in a slot, and weights are prepared once. Slots have room for
    the whole context where that is little memory; else their length doubles as it must.
    """

    def __init__(self, note: Callable[[str], None] = lambda text: None) -> None:
        """`note` hears, once for each model, why kernels do not serve it."""
        self.note = note
        self._engine: Engine | None = None
        self._opened_for: object = None

    def __call__(self, model: Transformer, config: GenerateConfig, *, slots: int, max_length: int) -> Engine:
        """The kept engine if it serves and is idle, else a new one.

        Raises:
            GenerationError: if kernels are asked for and do not serve this model.
        """
        slots, key = min(slots, MOST_SLOTS), (*_state(model), config.backend, config.precision)
        kept = self._engine if self._opened_for == key else None
        if kept is not None and not kept.busy and _fits(kept, slots, max_length):
            return kept
        if kept is not None:
            slots = max(slots, kept.backend.slots)
            max_length = max(max_length, kept.backend.max_length)
        context = model.config.context_length
        length = max(LEAST_LENGTH, 1 << (max_length - 1).bit_length())
        if slots * context * _bytes_a_position(model) <= EASY_BYTES or length > context:
            length = context
        note = self.note if kept is None else lambda text: None
        backend = open_backend(model, slots=slots, max_length=length, config=config, note=note)
        engine = Engine(backend, context_length=context)
        if kept is None or not kept.busy:
            self._engine, self._opened_for = engine, key
        return engine


def _fits(engine: Engine, slots: int, max_length: int) -> bool:
    return slots <= engine.backend.slots and max_length <= engine.backend.max_length


def _bytes_a_position(model: Transformer) -> int:
    config = model.config
    return 2 * config.n_layers * config.n_kv_heads * config.head_dim * 4


def _state(model: Transformer) -> tuple[object, ...]:
    """What changes when the weights do: where they lie and how often torch has written there.

    With the model itself, so that no other one can come to lie there.
    """
    weights = list(model.parameters())
    versions = (0 if weight.is_inference() else weight._version for weight in weights)
    return (model, *(weight.data_ptr() for weight in weights), *versions)

"""A backend that reads with the model itself: serves every shape, on every device, and is what the kernel must equal.

On a CPU, float32 spans are read one by one: torch chooses the order of its sums by the shape of a product, so that a
row would change in its last bits with the number of rows beside it. In less exact precisions, and on other devices,
all spans of a call are one row of tokens whose products are shared and whose attention is each span's own.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from hornbook.config.generate import Precision
from hornbook.errors import GenerationError
from hornbook.generation.backends import Span, check_spans
from hornbook.models.packed import packed
from hornbook.models.quantise import quantise
from hornbook.models.slots import Reading, SlotCache
from hornbook.models.transformer import Transformer

LAST = slice(-1, None)


class TorchBackend:
    """The model with a KV cache of `slots` rows of `max_length` positions each.

    float32 leaves the weights as they are; bfloat16 converts a copy of the whole model; int8 rounds a copy's matrices
    as the kernel does and computes in float32, which shows the quality of int8 and not its speed. The weights are those
    of now: on a CPU, later changes do not reach the backend. Dropout is as the model's mode says.
    """

    name = "torch"

    def __init__(
        self,
        model: Transformer,
        *,
        slots: int,
        max_length: int,
        precision: Precision = "float32",
        together: bool | None = None,
    ) -> None:
        """`together`: read the spans of a call as one, whatever it does to their last bits; None: as said above.

        Raises:
            GenerationError: for more positions than the model's learned table has.
        """
        if model.config.position == "learned" and max_length > model.config.context_length:
            raise GenerationError(
                f"{max_length} positions were asked for, the learned position table has context_length = "
                f"{model.config.context_length}"
            )
        own = converted(model, precision)
        weight = own.token_embedding.weight
        self.precision: str = precision
        self.slots = slots
        self.max_length = max_length
        self.vocab_size = model.config.vocab_size
        self._model = packed(own)
        self._device = weight.device
        is_exact = precision == "float32" and weight.device.type == "cpu"
        self._together = not is_exact if together is None else together
        self._cache = SlotCache(model.config, slots, max_length, dtype=weight.dtype, device=weight.device)

    @torch.inference_mode()
    def read(self, spans: Sequence[Span]) -> Float32[Tensor, "n v"]:
        """Logits on the model's device: a row for each span, or with `every` for each of its tokens.

        Raises:
            GenerationError: for a span that does not fit its slot.
        """
        check_spans(spans, self)
        if self._together or len(spans) == 1:
            return self._read(spans)
        return torch.cat([self._read([span]) for span in spans])

    def _read(self, spans: Sequence[Span]) -> Float32[Tensor, "n v"]:
        tokens = torch.tensor([[token for span in spans for token in span.tokens]], device=self._device)
        positions = self._cache.aim([Reading(span.slot, span.start, len(span.tokens)) for span in spans])
        logits: Tensor = self._model(tokens, positions=positions, cache=self._cache, only=self._wanted(spans))
        return logits[0].float()

    def _wanted(self, spans: Sequence[Span]) -> Int64[Tensor, "1 n"] | slice:
        """The columns whose logits are read."""
        if len(spans) == 1:
            return slice(None) if spans[0].every else LAST
        first = 0
        columns: list[int] = []
        for span in spans:
            below = first + len(span.tokens)
            columns.extend(range(first if span.every else below - 1, below))
            first = below
        return torch.tensor([columns], device=self._device)

    @torch.inference_mode()
    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` positions of slot `target` those of `source`."""
        self._cache.copy(source, target, length)


def converted(model: Transformer, precision: Precision) -> Transformer:
    """The model with weights as decoding in that precision has them: itself in float32, else a copy."""
    if precision == "float32":
        return model
    twin = copy.deepcopy(model)
    if precision == "bfloat16":
        return twin.to(torch.bfloat16)
    if twin.head is None:  # the kernels round the head alone: an embedding is looked up, which costs nothing
        with torch.device("meta"):
            twin.head = nn.Linear(model.config.d_model, model.config.vocab_size, bias=False)
        twin.head.weight = nn.Parameter(model.token_embedding.weight.detach())
    for module in twin.modules():
        if type(module) is nn.Linear:
            module.weight = nn.Parameter(quantise(module.weight).dequantised().to(module.weight.dtype))
    return twin

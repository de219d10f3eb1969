"""The KV cache: keys and values of past tokens, so that a new token costs one forward of one token.

One pair of tensors (b, k, max_length, e) per layer, allocated once. **The slot of an entry is its absolute position**,
for every position kind. The model writes at the positions that it is given and never moves `lengths`; the decoder alone
advances, truncates, reorders and resets:

    prompts        slots 0 1 2 3      lengths    next step writes at positions
    a b c d              a b c d      4          4
    a b                  a b . .      2          2   (over the padding that prefill left at slot 2)

Rows are left-aligned and may differ in length. Prefill pads on the right; what padding writes lies beyond the row's
length, is seen by no real token (causal masks go by slot) and is overwritten when the row grows.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hornbook.config.model import ModelConfig
from hornbook.errors import GenerationError


@dataclass(frozen=True)
class Slots:
    """Where one forward writes and what it attends to; computed once per forward, used by every layer.

    positions: (b, t) slots to write.
    start: the first slot when every row writes the same consecutive run, else None.
    end: slots [0, end) are attended to.
    filled: with `whole`, how many slots of each row hold entries, or None when all rows have `end`.
    spans: where several rows lie end to end in one (hornbook.models.slots): columns from, to below, and the
        slots from, to below, that they attend to.
    """

    positions: Int[Tensor, "b t"]
    start: int | None
    end: int
    filled: Int[Tensor, " b"] | None
    spans: tuple[tuple[int, int, int, int], ...] = ()

    @property
    def n_positions(self) -> int:
        """One more than the largest position."""
        return max((end - first for _, _, first, end in self.spans), default=self.end)


@dataclass(frozen=True)
class LayerStore:
    """One layer's keys and values together with the slots of this forward."""

    keys: Float[Tensor, "b k m e"]
    values: Float[Tensor, "b k m e"]
    slots: Slots

    def write(
        self, keys: Float[Tensor, "b k t e"], values: Float[Tensor, "b k t e"]
    ) -> tuple[Float[Tensor, "b k s e"], Float[Tensor, "b k s e"]]:
        """Stores the new keys and values and returns those of all slots in [0, end), in the dtype of the new ones.

        Raises:
            GenerationError: if gradients are being recorded: a cache is for inference.
        """
        if keys.requires_grad:
            raise GenerationError("a KV cache is for inference: call the model under torch.inference_mode()")
        slots = self.slots
        if slots.start is not None:
            run = slice(slots.start, slots.start + keys.shape[2])
            self.keys[:, :, run] = keys
            self.values[:, :, run] = values
        else:
            rows = torch.arange(keys.shape[0], device=keys.device)[:, None]
            # Indexing by (rows, :, positions) puts the indexed axes first: (B, T, K, E).
            self.keys[rows, :, slots.positions] = keys.transpose(1, 2).to(self.keys.dtype)
            self.values[rows, :, slots.positions] = values.transpose(1, 2).to(self.values.dtype)
        return self.keys[:, :, : slots.end].to(keys.dtype), self.values[:, :, : slots.end].to(values.dtype)


class KVCache:
    """Keys and values of `batch_size` rows of at most `max_length` tokens each.

    `lengths` (b,) counts the real entries of each row. Memory: 2 * n_layers * batch_size * n_kv_heads * max_length *
    head_dim numbers, allocated here and never again.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_length: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch_size, config.n_kv_heads, max_length, config.head_dim)
        self.max_length = max_length
        # One tensor per layer: a stacked one would be copied whole by a compiled step.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.n_layers)]
        # The tokens themselves, by slot, where the model embeds n-grams of them.
        self.ngram_length = config.ngram_length
        self.tokens = torch.zeros((batch_size, max_length if config.ngram_length > 1 else 0), dtype=torch.int64)
        self.tokens = self.tokens.to(device)
        self.lengths: Int[Tensor, " b"] = torch.zeros(batch_size, dtype=torch.int64, device=device)

    @property
    def batch_size(self) -> int:
        """Rows now; `reorder` may change it."""
        return self.lengths.shape[0]

    @property
    def n_bytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def next_positions(self, n: int) -> Int[Tensor, "b n"]:
        """The positions of the next `n` tokens of every row: lengths, lengths + 1, ..."""
        return self.lengths[:, None] + torch.arange(n, device=self.lengths.device)

    def place(self, positions: Int[Tensor, "b t"], *, whole: bool = False) -> Slots:
        """Checks the positions of one forward and finds what it attends to (one synchronisation with the device).

        `whole` (for the full mask) attends to every filled slot, otherwise to none beyond the last position.

        Raises:
            GenerationError: if a position lies outside [0, max_length).
        """
        origin = positions[0, 0]
        is_run = (positions == origin + torch.arange(positions.shape[1], device=positions.device)).all()
        filled = torch.maximum(self.lengths, positions.amax(dim=1) + 1)
        numbers = torch.stack((origin, is_run, positions.min(), positions.max(), filled.min(), filled.max()))
        start, run, lowest, highest, shortest, longest = numbers.tolist()
        if lowest < 0 or highest >= self.max_length:
            raise GenerationError(
                f"the KV cache holds positions 0 to {self.max_length - 1}, got {lowest} to {highest}; "
                "make it longer or truncate it"
            )
        end = longest if whole else highest + 1
        return Slots(positions, start if run else None, end, filled if whole and shortest < longest else None)

    def earlier(self, tokens: Int[Tensor, "b t"], positions: Int[Tensor, "b t"]) -> Int[Tensor, "length_less_1 b t"]:
        """Stores `tokens` at their positions; gives those 1 to ngram_length - 1 slots before each, -1 where none is."""
        self.tokens.scatter_(1, positions, tokens)
        slots = [positions - distance for distance in range(1, self.ngram_length)]
        return torch.stack([torch.where(at >= 0, self.tokens.gather(1, at.clamp(min=0)), -1) for at in slots])

    def layer(self, index: int, slots: Slots) -> LayerStore:
        """The store of layer `index` for one forward."""
        return LayerStore(self.keys[index], self.values[index], slots)

    def advance(self, n: int | Int[Tensor, " b"]) -> None:
        """Declares the next `n` slots (of each row) real, after the model has written them.

        Raises:
            GenerationError: if a row would grow past max_length.
        """
        lengths = self.lengths + n
        if int(lengths.max()) > self.max_length:
            raise GenerationError(
                f"a row of the KV cache would grow to {int(lengths.max())} tokens, it holds {self.max_length}"
            )
        self.lengths = lengths

    def truncate(self, lengths: int | Int[Tensor, " b"]) -> None:
        """Forgets the entries from `lengths` on (speculation, a rejected block); a row that is shorter stays as it is.

        Raises:
            GenerationError: if a length is negative.
        """
        limit = torch.as_tensor(lengths, device=self.lengths.device)
        if int(limit.min()) < 0:
            raise GenerationError(f"cannot truncate a KV cache row to {int(limit.min())} tokens; 0 is the least")
        self.lengths = torch.minimum(self.lengths, limit)

    def reorder(self, rows: Int[Tensor, " n"]) -> None:
        """Makes row i a copy of the old row rows[i]; rows may repeat (beams) or be left out (finished requests)."""
        self.keys = [tensor.index_select(0, rows) for tensor in self.keys]
        self.values = [tensor.index_select(0, rows) for tensor in self.values]
        self.tokens = self.tokens.index_select(0, rows)
        self.lengths = self.lengths.index_select(0, rows)

    def reset(self) -> None:
        """Forgets everything; keeps the memory."""
        self.lengths = torch.zeros_like(self.lengths)

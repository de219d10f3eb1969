"""The ids that may be chosen, where a model's vocabulary is larger than its tokenizer's."""

from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor

from hornbook.generation.filters import DROPPED


class KnownIds:
    """Leaves of logits those of tokens that the tokenizer has; probabilities of the model itself need all of them."""

    def __init__(self, vocab_size: int | None = None, unused_ids: Collection[int] = ()) -> None:
        """Ids below `vocab_size` (default: all) except `unused_ids`."""
        self._vocab_size = vocab_size
        self._unused = torch.tensor(sorted(unused_ids), dtype=torch.int64)

    def __call__(self, logits: Float[Tensor, "b v"]) -> Float[Tensor, "b known"]:
        """Logits below the vocabulary's size, with -inf at unused ids."""
        known = logits[:, : self._vocab_size]
        unused = self._unused[self._unused < known.shape[-1]].to(logits.device)
        return known.index_fill(-1, unused, DROPPED) if len(unused) else known

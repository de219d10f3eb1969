"""What every decoder yields, one by one or in blocks: chunks of tokens for a batch of rows.

The command line, training samples and evaluation consume this one stream, whichever way the tokens were found.
"""

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from hornbook.models.transformer import Transformer

FinishReason = Literal["stop", "length"]
NO_TOKEN = -1


@dataclass(frozen=True, kw_only=True)
class TokenChunk:
    """The next n tokens of each row, on the CPU.

    n is 1 for autoregressive decoding without guesses. NO_TOKEN stands after the last token of a row that gets fewer
    than others, and in all of a row that was finished before this chunk or whose prompt is still being read. The stop
    token itself is a token of its row. `finished` and `reasons` speak of the state after this chunk; a reason is None
    until its row ends: `stop` after a stop token, `length` when max_new_tokens or the context is used up.
    """

    tokens: Int64[Tensor, "b n"]
    finished: Bool[Tensor, " b"]
    reasons: tuple[FinishReason | None, ...]
    logprobs: Float32[Tensor, "b n"]
    """Log-probability (nats) of each token under the model itself, before any filter; 0 at NO_TOKEN."""
    guessed: tuple[int, ...] = ()
    """Of speculative decoding: how many tokens were guessed for each row to make this chunk."""
    accepted: tuple[int, ...] = ()
    """How many of those are in the chunk."""


@runtime_checkable
class Decoder(Protocol):
    """A way to turn prompts into tokens."""

    def __call__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        seeds: Sequence[int],
    ) -> Generator[TokenChunk, None, None]:
        """Chunks until every row is finished; `prompts` may differ in length, `seeds` holds one integer a row.

        close() ends the decoding early: the model is as before, and the memory is free.
        """
        ...

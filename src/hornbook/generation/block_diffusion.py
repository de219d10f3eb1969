"""Decoding by diffusion: all new tokens begin as masks, and are filled block by block, in any order within a block.

block       m m m m m m m m        forward -> draw every masked position -> keep the surest, mask the others again
step 1      m m a m m b m m
step 2      c m a d m b m m        ... until the block is full; then the next one
"""

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass

from hornbook.config.generate import DenoisingConfig, SamplingConfig
from hornbook.generation.decoder import TokenChunk
from hornbook.models.transformer import Transformer


@dataclass(frozen=True, kw_only=True)
class DenoiseStep:
    """What one step decided in one row."""

    row: int
    step: int
    """Of this row, counted from 0 over all its blocks."""
    positions: tuple[int, ...]
    """In the row, the prompt included; ascending."""
    tokens: tuple[int, ...]
    confidences: tuple[float, ...]
    """As `remasking` measures them, of the model's own logits."""


class BlockDiffusion:
    """Decoder that fills masks block by block (LLaDA's semi-autoregressive sampler).

    `causal_block_length` is that of a block-diffusion model, which sees finished blocks and its own alone; None is a
    model of full attention. `on_step` hears of every step as it is made.
    """

    def __init__(
        self,
        sampling: SamplingConfig,
        diffusion: DenoisingConfig,
        *,
        mask_id: int,
        causal_block_length: int | None = None,
        vocab_size: int | None = None,
        unused_ids: Collection[int] = (),
        on_step: Callable[[DenoiseStep], None] | None = None,
    ) -> None:
        raise NotImplementedError

    def __call__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        seeds: Sequence[int],
    ) -> Generator[TokenChunk, None, None]:
        """Chunks of one block until every row is finished."""
        raise NotImplementedError

    def infill(
        self, model: Transformer, templates: Sequence[Sequence[int | None]], *, seeds: Sequence[int]
    ) -> Generator[TokenChunk, None, None]:
        """The tokens of each template's holes (None), in order, a block of holes a chunk."""
        raise NotImplementedError

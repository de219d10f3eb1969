"""Masked diffusion in blocks: from left to right by blocks, in any order within one.

    row        x0 x1 | x2 x3                    block_length 2, a mask probability a block
    read       x0 M  | M  M  | x0 x1 | x2 x3    noised, then clean: 2T tokens, positions 0 1 2 3 0 1 2 3
    targets       x1   x2 x3

A noised block attends to itself and to the clean blocks before it (models/masks.py draws it), so one pass trains all of
them, and what it sees is what it sees in decoding: finished blocks never change what they give to later ones, and their
keys and values may be kept. Arriola et al., 2025, "Block Diffusion", https://arxiv.org/abs/2503.09573.
"""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from hornbook.config.objective import BlockDiffusionConfig
from hornbook.data.batch import TokenBatch
from hornbook.models.masks import AttentionMask
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.objectives.masked_diffusion import TERM, noise_of, weighted_sum
from hornbook.objectives.noise import Masking
from hornbook.objectives.normalise import denominator
from hornbook.objectives.objective import LossOutput, StepContext


class BlockDiffusion:
    """The objective `block_diffusion`. Where `loss_mask` is false, tokens are read as they are and not counted."""

    lookahead = 0

    def __init__(
        self,
        config: BlockDiffusionConfig,
        *,
        mask_id: int,
        chunk_tokens: int,
        byte_lengths: Int[Tensor, " v"] | None = None,
        row_length: int | None = None,
    ) -> None:
        """`byte_lengths` (bytes of each token, 0 for special ones) adds the metric `bytes`.

        `row_length`: of whole rows, where micro-batches may be cut shorter.
        """
        self.block_length = config.block_length
        self.masking = Masking(config, mask_id=mask_id, block_length=config.block_length, row_length=row_length)
        self.normalize = config.normalize
        self.chunk_tokens = chunk_tokens
        self.byte_lengths = byte_lengths

    def prepare(self, batch: TokenBatch, at: StepContext) -> TokenBatch:
        """The batch with its noise."""
        return replace(batch, noised=self.masking(batch, at, length=batch.tokens.shape[1]))

    def weight(self, batch: TokenBatch) -> dict[str, int]:
        """All tokens that might have been masked, or all conversations that have any."""
        noised = noise_of(batch)
        return {TERM: denominator(noised.counted, noised.document_ids, self.normalize)}

    def __call__(self, model: Transformer, batch: TokenBatch) -> LossOutput:
        """The sum of weighted nll; metrics as those of masked diffusion."""
        noised, targets = noise_of(batch), batch.tokens
        positions = batch.positions
        if positions is None:
            positions = torch.arange(targets.shape[1], device=targets.device).expand_as(targets)
        documents = noised.document_ids
        scores: TokenScores = model(
            torch.cat((noised.tokens, targets), dim=1),
            positions=torch.cat((positions, positions), dim=1),
            mask=AttentionMask(
                "block_diffusion",
                block_length=self.block_length,
                document_ids=None if documents is None else torch.cat((documents, documents), dim=1),
            ),
            targets=targets,
            asked=noised.masked,
            chunk_tokens=self.chunk_tokens,
            nll_only=True,
        )
        if self.byte_lengths is not None:
            self.byte_lengths = self.byte_lengths.to(targets.device)  # moved once, then kept
        return weighted_sum(scores, targets, noised, self.byte_lengths, self.normalize)

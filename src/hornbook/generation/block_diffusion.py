"""Decoding by diffusion: all new tokens begin as masks, and are filled block by block, in any order within a block.

    block       m m m m m m m m        forward -> draw every masked position -> keep the surest, mask the others again
    step 1      m m a m m b m m
    step 2      c m a d m b m m        ... until the block is full; then the next one

The semi-autoregressive sampler of LLaDA (Nie et al. 2025, arXiv:2502.09992, appendix B.4); one block as long as the
text is pure diffusion, blocks of one token go from left to right.
"""

import itertools
from collections.abc import Callable, Collection, Generator, Sequence

import torch

from hornbook.config.generate import DenoisingConfig, SamplingConfig
from hornbook.errors import GenerationError
from hornbook.generation.canvas import Canvas, Layout
from hornbook.generation.canvas_readers import CachedReader, CanvasReader, FreshReader
from hornbook.generation.decoder import NO_TOKEN, TokenChunk
from hornbook.generation.denoising import Denoiser, DenoiseStep, with_unprompted
from hornbook.models.packed import packed
from hornbook.models.transformer import Transformer

BLOCK_LENGTH = 32
"""Where neither the settings nor the model say."""


class BlockDiffusion:
    """Decoder that fills masks block by block.

    A row's tokens depend on its prompt, its seed and the settings alone: not on the batch, up to rounding of the
    logits. `causal_block_length` is that of a block-diffusion model, which sees finished blocks and its own alone; None
    is a model of full attention. The mask is never drawn, nor are ids from `vocab_size` on and `unused_ids`. `on_step`
    hears of every step of every row as it is made.

    Raises:
        GenerationError: for settings that this model or this decoder cannot honour.
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
        _check(sampling, diffusion, causal_block_length)
        self._sampling = sampling
        self._diffusion = diffusion
        self._mask_id = mask_id
        self._causal_block_length = causal_block_length
        self._block_length = causal_block_length or diffusion.block_length or BLOCK_LENGTH
        self._vocab_size = vocab_size
        self._unused_ids = frozenset(unused_ids)
        self._on_step = on_step

    def __call__(
        self,
        model: Transformer,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        stop_ids: Collection[int],
        seeds: Sequence[int],
    ) -> Generator[TokenChunk, None, None]:
        """Chunks of one block until every row is finished. The model is in eval mode meanwhile, as before afterwards.

        Raises:
            GenerationError: at once for prompts that cannot be served (see `canvas`); while decoding, for logits that
                are not finite.
        """
        layout = self._layout(model)
        rows = [
            layout.of_prompt(prompt, seed, number=number, max_new_tokens=max_new_tokens)
            for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True))
        ]
        return self._decode(model, rows, stop_ids=frozenset(stop_ids))

    def infill(
        self,
        model: Transformer,
        templates: Sequence[Sequence[int | None]],
        *,
        seeds: Sequence[int],
        never: Collection[int] = (),
    ) -> Generator[TokenChunk, None, None]:
        """The tokens of each template's holes (None), in order, a block of holes a chunk; ids in `never` are not drawn.

        Raises:
            GenerationError: as above, and for a block-diffusion model, which cannot see what stands after a block.
        """
        if self._causal_block_length is not None:
            raise GenerationError(
                "a block-diffusion model sees only what stands before a block, so it cannot fill holes inside a text; "
                'use a model trained with objective.kind = "masked_diffusion" or "joint"'
            )
        layout = self._layout(model)
        rows = [
            layout.of_template(template, seed, number=number)
            for number, (template, seed) in enumerate(zip(templates, seeds, strict=True))
        ]
        return self._decode(model, rows, stop_ids=frozenset(), never=never)

    def _layout(self, model: Transformer) -> Layout:
        return Layout(
            block_length=self._block_length,
            denoise_steps=self._diffusion.denoise_steps,
            context_length=model.config.context_length,
            vocab_size=model.config.vocab_size,
            mask_id=self._mask_id,
            is_block_causal=self._causal_block_length is not None,
            with_unprompted=self._diffusion.guidance_scale > 0,
        )

    def _decode(
        self, model: Transformer, rows: list[Canvas], *, stop_ids: frozenset[int], never: Collection[int] = ()
    ) -> Generator[TokenChunk, None, None]:
        was_training = model.training
        model.eval()
        try:
            denoiser = Denoiser(
                self._reader(packed(model), rows),
                self._sampling,
                self._diffusion,
                banned={self._mask_id, *self._unused_ids, *never},
                vocab_size=self._vocab_size,
                on_step=self._on_step,
            )
            for index in itertools.count():
                live = [row for row in rows if row.reason is None]
                if not live:
                    return
                while wanted := _wanted(live, index, stop_ids):
                    denoiser.step(live, wanted, index)
                yield _chunk(rows, live, index, stop_ids)
        finally:
            if was_training:
                model.train()

    def _reader(self, model: Transformer, rows: list[Canvas]) -> CanvasReader:
        cache, causal = self._diffusion.cache, self._causal_block_length
        if cache == "none" or (cache == "auto" and causal is None):
            return FreshReader(model, causal_block_length=causal)
        keeps = "prefix" if cache == "auto" else cache
        return CachedReader(model, with_unprompted(rows), causal_block_length=causal, keeps=keeps)


def _wanted(rows: list[Canvas], index: int, stop_ids: frozenset[int]) -> list[list[int]]:
    """The holes that each row has still to fill in its block; empty when every row is done with it."""
    wanted = [[] if row.is_settled(index, stop_ids) else row.open(index) for row in rows]
    return wanted if any(wanted) else []


def _chunk(rows: list[Canvas], live: list[Canvas], index: int, stop_ids: frozenset[int]) -> TokenChunk:
    """The tokens of the block that was settled; a row that has none of its own, or fewer, holds NO_TOKEN there."""
    kept = {row.number: row.finish_block(index, stop_ids) for row in live}
    width = max(len(positions) for positions in kept.values())
    tokens = torch.full((len(rows), width), NO_TOKEN)
    logprobs = torch.zeros(len(rows), width)
    for number, positions in kept.items():
        row = rows[number]
        tokens[number, : len(positions)] = torch.tensor([row.tokens[at] for at in positions])
        logprobs[number, : len(positions)] = torch.tensor([row.logprobs[at] for at in positions])
    reasons = tuple(row.reason for row in rows)
    finished = torch.tensor([reason is not None for reason in reasons])
    return TokenChunk(tokens=tokens, finished=finished, reasons=reasons, logprobs=logprobs)


def _check(sampling: SamplingConfig, diffusion: DenoisingConfig, causal_block_length: int | None) -> None:
    if sampling.repetition_penalty != 1.0:
        raise GenerationError(
            f"generate.repetition_penalty = {sampling.repetition_penalty} has no effect with a diffusion decoder, "
            "which fills tokens in any order; leave it at 1"
        )
    if causal_block_length is None:
        return
    if diffusion.block_length not in (None, causal_block_length):
        raise GenerationError(
            f"generate.diffusion.block_length = {diffusion.block_length}, but the model was trained with blocks of "
            f"{causal_block_length}; leave it out"
        )
    if diffusion.cache in ("dual", "delayed"):
        raise GenerationError(
            f'generate.diffusion.cache = "{diffusion.cache}" keeps more than what stands before a block, which '
            'alone is exact for a block-diffusion model; use "prefix"'
        )
    if diffusion.guidance_scale:
        raise GenerationError(
            f"generate.diffusion.guidance_scale = {diffusion.guidance_scale} masks the prompt, and a block-diffusion "
            'model has never seen masks before its block; set it to 0, or use a model of kind "masked_diffusion"'
        )

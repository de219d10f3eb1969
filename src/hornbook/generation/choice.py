"""Which decoder serves a model: by the settings, and by the objective that it was trained with."""

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from hornbook.config.generate import DenoisingConfig, GenerateConfig
from hornbook.config.objective import likelihood_kind
from hornbook.errors import GenerationError
from hornbook.generation.autoregressive import Autoregressive
from hornbook.generation.beam_decoder import BeamDecoder
from hornbook.generation.block_diffusion import BlockDiffusion
from hornbook.generation.decoder import Decoder
from hornbook.generation.denoising import DenoiseStep
from hornbook.generation.engines import Engines, EngineSource
from hornbook.generation.known import KnownIds
from hornbook.generation.speculative_decoder import SpeculativeDecoder
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

NEXT_TOKEN: Mapping[str, object] = MappingProxyType({"kind": "next_token"})
"""The objective of a model of which nothing else is known, as a checkpoint stores it."""


def _silent(text: str) -> None:
    """Tell nobody."""


DecoderName = Literal["autoregressive", "diffusion"]

_DECODERS: dict[str, tuple[DecoderName, ...]] = {
    "next_token": ("autoregressive",),
    "masked_diffusion": ("diffusion",),
    "block_diffusion": ("diffusion",),
    "joint": ("autoregressive", "diffusion"),
}
"""What serves a model of each objective; the first is what "auto" takes."""


def decoder_name(config: GenerateConfig, objective: Mapping[str, object]) -> DecoderName:
    """The kind of decoder that `config` asks for, of a model trained with `objective` (a checkpoint's).

    Raises:
        GenerationError: if the model was not trained for it.
    """
    able = _decoders(objective)
    if config.decoder == "auto":
        return able[0]
    if config.decoder not in able:
        raise GenerationError(
            f'generate.decoder = "{config.decoder}", but the model was trained with objective.kind = '
            f'"{objective.get("kind")}", which is decoded by "{able[0]}"; leave it at "auto"'
        )
    return config.decoder


def choose_decoder(
    config: GenerateConfig,
    tokenizer: Tokenizer,
    objective: Mapping[str, object] = NEXT_TOKEN,
    *,
    draft: Transformer | None = None,
    on_step: Callable[[DenoiseStep], None] | None = None,
    engines: EngineSource | None = None,
) -> Decoder:
    """The decoder that `config` asks for, of a model trained with `objective`.

    `draft` is the model of config.draft.checkpoint; `on_step` hears of denoising steps.

    `engines` gives an autoregressive decoder its engine; by default a new one, as `config` asks.

    Raises:
        GenerationError: for a decoder that the model was not trained for, a diffusion decoder without a mask token,
            a draft checkpoint where nobody has loaded it, and settings that have no effect with it.
    """
    if decoder_name(config, objective) == "diffusion":
        return _diffusion(config, tokenizer, objective, on_step)
    if config.diffusion != DenoisingConfig():
        changed = [name for name, value in config.diffusion if value != getattr(DenoisingConfig(), name)]
        advice = ', or set generate.decoder = "diffusion"' if "diffusion" in _decoders(objective) else ""
        raise GenerationError(
            f"generate.diffusion.{changed[0]} has no effect with an autoregressive decoder, which this model is "
            f"decoded by; leave [generate.diffusion] out{advice}"
        )
    known = KnownIds(tokenizer.vocab_size, tokenizer.unused_ids)
    note = engines.note if isinstance(engines, Engines) else _silent
    if config.strategy == "beam":
        return BeamDecoder(config, ends=_ends(config, tokenizer), known=known, note=note)
    if config.draft.active:
        if config.draft.checkpoint is not None and draft is None:
            raise GenerationError(
                "generate.draft.checkpoint is not read here; leave it out, or set generate.draft.lookup, which needs "
                "no model"
            )
        return SpeculativeDecoder(config, draft=draft, known=known, note=note)
    return Autoregressive(
        config,
        cache=config.cache,
        context_overflow=config.context_overflow,
        vocab_size=tokenizer.vocab_size,
        unused_ids=tokenizer.unused_ids,
        open_engine=functools.partial(engines or Engines(), config=config),
    )


def _ends(config: GenerateConfig, tokenizer: Tokenizer) -> Callable[[Sequence[int]], bool] | None:
    """Whether the text of some tokens holds a stop string; None without any."""
    if not config.stop:
        return None

    def ends(tokens: Sequence[int]) -> bool:
        text = tokenizer.decode(tokens, skip_special=True)
        return any(stop in text for stop in config.stop)

    return ends


def _decoders(objective: Mapping[str, object]) -> tuple[DecoderName, ...]:
    return _DECODERS.get(likelihood_kind(objective), ("autoregressive",))


def causal_block_length(objective: Mapping[str, object]) -> int | None:
    """The block length of a block-diffusion model; None for any other."""
    length = objective.get("block_length")
    return length if isinstance(length, int) else None


def _diffusion(
    config: GenerateConfig,
    tokenizer: Tokenizer,
    objective: Mapping[str, object],
    on_step: Callable[[DenoiseStep], None] | None,
) -> BlockDiffusion:
    if config.strategy == "beam" or config.draft.active:
        setting = 'generate.strategy = "beam"' if config.strategy == "beam" else "[generate.draft]"
        advice = ', or set generate.decoder = "autoregressive"' if "autoregressive" in _decoders(objective) else ""
        raise GenerationError(f"{setting} is of the autoregressive decoder; leave it out{advice}")
    if tokenizer.mask_id is None:
        raise GenerationError(
            "a diffusion decoder needs a mask token, and the tokenizer has none; use the tokenizer that the model was "
            "trained with"
        )
    if config.context_overflow == "slide":
        raise GenerationError(
            'generate.context_overflow = "slide" has no effect with a diffusion decoder, which lays out the whole text '
            'beforehand; leave it at "stop"'
        )
    if given := [
        name for name, usual in (("backend", "auto"), ("precision", "float32")) if getattr(config, name) != usual
    ]:
        raise GenerationError(
            f"generate.{given[0]} has no effect with a diffusion decoder, which reads with the model as it is; "
            "leave it out"
        )
    if not config.cache:
        raise GenerationError(
            "generate.cache = false is of the autoregressive decoder; leave it out, and for diffusion set "
            'generate.diffusion.cache = "none"'
        )
    return BlockDiffusion(
        config,
        config.diffusion,
        mask_id=tokenizer.mask_id,
        causal_block_length=causal_block_length(objective),
        vocab_size=tokenizer.vocab_size,
        unused_ids=tokenizer.unused_ids,
        on_step=on_step,
    )

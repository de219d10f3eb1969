"""Ours: the block decoder with its caches."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from hornbook.benchmarks.denoising_model import open_denoiser
from hornbook.benchmarks.text_change import change_of_text
from hornbook.config.generate import DenoisingConfig, SamplingConfig
from hornbook.generation.block_diffusion import BlockDiffusion
from hornbook.generation.denoising import DenoiseStep

Texts = list[list[int]]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Texts], Callable[[Texts], dict[str, Any]]]:
    """Every prompt alone, one after another. What is told of steps and text is found before anything is timed."""
    opened = open_denoiser(settings)
    config = DenoisingConfig.model_validate_json(json.dumps(settings["denoising"]))
    new_tokens = settings["new_tokens"]

    def decode(prompts: Sequence[Sequence[int]], config: DenoisingConfig, heard: list[DenoiseStep] | None) -> Texts:
        decoder = BlockDiffusion(
            SamplingConfig(temperature=0.0),
            config,
            mask_id=opened.mask_id,
            causal_block_length=opened.causal_block,
            vocab_size=opened.vocab_size,
            on_step=None if heard is None else heard.append,
        )
        return [_ids(decoder(opened.model, [p], max_new_tokens=new_tokens, stop_ids=(), seeds=[0])) for p in prompts]

    steps: list[DenoiseStep] = []
    texts = decode(opened.prompts, config, steps)
    checks: dict[str, Any] = {"shown": _shown(steps, config, new_tokens)}
    if settings.get("judged"):
        exact = DenoisingConfig(block_length=config.block_length, cache="none")
        checks["said"] = change_of_text(opened, texts, decode(opened.prompts, exact, None))
    length = config.block_length or 0
    return (lambda: decode(opened.prompts, config, None)), lambda found: {
        **checks,
        "first ids": hashlib.sha256(repr(found[0][:length]).encode()).hexdigest(),
    }


def _ids(chunks: Any) -> list[int]:
    return [int(token) for chunk in chunks for token in chunk.tokens[0]]


def _shown(steps: Sequence[DenoiseStep], config: DenoisingConfig, new_tokens: int) -> dict[str, str]:
    """What belongs into the title: how many steps there were, and how much was masked before each of them.

    `steps` are those of one text of `new_tokens` after another; each counts its own from 0.
    """
    left, ratios, filled = 0, [], 0
    for step in steps:
        left = new_tokens if step.step == 0 else left
        ratios.append(left / new_tokens)
        left -= len(step.positions)
        filled += len(step.positions)
    return {
        "steps": f"{len(steps):,}",
        "tokens a step": f"{filled / len(steps):.2f}",
        "block length": str(config.block_length),
        "cache": config.cache,
        "average mask ratio": f"{sum(ratios) / len(ratios):.3f}",
        "warm-up": "1 block",
    }

"""Ours: the block decoder with its caches."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

from hornbook.benchmarks.block_decoding import Decoded, decode
from hornbook.benchmarks.denoising_model import open_denoiser
from hornbook.benchmarks.text_change import change_of_text
from hornbook.config.generate import DenoisingConfig
from hornbook.generation.denoising import DenoiseStep


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Decoded], Callable[[Decoded], dict[str, Any]]]:
    """Every prompt alone, one after another. What is told of steps and text is found before anything is timed."""
    opened = open_denoiser(settings)
    config = DenoisingConfig.model_validate_json(json.dumps(settings["denoising"]))
    new_tokens = settings["new_tokens"]
    once = decode(opened, config, new_tokens, hears=True)
    checks: dict[str, Any] = {"shown": _shown(once.steps, config, new_tokens)}
    if settings.get("judged"):
        exact = DenoisingConfig(block_length=config.block_length, cache="none")
        checks["said"] = change_of_text(opened, once, decode(opened, exact, new_tokens, hears=False))
    length = config.block_length or 0
    return (lambda: decode(opened, config, new_tokens, hears=False)), lambda found: {
        **checks,
        "first ids": hashlib.sha256(repr(found.texts[0][:length]).encode()).hexdigest(),
    }


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

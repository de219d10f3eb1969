"""The plain full-sequence loop of diffusion decoding."""

import hashlib
from collections.abc import Callable
from typing import Any

from hornbook.benchmarks.denoising_model import open_denoiser
from hornbook.benchmarks.full_sequence_loop import full_sequence_loop


def setup(settings: dict[str, Any]) -> tuple[Callable[[], list[int]], Callable[[list[int]], dict[str, Any]]]:
    """The first steps of it, each of which costs as much as any other."""
    opened = open_denoiser(settings)

    def block() -> list[int]:
        found = full_sequence_loop(
            opened.model,
            opened.prompts[0],
            new_tokens=settings["new_tokens"],
            block_length=settings["block_length"],
            denoise_steps=settings["denoise_steps"],
            most_steps=settings["most_steps"],
            mask_id=opened.mask_id,
            vocab_size=opened.vocab_size,
            mask=opened.mask,
        )
        return found[: settings["block_length"]]

    said = f"{settings['most_steps']} of its {settings['denoise_steps'] * len(opened.prompts)} steps timed"
    return block, lambda ids: {"first ids": hashlib.sha256(repr(ids).encode()).hexdigest(), "said": said}

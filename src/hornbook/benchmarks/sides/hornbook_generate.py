"""Ours: greedy decoding with the KV cache."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hornbook.config.generate import SamplingConfig
from hornbook.generation.autoregressive import Autoregressive
from hornbook.interop.hf import load_hf_directory


def setup(settings: dict[str, Any]) -> tuple[Callable[[], list[int]], Callable[[list[int]], dict[str, Any]]]:
    """One row of random tokens to go on from."""
    model, _ = load_hf_directory(Path(settings["model"]))
    model.eval()
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(3, model.config.vocab_size, (1, settings["prompt_tokens"]), generator=generator).tolist()
    decoder = Autoregressive(SamplingConfig(temperature=0.0))

    def block() -> list[int]:
        chunks = decoder(model, prompt, max_new_tokens=settings["new_tokens"], stop_ids=(), seeds=[0])
        return [int(token) for chunk in chunks for token in chunk.tokens[0]]

    return block, lambda tokens: {"tokens": hashlib.sha256(repr(tokens).encode()).hexdigest()}

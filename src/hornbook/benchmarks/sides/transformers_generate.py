"""transformers: greedy decoding with its own cache."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaForCausalLM


def setup(settings: dict[str, Any]) -> tuple[Callable[[], list[int]], Callable[[list[int]], dict[str, Any]]]:
    """One row of random tokens to go on from."""
    model = LlamaForCausalLM.from_pretrained(settings["model"])
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randint(3, model.config.vocab_size, (1, settings["prompt_tokens"]), generator=generator)

    def block() -> list[int]:
        out: torch.Tensor = model.generate(prompt, max_new_tokens=settings["new_tokens"], do_sample=False)
        return [int(token) for token in out[0, prompt.shape[1] :]]

    return block, lambda tokens: {"tokens": hashlib.sha256(repr(tokens).encode()).hexdigest()}

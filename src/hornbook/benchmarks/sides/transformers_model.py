"""transformers: save a randomly initialised Llama, which both sides load."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """All is done here; the block is empty."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(**settings["shape"])).save_pretrained(settings["model"])
    return (lambda: None), (lambda _: {})

"""transformers: save a randomly initialised model, which all sides load."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """All is done here; the block is empty."""
    torch.manual_seed(0)
    if settings["family"] == "llama":
        model = LlamaForCausalLM(LlamaConfig(**settings["shape"]))
    else:
        model = GPT2LMHeadModel(GPT2Config(**settings["shape"]))
    model.save_pretrained(settings["model"])
    return (lambda: None), (lambda _: {})

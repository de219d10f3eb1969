"""transformers: greedy decoding with one of its own caches."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM

Rows = list[list[int]]


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Rows], Callable[[Rows], dict[str, Any]]]:
    """Rows of tokens to go on from, all of one length."""
    model = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=getattr(torch, settings["dtype"])).eval()
    prompts = torch.tensor(settings["prompts"])
    n_new = settings["new_tokens"]
    given = {
        "attention_mask": torch.ones_like(prompts),
        "cache_implementation": {"dynamic": None, "static": "static"}[settings["cache"]],
    }

    def block() -> Rows:
        with torch.inference_mode():
            out = model.generate(prompts, max_new_tokens=n_new, min_new_tokens=n_new, do_sample=False, **given)
        return [[int(token) for token in row] for row in out[:, prompts.shape[1] :]]

    return block, lambda rows: {
        "tokens": hashlib.sha256(repr(rows).encode()).hexdigest(),
        "said": settings["dtype"],
    }

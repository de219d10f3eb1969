"""transformers: one step of its Llama with torch's fused AdamW."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """The loss that is compared is that before any step, in float32."""
    model = LlamaForCausalLM.from_pretrained(settings["model"]).train()
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, model.config.vocab_size, (settings["rows"], settings["context"] + 1), generator=generator)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings["learning_rate"], weight_decay=0.1, fused=True)

    def loss() -> torch.Tensor:
        return cross_entropy(model(input_ids=inputs).logits.float().flatten(0, 1), targets.flatten())

    first = loss().item()

    def block() -> None:
        with torch.autocast("cpu", torch.bfloat16) if settings["precision"] == "bf16" else nullcontext():
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return block, lambda _: {"loss": first}

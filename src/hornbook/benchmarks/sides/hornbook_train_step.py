"""Ours: one step of the same Llama."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from hornbook.config.optim import OptimConfig
from hornbook.interop.hf import load_hf_directory
from hornbook.models.transformer import roles
from hornbook.optim.adamw import AdamW
from hornbook.optim.groups import parameter_groups


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """The loss that is compared is that before any step, in float32; all parameters decay, as in the peer."""
    model, _ = load_hf_directory(Path(settings["model"]))
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, model.config.vocab_size, (settings["rows"], settings["context"] + 1), generator=generator)
    inputs, targets = tokens[:, :-1], tokens[:, 1:]
    optim = OptimConfig(
        learning_rate=settings["learning_rate"],
        weight_decay=0.1,
        decay=("matrix", "embedding", "head", "norm", "bias"),
    )
    optimizer = AdamW(parameter_groups(model.named_parameters(), roles(model), optim), optim)

    def loss() -> torch.Tensor:
        return model(inputs, targets=targets).nll.mean()  # type: ignore[no-any-return]

    first = loss().item()

    def block() -> None:
        with torch.autocast("cpu", torch.bfloat16) if settings["precision"] == "bf16" else nullcontext():
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return block, lambda _: {"loss": first}

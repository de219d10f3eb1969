"""nanoGPT: the loss of a checkpoint over its whole validation file, every token but the first once, in float32."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch.nn.functional import cross_entropy

ROWS = 128


def setup(settings: dict[str, Any]) -> tuple[Callable[[], float], Callable[[float], dict[str, Any]]]:
    """The model of the checkpoint, by the checkout's own model.py."""
    checkout = Path(settings["checkout"])
    sys.path.insert(0, str(checkout))
    module = importlib.import_module("model")
    with safe_open(settings["checkpoint"], framework="pt") as saved:
        model = module.GPT(module.GPTConfig(**json.loads(saved.metadata()["model_args"])))
        model.load_state_dict({name.removeprefix("_orig_mod."): saved.get_tensor(name) for name in saved.keys()})  # noqa: SIM118
    model.eval()
    raw = np.fromfile(checkout / "data" / "shakespeare_char" / "val.bin", dtype=np.uint16)
    tokens, window = torch.from_numpy(raw.astype(np.int64)), settings["window"]

    @torch.no_grad()
    def nats(rows: list[int], length: int) -> float:
        inputs = torch.stack([tokens[start : start + length] for start in rows])
        targets = torch.stack([tokens[start + 1 : start + length + 1] for start in rows])
        logits = model(inputs, targets)[0]
        return cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum").item()

    def block() -> float:
        n_targets = len(tokens) - 1
        whole = list(range(0, n_targets - window + 1, window))
        total = sum(nats(whole[i : i + ROWS], window) for i in range(0, len(whole), ROWS))
        if rest := n_targets % window:
            total += nats([n_targets - rest], rest)
        return total / n_targets

    return block, lambda loss: {"loss": loss}

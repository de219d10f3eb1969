"""Ours: the step that `hornbook train` makes, in bf16 and compiled."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hornbook.config.run import Config
from hornbook.data.batch import TokenBatch
from hornbook.distributed.device import keep_freed_memory
from hornbook.distributed.precision import fp32_products
from hornbook.interop.hf import load_hf_directory
from hornbook.objectives.objective import StepContext
from hornbook.training.choosing import choose
from hornbook.training.compiled import compile_updates
from hornbook.training.start import build_learner, build_model
from hornbook.training.step import train_step

WARM_UP_STEPS = 3


def setup(settings: dict[str, Any]) -> tuple[Callable[[], float], Callable[[float], dict[str, Any]]]:
    """The loss that is compared is that before any step, in float32; all parameters decay, as in the peers."""
    rows, context = settings["rows"], settings["context"]
    config = _config(settings)
    keep_freed_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")  # as the peers
    saved = load_hf_directory(Path(settings["model"]))[0]
    choices, _ = choose(config, saved.config, device, kept=None, steps_left=config.train.steps)
    model = build_model(config, saved.config, choices, None)
    model.load_state_dict(saved.state_dict())
    model.to(device).train()
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(0, model.config.vocab_size, (rows, context + 1), generator=generator)
    batch = TokenBatch(
        tokens=tokens, loss_mask=torch.ones_like(tokens, dtype=torch.bool), sample_ids=torch.arange(rows)
    )
    with torch.no_grad():
        first = model(tokens[:, :-1].to(device), targets=tokens[:, 1:].to(device)).nll.mean().item()
    learner = build_learner(config, model, byte_lengths=torch.ones(model.config.vocab_size, dtype=torch.int64))
    compile_updates(learner.optimizer)
    done = 0

    def steps(count: int) -> float:
        nonlocal done
        loss = float("nan")
        with fp32_products(choices.fp32_products, device):
            for _ in range(count):
                at = StepContext(seed=0, step=done, samples_per_step=rows)
                loss = train_step(learner, [batch], at, multiplier=1.0).loss
                done += 1
        if device.type == "cuda":  # the last update, which nobody has waited for yet
            torch.cuda.synchronize()
        return loss

    steps(WARM_UP_STEPS)
    facts = {"loss": first, "parameters": model.n_parameters, "said": f"bf16; {choices.line()}"}
    return (lambda: steps(settings["steps"])), lambda loss: {**facts, "learns": loss < first}


def _config(settings: dict[str, Any]) -> Config:
    return Config.model_validate_json(
        json.dumps(
            {
                "model": settings["table"],
                "optim": {
                    "kind": "adamw",
                    "learning_rate": settings["learning_rate"],
                    "weight_decay": 0.1,
                    "decay": ["matrix", "embedding", "head", "norm", "bias"],
                    "clip_grad_norm": 1.0,
                },
                "train": {
                    "precision": "bf16",
                    "micro_batch_size": settings["rows"],
                    "tokens_per_step": settings["rows"] * settings["context"],
                    "compile": "on",
                },
            }
        )
    )

"""A tiny model and what training would hand to `save_checkpoint`, so that tests of checkpoints read as sentences."""

import functools
from pathlib import Path

import torch

from hornbook.checkpoint.save import save_checkpoint
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

SHAPE = {
    "context_length": 8, "d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8, "d_ff": 32,
}  # fmt: skip


def tiny_config(**changes: object) -> ModelConfig:
    return ModelConfig.model_validate({**SHAPE, "vocab_size": 260, **changes})


@functools.cache
def tiny_tokenizer() -> Tokenizer:
    return Tokenizer.train(["to be or not to be"], TokenizerConfig(vocab_size=280))


@functools.cache
def _model(seed: int) -> Transformer:
    return Transformer(tiny_config(), seed=seed)


def weights_of(seed: int) -> dict[str, torch.Tensor]:
    return dict(_model(seed).state_dict())


def optimizer_of(weights: dict[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Moments of the weights' shapes, and AdamW's scalar steps."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, tensor in weights.items():
        state[f"{name}/exp_avg"] = torch.randn(tensor.shape, generator=generator)
        state[f"{name}/step"] = torch.tensor(seed)
    return state


def save(
    root: Path,
    step: int,
    kind: str = "full",
    *,
    seed: int | None = None,
    tokenizer: Tokenizer | None = None,
    best: bool = False,
) -> Path:
    """Save the model of `seed` (by default another one each step)."""
    seed = step if seed is None else seed
    weights = weights_of(seed)
    return save_checkpoint(
        root,
        step=step,
        kind=kind,
        model_config=tiny_config(),
        objective={"kind": "next_token"},
        weights=weights,
        optimizer=optimizer_of(weights, seed) if kind == "full" else None,
        state={"step": step, "best": None},
        tokenizer=tokenizer,
        best=best,
    )

"""The model, the prompts and the masks that both sides of diffusion decoding work with."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hornbook.checkpoint.load import load_model
from hornbook.config.model import ModelConfig
from hornbook.distributed.precision import DTYPES
from hornbook.generation.canvas_readers import attention_of
from hornbook.models.masks import AttentionMask
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

PROMPT_SEED = 1


@dataclass(frozen=True, kw_only=True)
class Denoiser:
    """A model in the precision that is measured, and what it goes on from."""

    model: Transformer
    prompts: Sequence[Sequence[int]]
    mask_id: int
    vocab_size: int
    """Ids below this may be drawn, but for the mask."""
    causal_block: int | None
    """Block length of a block diffusion model; None is a model of full attention."""
    tokenizer: Tokenizer | None = None
    """Of a checkpoint."""

    @property
    def mask(self) -> AttentionMask:
        """What a whole sequence sees of itself."""
        return attention_of(self.causal_block)


def open_denoiser(settings: Mapping[str, Any]) -> Denoiser:
    """What the settings of a side name: a checkpoint with prompts, or a random model with one random prompt."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    prompts, tokenizer = settings.get("prompts"), None
    if "checkpoint" in settings:
        model, tokenizer, _ = load_model(Path(settings["checkpoint"]))
        assert tokenizer is not None
        assert tokenizer.mask_id is not None
        mask_id, vocab_size = tokenizer.mask_id, tokenizer.vocab_size
    else:
        model = Transformer(ModelConfig.model_validate_json(json.dumps(settings["model"])))
        vocab_size = model.config.vocab_size
        mask_id = vocab_size - 1
    if prompts is None:
        rng = torch.Generator().manual_seed(PROMPT_SEED)
        prompts = torch.randint(0, mask_id, (1, settings["prompt_tokens"]), generator=rng).tolist()
    return Denoiser(
        model=model.to(device=device, dtype=DTYPES[settings["precision"]]).eval(),
        prompts=prompts,
        mask_id=mask_id,
        vocab_size=vocab_size,
        causal_block=settings["causal_block"],
        tokenizer=tokenizer,
    )

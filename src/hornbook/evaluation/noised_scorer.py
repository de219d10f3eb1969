"""Asking a diffusion model how surprised it is by hidden tokens, with the attention that it was trained with.

masked_diffusion, joint     reads the noised text, full attention
block_diffusion             reads [noised ; clean], where each noised block sees itself and the clean blocks before
                            it: every block of the text is measured in one reading, each given the finished ones
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hornbook.config.objective import BOUND_ALONE, likelihood_kind
from hornbook.errors import ConfigError
from hornbook.generation.choice import causal_block_length
from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True)
class NoisedScorer:
    """The nll, in nats, of each hidden token of a text, given the others; 0 at those that are not hidden."""

    model: Transformer
    mask_id: int
    block_length: int | None = None
    """Of a model trained by block_diffusion."""

    def __call__(self, tokens: Int64[Tensor, "b t"], hidden: Bool[Tensor, "b t"]) -> Float[Tensor, "b t"]:
        """Scores of (B, T), on the model's device."""
        tokens, hidden, noised, how = self._noised(tokens, hidden)
        scores: TokenScores = self.model(noised, **how, targets=tokens, asked=hidden)
        return scores.nll

    def logits(self, tokens: Int64[Tensor, "b t"], hidden: Bool[Tensor, "b t"]) -> Float[Tensor, "b t v"]:
        """What the model makes of each place, float32 at least; the mask token itself is never named."""
        *_, noised, how = self._noised(tokens, hidden)
        logits: Tensor = self.model(noised, **how, only=slice(0, tokens.shape[1]))
        logits[..., self.mask_id] = -torch.inf
        return logits

    def _noised(
        self, tokens: Int64[Tensor, "b t"], hidden: Bool[Tensor, "b t"]
    ) -> tuple[Int64[Tensor, "b t"], Bool[Tensor, "b t"], Int64[Tensor, "b read"], dict[str, Any]]:
        """Both on the model's device, what the model is to read, and how."""
        device = self.model.token_embedding.weight.device
        tokens, hidden = tokens.to(device), hidden.to(device)
        noised = torch.where(hidden, self.mask_id, tokens)
        if self.block_length is None:
            return tokens, hidden, noised, {"mask": FULL}
        positions = torch.arange(noised.shape[1], device=device).repeat(len(noised), 2)
        mask = AttentionMask("block_diffusion", block_length=self.block_length)
        return tokens, hidden, torch.cat((noised, tokens), dim=1), {"positions": positions, "mask": mask}


@contextmanager
def noised_scorer(model: Transformer, tokenizer: Tokenizer, objective: Mapping[str, object]) -> Iterator[NoisedScorer]:
    """The scorer of a model that was trained with `objective`; the model is in evaluation mode meanwhile.

    Raises:
        ConfigError: for an objective that hides no tokens, or a tokenizer without a mask token.
    """
    check_measure("bound", objective)
    if tokenizer.mask_id is None:
        raise ConfigError(
            "the tokenizer has no mask token, which a diffusion model needs; use the checkpoint's own tokenizer"
        )
    was_training = model.training
    model.eval()
    try:
        yield NoisedScorer(model, tokenizer.mask_id, block_length=causal_block_length(objective))
    finally:
        model.train(was_training)


def check_measure(measure: str, objective: Mapping[str, object]) -> None:
    """Refuse to measure a model by a likelihood that it does not have.

    Raises:
        ConfigError: naming the measure that fits.
    """
    kind = likelihood_kind(objective)
    if measure == "bound" and kind not in (*BOUND_ALONE, "joint"):
        raise ConfigError(
            f'the model was trained with objective.kind = "{kind}" and never saw a mask token, so it has no diffusion '
            "bound; its likelihood is exact: use `hornbook eval perplexity`"
        )
    if measure == "perplexity" and kind in BOUND_ALONE:
        raise ConfigError(
            f'the model was trained with objective.kind = "{kind}", not to name the next token, so it has no exact '
            "perplexity; use `hornbook eval bound`, which says at most how large it is"
        )

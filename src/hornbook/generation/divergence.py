"""What an approximate cache, or any faster setting, changes: the same texts by it and by the exact path, compared.

agreement   share of tokens that are the same at the same place; one early difference changes all that follow, so a low
            one alone says little
nll         of each path's own choices, in nats a token, under the model without cache or guidance, given what was
            decided when they were made: if the faster path's is no higher, its text is as likely as the exact one's
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from hornbook.config.generate import DenoisingConfig, GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.canvas_readers import attention_of
from hornbook.generation.choice import causal_block_length
from hornbook.generation.denoising import DenoiseStep
from hornbook.generation.prompt_ids import Prompt
from hornbook.generation.remasking import log_probabilities
from hornbook.generation.text import Generation, generate_text
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

STATES_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """Two ways to decode the same prompts."""

    agreement: float
    nll: float
    exact_nll: float
    tokens_per_second: float
    exact_tokens_per_second: float

    @property
    def words(self) -> str:
        """One line for people."""
        return (
            f"{self.tokens_per_second:.1f} tokens/s, exact path {self.exact_tokens_per_second:.1f}; "
            f"{self.agreement:.1%} of tokens agree; nll {self.nll:.4f} nats a token, exact path {self.exact_nll:.4f} "
            f"({self.nll - self.exact_nll:+.4f})"
        )


def measure_divergence(
    model: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[Prompt],
    config: GenerateConfig,
    *,
    objective: Mapping[str, object],
    seeds: Sequence[int] | None = None,
) -> Divergence:
    """Decode `prompts` as `config` says, and then without a cache.

    Raises:
        GenerationError: if the decoder is not one of diffusion, or has no cache to measure; else as `generate_text`.
    """
    causal = causal_block_length(objective)
    if config.diffusion.cache == "none" or (config.diffusion.cache == "auto" and causal is None):
        raise GenerationError(
            "the text is decoded without a cache, so there is nothing to compare; set generate.diffusion.cache to "
            '"dual" or "prefix", with a diffusion decoder'
        )
    without = {**dict(config.diffusion), "cache": "none"}
    exactly = GenerateConfig(**{**dict(config), "diffusion": DenoisingConfig(**without)})
    single = {"max_new_tokens": 1, "diffusion": DenoisingConfig(**{**without, "denoise_steps": None})}
    # What only the first text of a process pays for is no matter of the cache.
    generate_text(model, tokenizer, prompts[:1], GenerateConfig(**{**dict(config), **single}), objective=objective)
    made, nll = [], []
    for settings in (config, exactly):
        steps: list[DenoiseStep] = []
        made.append(
            generate_text(model, tokenizer, prompts, settings, objective=objective, seeds=seeds, on_step=steps.append)
        )
        nll.append(path_nll(model, steps, tokenizer, causal_block_length=causal))
    ours, exact = made
    return Divergence(
        agreement=_agreement(ours, exact),
        nll=nll[0],
        exact_nll=nll[1],
        tokens_per_second=_rate(ours),
        exact_tokens_per_second=_rate(exact),
    )


@torch.inference_mode()
def path_nll(
    model: Transformer, steps: Sequence[DenoiseStep], tokenizer: Tokenizer, *, causal_block_length: int | None
) -> float:
    """Mean nll in nats of the tokens that `steps` decided, each given what its row held before the step."""
    assert tokenizer.mask_id is not None
    mask, device = attention_of(causal_block_length), model.token_embedding.weight.device
    banned = [tokenizer.mask_id, *tokenizer.unused_ids]
    by_length: dict[int, list[DenoiseStep]] = {}
    for step in steps:
        by_length.setdefault(len(step.row_tokens), []).append(step)
    total, count = 0.0, 0
    for same in by_length.values():
        for first in range(0, len(same), STATES_AT_ONCE):
            some = same[first : first + STATES_AT_ONCE]
            before = [_before(step, tokenizer.mask_id) for step in some]
            logits = model(torch.tensor(before, device=device), mask=mask)
            for own, step in zip(logits, some, strict=True):
                chosen = own[list(step.positions)]
                chosen[:, banned] = float("-inf")
                chosen[:, tokenizer.vocab_size :] = float("-inf")
                total -= float(log_probabilities(chosen, torch.tensor(step.tokens, device=device)).sum())
                count += len(step.tokens)
    return total / max(count, 1)


def _before(step: DenoiseStep, mask_id: int) -> list[int]:
    decided_now = set(step.positions)
    return [
        mask_id if token is None or position in decided_now else token for position, token in enumerate(step.row_tokens)
    ]


def _agreement(ours: Sequence[Generation], exact: Sequence[Generation]) -> float:
    pairs = list(zip(ours, exact, strict=True))
    same = sum(a == b for one, other in pairs for a, b in zip(one.tokens, other.tokens, strict=False))
    return same / max(1, sum(max(len(one.tokens), len(other.tokens)) for one, other in pairs))


def _rate(made: Sequence[Generation]) -> float:
    """Tokens a second of the whole batch."""
    seconds = max((each.seconds for each in made), default=0.0)
    return sum(len(each.tokens) for each in made) / seconds if seconds else 0.0

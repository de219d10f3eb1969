"""Our block decoder over several prompts, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass

from hornbook.benchmarks.denoising_model import Denoiser
from hornbook.config.generate import DenoisingConfig, SamplingConfig
from hornbook.generation.block_diffusion import BlockDiffusion
from hornbook.generation.denoising import DenoiseStep


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The texts that came of the prompts, and how."""

    texts: Sequence[Sequence[int]]
    steps: Sequence[DenoiseStep]
    nll: float
    """Of the choices as the decoder saw them, in nats a token."""


def decode(opened: Denoiser, config: DenoisingConfig, new_tokens: int, *, hears: bool) -> Decoded:
    """Greedily, with no token that ends a text; steps are kept if `hears`."""
    steps: list[DenoiseStep] = []
    decoder = BlockDiffusion(
        SamplingConfig(temperature=0.0),
        config,
        mask_id=opened.mask_id,
        causal_block_length=opened.causal_block,
        vocab_size=opened.vocab_size,
        on_step=steps.append if hears else None,
    )
    texts, logprob = [], 0.0
    for prompt in opened.prompts:
        text: list[int] = []
        for chunk in decoder(opened.model, [prompt], max_new_tokens=new_tokens, stop_ids=(), seeds=[0]):
            text += chunk.tokens[0].tolist()
            logprob += float(chunk.logprobs.sum())
        texts.append(text)
    return Decoded(texts=texts, steps=steps, nll=-logprob / (new_tokens * len(texts)))

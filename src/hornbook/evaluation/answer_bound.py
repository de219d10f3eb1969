"""At most how surprised a diffusion model is by an answer to a prompt: -log p(answer | prompt).

The prompt stays visible in every reading; only tokens of the answer are hidden and measured (LLaDA, arXiv:2502.09992,
algorithm 3).
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from hornbook.config.bound import DEFAULT_DRAWS
from hornbook.config.generate import EvalConfig
from hornbook.config.objective import likelihood_kind
from hornbook.errors import ConfigError
from hornbook.evaluation.bound_card import BoundCard
from hornbook.evaluation.diffusion_bound import Reading, draw_of, draw_weights, score_readings
from hornbook.evaluation.mask_draws import Draw
from hornbook.evaluation.noised_scorer import NoisedScorer, noised_scorer
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


def bound_answer(
    score: NoisedScorer,
    prompt: Sequence[int],
    answer: Sequence[int],
    draw: Draw,
    *,
    seed: int = 0,
    batch_size: int = 8,
) -> tuple[float, float | None]:
    """-log p(answer | prompt) at most, in nats, and its standard error; the prompt stays visible throughout.

    The error takes the draws for independent, which is cautious, as they are spread evenly; None for a single one.
    """
    tokens = np.array([*prompt, *answer], dtype=np.int64)
    weights = draw_weights(draw, np.arange(len(tokens)) >= len(prompt), seed, 0)
    n = len(weights)
    readings = (Reading(number, tokens, own) for number, own in enumerate(weights))
    nats = score_readings(score, readings, n, batch_size=batch_size)
    return float(nats.sum()), float(nats.std(ddof=1) * n**0.5) if n > 1 else None


def evaluate_answer(
    model: Transformer,
    tokenizer: Tokenizer,
    config: EvalConfig,
    *,
    objective: Mapping[str, object],
    checkpoint: str = "",
    step: int | None = None,
) -> BoundCard:
    """The card of config.bound.answer after config.bound.prompt; its standard error is that of the draws.

    Raises:
        ConfigError: as `evaluate_bound`, or if the two do not fit the model's context.
    """
    assert config.bound.answer is not None
    prompt, answer = tokenizer.encode(config.bound.prompt), tokenizer.encode(config.bound.answer)
    length, longest = len(prompt) + len(answer), model.config.context_length
    if length > longest:
        raise ConfigError(
            f"eval.bound: prompt and answer have {len(prompt)} + {len(answer)} tokens, the model's context_length is "
            f"{longest}; shorten them"
        )
    started = time.perf_counter()
    with noised_scorer(model, tokenizer, objective) as score:
        draw = draw_of(config.bound, score.block_length)
        seed = config.bound.seed or 0
        nats, error = bound_answer(score, prompt, answer, draw, seed=seed, batch_size=config.batch_size)
    exact = config.bound.estimator == "exact"
    return BoundCard(
        window=length,
        stride=len(answer),
        tokens_scored=len(answer),
        bytes_scored=int(tokenizer.byte_lengths()[answer].sum()),
        nats=nats,
        standard_error=None if exact or error is None else error / len(answer),
        tokenizer_fingerprint=tokenizer.fingerprint,
        checkpoint=checkpoint,
        step=step,
        data=f"{config.bound.answer!r} after {config.bound.prompt!r}",
        seconds=time.perf_counter() - started,
        objective=likelihood_kind(objective),
        block_length=score.block_length,
        estimator=config.bound.estimator,
        draws=None if exact else config.bound.draws or DEFAULT_DRAWS,
        seed=None if exact else seed,
        prompt_tokens=len(prompt),
    )

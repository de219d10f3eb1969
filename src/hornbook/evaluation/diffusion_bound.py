"""At most how surprised a diffusion model is by a text: nats, bits per byte and perplexity, with a confidence interval.

    window     c c c c s s s s s s        `stride` tokens are measured, after the window - stride ones before them
    readings   c c c c s ? s ? s s        weight 3 on the two hidden tokens; ...
               c c c c ? ? ? s ? ?        and 6/5 on these five; `draws` of them for each window

By default stride = window: every window starts cold and all of its tokens are measured, the first of them included, as
MDLM and BD3-LM report it. Windows are the independent units of the interval, so it covers what the draws scatter, too.
"""

import functools
import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64

from hornbook.config.bound import DEFAULT_DRAWS, BoundConfig
from hornbook.config.generate import EvalConfig
from hornbook.config.objective import likelihood_kind
from hornbook.data.known_truth import KnownTruth
from hornbook.errors import ConfigError, DataError
from hornbook.evaluation.bound_card import BoundCard
from hornbook.evaluation.intervals import ratio
from hornbook.evaluation.mask_draws import Draw, Weights, bernoulli, by_block, every_mask, fixed_count
from hornbook.evaluation.noised_scorer import NoisedScorer, noised_scorer
from hornbook.evaluation.perplexity import ScoreProgress, refuse_broken, window_length
from hornbook.evaluation.token_reader import TokenReader
from hornbook.evaluation.windows import Window, plan_windows
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class StreamScore:
    """Sums over every measured token of a stream; float64."""

    window_nats: Float[np.ndarray, " windows"]
    window_tokens: Int64[np.ndarray, " windows"]
    bytes: int | None
    """UTF-8 bytes that the measured tokens stand for, special tokens none; None without byte lengths."""

    @property
    def nats(self) -> float:
        """Total negative log-likelihood."""
        return float(self.window_nats.sum())

    @property
    def tokens(self) -> int:
        """Tokens measured."""
        return int(self.window_tokens.sum())

    @property
    def standard_error(self) -> float | None:
        """Of nats per token, with windows as the independent units; None for a single window.

        Neighbouring tokens are correlated, so tokens as units would be too sure.
        """
        return ratio(self.window_nats, self.window_tokens).standard_error


@dataclass(frozen=True)
class Reading:
    """One text to read with some tokens hidden."""

    text: int
    """Which of the texts that are measured."""
    tokens: Int64[np.ndarray, " t"]
    weights: Float[np.ndarray, " t"]
    """Of its reading in the estimate; hidden where positive."""


@torch.no_grad()
def score_readings(
    score: NoisedScorer, readings: Iterator[Reading], n_texts: int, *, batch_size: int = 8
) -> Float[np.ndarray, " texts"]:
    """sum(weight * nll of the hidden tokens) of each text, in nats, float64; `batch_size` readings at a time.

    Raises:
        GenerationError: if the nll of a hidden token is not finite.
    """
    nats = np.zeros(n_texts)
    for batch in _batches(readings, batch_size):
        weights = torch.from_numpy(np.stack([reading.weights for reading in batch]))
        tokens = torch.from_numpy(np.stack([reading.tokens for reading in batch]))
        found = (weights * score(tokens, weights > 0).double().cpu()).sum(dim=1).tolist()
        refuse_broken(found)
        np.add.at(nats, [reading.text for reading in batch], found)
    return nats


def _batches(readings: Iterator[Reading], size: int) -> Iterator[list[Reading]]:
    """At most `size` readings of one length together."""
    for _, same in itertools.groupby(readings, key=lambda reading: len(reading.tokens)):
        while batch := list(itertools.islice(same, size)):
            yield batch


def draw_of(config: BoundConfig, block_length: int | None) -> Draw:
    """How `config` hides tokens, for a model of blocks of `block_length`, or of whole texts."""
    draws = config.draws or DEFAULT_DRAWS
    match config.estimator:
        case "fixed_count":
            draw: Draw = functools.partial(fixed_count, draws=draws)
        case "bernoulli":
            draw = functools.partial(bernoulli, draws=draws)
        case "exact":
            draw = every_mask
    return draw if block_length is None else functools.partial(by_block, draw, block_length=block_length)


def bound_stream(
    score: NoisedScorer,
    stream: TokenReader,
    draw: Draw,
    *,
    window: int,
    stride: int,
    seed: int = 0,
    batch_size: int = 8,
    byte_lengths: np.ndarray | None = None,
    max_tokens: int | None = None,
    progress: ScoreProgress | None = None,
) -> StreamScore:
    """Nats, tokens and bytes of the stream's first `max_tokens` tokens (default: all), each measured once.

    What is hidden is a function of (seed, first token of the window), so that `batch_size` changes speed alone.

    Raises:
        ConfigError: if not 1 <= stride <= window.
        DataError: for an empty stream.
        GenerationError: if a token's nll is not finite.
    """
    if not 1 <= stride <= window:
        raise ConfigError(f"eval.stride = {stride}, expected 1 to eval.window = {window}, or some tokens go unmeasured")
    n_tokens = stream.n_tokens if max_tokens is None else min(stream.n_tokens, max_tokens)
    if n_tokens < 1:
        raise DataError("the text to measure has no tokens; name a text of at least one")
    plan = list(plan_windows(n_tokens + 1, window=window, stride=stride))  # its targets 1 .. n are tokens 0 .. n - 1
    n_bytes = 0
    done = 0

    def readings() -> Iterator[Reading]:
        nonlocal n_bytes, done
        for number, at in enumerate(plan):
            tokens = stream.read(at.start, at.length)
            yield from _of_window(number, tokens, at, draw, seed)
            done += at.scored
            if byte_lengths is not None:
                n_bytes += int(byte_lengths[tokens[at.length - at.scored :]].sum())
            if progress is not None:
                progress(done, n_tokens)

    nats = score_readings(score, readings(), len(plan), batch_size=batch_size)
    return StreamScore(
        window_nats=nats,
        window_tokens=np.array([at.scored for at in plan]),
        bytes=None if byte_lengths is None else n_bytes,
    )


def _of_window(number: int, tokens: np.ndarray, at: Window, draw: Draw, seed: int) -> Iterator[Reading]:
    hideable = np.arange(at.length) >= at.length - at.scored
    return (Reading(number, tokens, weights) for weights in draw_weights(draw, hideable, seed, at.start))


def draw_weights(draw: Draw, hideable: Bool[np.ndarray, " t"], seed: int, place: int) -> Weights:
    """The readings of the text that begins at token `place`."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, place))))
    return draw(hideable, rng)


def evaluate_bound(
    model: Transformer,
    tokenizer: Tokenizer,
    stream: TokenReader,
    config: EvalConfig,
    *,
    objective: Mapping[str, object],
    data: str,
    checkpoint: str = "",
    step: int | None = None,
    truth: KnownTruth | None = None,
    progress: ScoreProgress | None = None,
) -> BoundCard:
    """The card of a diffusion model on a stream: "at most" so many nats, and how they were computed.

    `objective` is the one that the model was trained with, as its checkpoint holds it; `data` says in words what was
    measured, and `truth` what its tokens cost at least, if that is known. config.window defaults to the model's
    context_length, config.stride to the window.

    Raises:
        ConfigError: for a model that is no diffusion model, a tokenizer without a mask token, impossible windows.
        DataError, GenerationError: as `bound_stream`.
    """
    window = window_length(model, config)
    stride = config.stride or window
    started = time.perf_counter()
    with noised_scorer(model, tokenizer, objective) as score:
        found = bound_stream(
            score,
            stream,
            draw_of(config.bound, score.block_length),
            window=window,
            stride=stride,
            seed=config.bound.seed or 0,
            batch_size=config.batch_size,
            byte_lengths=tokenizer.byte_lengths(),
            max_tokens=config.max_tokens,
            progress=progress,
        )
    exact = config.bound.estimator == "exact"
    return BoundCard(
        window=window,
        stride=stride,
        tokens_scored=found.tokens,
        bytes_scored=found.bytes,
        nats=found.nats,
        standard_error=found.standard_error,
        least_nats_per_token=None if truth is None else _least(truth, found.tokens, window, stride),
        tokenizer_fingerprint=tokenizer.fingerprint,
        checkpoint=checkpoint,
        step=step,
        data=data,
        seconds=time.perf_counter() - started,
        objective=likelihood_kind(objective),
        block_length=score.block_length,
        estimator=config.bound.estimator,
        draws=None if exact else config.bound.draws or DEFAULT_DRAWS,
        seed=None if exact else config.bound.seed or 0,
    )


def _least(truth: KnownTruth, n_tokens: int, window: int, stride: int) -> float:
    """Nats a token, by the chain rule over each window: every token is measured once, in order."""
    windows = list(plan_windows(n_tokens + 1, window=window, stride=stride))
    firsts = np.repeat([at.start for at in windows], [at.scored for at in windows])
    return truth.nats(np.arange(n_tokens), firsts) / n_tokens

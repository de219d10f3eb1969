"""Perplexity of a token stream by a strided sliding window: every token scored once, with the context it is paid for.

    stream   x0 x1 x2 x3 x4 x5 x6 x7 x8     window 4, stride 2: the model reads x[b : b+4] and is asked x[b+1 : b+5]
    b = 0    .. x1 x2 x3 x4                 the first window scores all of its targets
    b = 2          -- -- x5 x6              each later one only its last `stride`: at least window - stride + 1
    b = 4                -- -- x7 x8        tokens stand before each of them

The first token of the stream has no context and is not scored. stride = window is cheapest (each window starts cold),
stride = 1 is exact and `window` times dearer. Documents follow each other as in training: context is not reset
between them. It is the method of https://huggingface.co/docs/transformers/perplexity with max_length = window + 1,
whose last token a model never needs to read.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from hornbook.config.generate import EvalConfig
from hornbook.errors import ConfigError, DataError, GenerationError
from hornbook.evaluation.card import EvaluationCard
from hornbook.evaluation.intervals import ratio
from hornbook.generation.torch_backend import converted
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

ScoreProgress = Callable[[int, int], None]
"""Called with (tokens scored, tokens to score) after each batch."""


@runtime_checkable
class TokenReader(Protocol):
    """A stream of token ids that can be read anywhere: hornbook.data.shards.TokenStream, or InMemory."""

    @property
    def n_tokens(self) -> int:
        """Length of the stream."""
        ...

    def read(self, start: int, count: int) -> np.ndarray:
        """Ids start .. start + count - 1, int64."""
        ...


@runtime_checkable
class Scorer(Protocol):
    """What is asked of a model: how surprised it is, in nats, by each target after the tokens up to its place."""

    def __call__(self, tokens: Int64[Tensor, "b t"], *, targets: Int64[Tensor, "b t"]) -> TokenScores:
        """TokenScores of (B, T); position i sees tokens[: i + 1] and is asked targets[i]."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A token stream that is an array."""

    tokens: np.ndarray

    @property
    def n_tokens(self) -> int:
        """Length of the stream."""
        return len(self.tokens)

    def read(self, start: int, count: int) -> np.ndarray:
        """Ids start .. start + count - 1."""
        return self.tokens[start : start + count]


@dataclass(frozen=True)
class Window:
    """One reading: the model reads `length` tokens from `start` and its last `scored` targets count."""

    start: int
    length: int
    scored: int


@dataclass(frozen=True, kw_only=True)
class StreamScore:
    """Sums over every scored token of a stream; float64."""

    window_nats: np.ndarray
    window_tokens: np.ndarray
    bytes: int | None
    """UTF-8 bytes that the scored tokens stand for, special tokens none; None without byte lengths."""

    @property
    def nats(self) -> float:
        """Total negative log-likelihood."""
        return float(self.window_nats.sum())

    @property
    def tokens(self) -> int:
        """Tokens scored."""
        return int(self.window_tokens.sum())

    @property
    def standard_error(self) -> float | None:
        """Of nats per token, with windows as the independent units; None for a single window.

        Neighbouring tokens are correlated, so tokens as units would be too sure.
        """
        return ratio(self.window_nats, self.window_tokens).standard_error


def plan_windows(n_tokens: int, *, window: int, stride: int) -> Iterator[Window]:
    """Windows whose scored targets are 1 .. n_tokens - 1, each exactly once and in order.

    The last window is cut short where the stream ends; it keeps its place, so context is never less than elsewhere.
    """
    last_target = n_tokens - 1
    scored_to = 0
    for start in range(0, last_target, stride):
        end = min(start + window, last_target)  # the window's last target
        yield Window(start, end - start, end - scored_to)
        scored_to = end
        if end == last_target:
            return


@torch.no_grad()
def score_stream(
    score: Scorer,
    stream: TokenReader,
    *,
    window: int,
    stride: int,
    batch_size: int = 8,
    byte_lengths: np.ndarray | None = None,
    max_tokens: int | None = None,
    device: torch.device | str = "cpu",
    progress: ScoreProgress | None = None,
) -> StreamScore:
    """Nats, tokens and bytes of the stream's first `max_tokens` tokens (default: all), each scored once.

    `batch_size` windows are read at a time; it changes speed only. `byte_lengths[i]` is how many bytes token i stands
    for.

    Raises:
        ConfigError: if not 1 <= stride <= window.
        DataError: for a stream of fewer than two tokens.
        GenerationError: if a token's nll is not finite.
    """
    if not 1 <= stride <= window:
        raise ConfigError(f"eval.stride = {stride}, expected 1 to eval.window = {window}, or some tokens go unscored")
    n_tokens = stream.n_tokens if max_tokens is None else min(stream.n_tokens, max_tokens)
    if n_tokens < 2:
        raise DataError(
            f"the text to score has {n_tokens} tokens, expected at least 2: the first has no context and is not scored"
        )
    plan = list(plan_windows(n_tokens, window=window, stride=stride))
    nats: list[float] = []
    n_bytes = 0
    done = 0
    for first in range(0, len(plan), batch_size):
        windows = plan[first : first + batch_size]
        tokens, targets = _read(stream, windows)
        nll = score(tokens.to(device), targets=targets.to(device)).nll.double().cpu()
        for row, at in enumerate(windows):
            counted = slice(at.length - at.scored, at.length)
            nats.append(float(nll[row, counted].sum()))
            done += at.scored
            if byte_lengths is not None:
                n_bytes += int(byte_lengths[targets[row, counted].numpy()].sum())
        refuse_broken(nats[first:])
        if progress is not None:
            progress(done, n_tokens - 1)
    return StreamScore(
        window_nats=np.array(nats),
        window_tokens=np.array([at.scored for at in plan]),
        bytes=None if byte_lengths is None else n_bytes,
    )


def _read(stream: TokenReader, windows: list[Window]) -> tuple[Int64[Tensor, "b t"], Int64[Tensor, "b t"]]:
    """Tokens and targets of a batch; shorter windows are filled on the right, where causal attention never looks."""
    width = max(at.length for at in windows)
    block = np.zeros((len(windows), width + 1), dtype=np.int64)
    for row, at in enumerate(windows):
        block[row, : at.length + 1] = stream.read(at.start, at.length + 1)
    both = torch.from_numpy(block)
    return both[:, :-1].contiguous(), both[:, 1:].contiguous()


def refuse_broken(nats: list[float]) -> None:
    """Raise GenerationError where sums of nll are not finite."""
    if not math.isfinite(sum(nats)):
        raise GenerationError(
            "the model gives some tokens a loss of NaN or infinity; its weights are damaged or training diverged: try "
            "`hornbook checkpoint verify`, an earlier checkpoint or the best one"
        )


def window_length(model: Transformer, config: EvalConfig) -> int:
    """Tokens of a window: what `[eval] window` says, or the model's context_length.

    Raises:
        ConfigError: if it exceeds the model's context_length.
    """
    longest = model.config.context_length
    window = config.window or longest
    if window > longest:
        raise ConfigError(f"eval.window = {window} exceeds the model's context_length = {longest}; choose at most that")
    return window


def evaluate_perplexity(
    model: Transformer,
    tokenizer: Tokenizer | None,
    stream: TokenReader,
    config: EvalConfig,
    *,
    data: str,
    checkpoint: str = "",
    step: int | None = None,
    progress: ScoreProgress | None = None,
) -> EvaluationCard:
    """The honest card of a model on a stream: perplexity, bits per byte, and how they were computed.

    The weights are those that decoding in config.precision has; sums of nats are float64 in any case.

    `data` says in words what was scored; without a tokenizer there are no bits per byte. config.window defaults to the
    model's context_length, config.stride to half of the window; config.split and config.text are not read.

    Raises:
        ConfigError: if the window exceeds the model's context_length, or the stride the window.
        DataError, GenerationError: as `score_stream`.
    """
    window = window_length(model, config)
    stride = config.stride or max(1, window // 2)
    model = converted(model, config.precision)
    was_training = model.training
    model.eval()
    started = time.perf_counter()
    try:
        score = score_stream(
            model,
            stream,
            window=window,
            stride=stride,
            batch_size=config.batch_size,
            byte_lengths=None if tokenizer is None else tokenizer.byte_lengths(),
            max_tokens=config.max_tokens,
            device=next(model.parameters()).device,
            progress=progress,
        )
    finally:
        model.train(was_training)
    return EvaluationCard(
        window=window,
        stride=stride,
        tokens_scored=score.tokens,
        bytes_scored=score.bytes,
        nats=score.nats,
        standard_error=score.standard_error,
        precision=config.precision,
        tokenizer_fingerprint=None if tokenizer is None else tokenizer.fingerprint,
        checkpoint=checkpoint,
        step=step,
        data=data,
        seconds=time.perf_counter() - started,
    )

"""Perplexity of a text: how surprised a model is by its tokens, under a protocol that the card tells.

hornbook.evaluation.windows lays the windows, this reads them: sums of nats are float64, whatever the weights are.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from hornbook.config.generate import EvalConfig
from hornbook.data.known_truth import KnownTruth
from hornbook.errors import ConfigError, DataError, GenerationError
from hornbook.evaluation.perplexity_card import PerplexityCard, ScoredText, card_of
from hornbook.evaluation.text_units import TextUnits, text_units
from hornbook.evaluation.token_reader import TokenReader, document_spans
from hornbook.evaluation.windows import Span, Window, plan_of
from hornbook.generation.torch_backend import converted
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

ScoreProgress = Callable[[int, int], None]
"""Called with (tokens scored, tokens to score) after each batch."""


@runtime_checkable
class Scorer(Protocol):
    """What is asked of a model: how surprised it is, in nats, by each target after the tokens up to its place."""

    def __call__(
        self, tokens: Int64[Tensor, "b t"], *, targets: Int64[Tensor, "b t"], asked: Bool[Tensor, "b t"] | None
    ) -> TokenScores:
        """TokenScores of (B, T); position i sees tokens[: i + 1] and is asked targets[i], unless `asked` is false."""
        ...


@dataclass(frozen=True)
class TargetScores:
    """Every scored token of a text, window after window."""

    nats: Float[np.ndarray, " n"]
    """-log p, float64."""
    places: Int64[np.ndarray, " n"]
    """Where in the stream it stands."""


@torch.no_grad()
def score_windows(
    score: Scorer,
    stream: TokenReader,
    windows: Sequence[Window],
    *,
    batch_size: int = 8,
    device: torch.device | str = "cpu",
    progress: ScoreProgress | None = None,
) -> TargetScores:
    """The targets that count of each window, in the order of `windows`; `batch_size` changes speed only.

    Raises:
        GenerationError: if a token's nll is not finite.
    """
    ends = np.cumsum([at.scored for at in windows])
    nats = np.empty(ends[-1])
    places = np.empty(ends[-1], dtype=np.int64)
    done = 0
    by_length = sorted(range(len(windows)), key=lambda number: -windows[number].length)  # alike together: no filling
    for first in range(0, len(windows), batch_size):
        numbers = by_length[first : first + batch_size]
        batch = [windows[number] for number in numbers]
        tokens, targets, counted = _read(stream, batch)
        few = 2 * int(counted.sum()) <= counted.numel()  # then logits of the others are not worth their time
        asked = counted.to(device) if few else None
        nll = score(tokens.to(device), targets=targets.to(device), asked=asked).nll.double().cpu().numpy()
        for row, (number, at) in enumerate(zip(numbers, batch, strict=True)):
            kept = slice(ends[number] - at.scored, ends[number])
            nats[kept] = nll[row, at.length - at.scored : at.length]
            places[kept] = np.arange(at.start + at.length - at.scored, at.start + at.length) + 1
            done += at.scored
            refuse_broken([float(nats[kept].sum())])
        if progress is not None:
            progress(done, int(ends[-1]))
    return TargetScores(nats, places)


def _read(
    stream: TokenReader, windows: Sequence[Window]
) -> tuple[Int64[Tensor, "b t"], Int64[Tensor, "b t"], Bool[Tensor, "b t"]]:
    """Tokens, targets and which of these count; shorter windows are filled on the right, where causal attention never
    looks."""
    width = max(at.length for at in windows)
    block = np.zeros((len(windows), width + 1), dtype=np.int64)
    counted = np.zeros((len(windows), width), dtype=bool)
    for row, at in enumerate(windows):
        block[row, : at.length + 1] = stream.read(at.start, at.length + 1)
        counted[row, at.length - at.scored : at.length] = True
    both = torch.from_numpy(block)
    return both[:, :-1].contiguous(), both[:, 1:].contiguous(), torch.from_numpy(counted)


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


def tokens_of_text(stream: TokenReader, config: EvalConfig) -> int:
    """How many tokens of the stream's beginning `[eval] max_tokens` leaves.

    Raises:
        DataError: if these are fewer than two.
    """
    n_tokens = stream.n_tokens if config.max_tokens is None else min(stream.n_tokens, config.max_tokens)
    if n_tokens < 2:
        raise DataError(
            f"the text to score has {n_tokens} tokens, expected at least 2: the first has no context and is not scored"
        )
    return n_tokens


def spans_of(stream: TokenReader, n_tokens: int, *, reset: bool, end_of_text_id: int | None) -> list[Span]:
    """What windows may not reach beyond: the whole text, or with `reset` each document.

    A document's span begins with the end-of-text token before it, if there is one: so the same tokens are scored as
    without a reset. Where documents are not marked, nothing stands before their first tokens, which are not scored.
    """
    if not reset:
        return [(0, n_tokens)]
    spans = []
    for start, end in document_spans(stream, n_tokens):
        marked = start > 0 and end_of_text_id is not None and int(stream.read(start - 1, 1)[0]) == end_of_text_id
        spans.append((start - marked, end))
    return spans


def evaluate_perplexity(
    model: Transformer,
    tokenizer: Tokenizer | None,
    stream: TokenReader,
    config: EvalConfig,
    *,
    data: str,
    checkpoint: str = "",
    step: int | None = None,
    units: TextUnits | None = None,
    truth: KnownTruth | None = None,
    progress: ScoreProgress | None = None,
) -> PerplexityCard:
    """The honest card of a model on a stream: perplexity, bits per byte, how they were computed and how sure they are.

    The weights are those that decoding in config.precision has; sums of nats are float64 in any case.

    `data` says in words what was scored; `units` are the text's, if they are known already, and `truth` what its tokens
    cost at least, if that is known at all. Without a tokenizer there is nothing by byte or word. config.window defaults
    to the model's context_length; config.split and config.text are not read.

    Raises:
        ConfigError: if the window exceeds the model's context_length, or the stride the window.
        DataError: for a text of fewer than two tokens, or too short for the protocol.
        GenerationError: if a token's nll is not finite.
    """
    plan = plan_of(config, window_length(model, config))
    n_tokens = tokens_of_text(stream, config)
    if units is None and tokenizer is not None:
        units = text_units(stream, tokenizer, n_tokens)
    end_of_text = None if tokenizer is None else tokenizer.end_of_text_id
    windows = plan.windows(spans_of(stream, n_tokens, reset=plan.reset_documents, end_of_text_id=end_of_text))
    model = converted(model, config.precision)
    was_training = model.training
    model.eval()
    started = time.perf_counter()
    try:
        found = score_windows(
            model,
            stream,
            windows,
            batch_size=config.batch_size,
            device=next(model.parameters()).device,
            progress=progress,
        )
    finally:
        model.train(was_training)
    card = card_of(
        ScoredText(nats=found.nats, places=found.places, n_tokens=n_tokens, units=units),
        plan,
        config,
        tokenizer_fingerprint=None if tokenizer is None else tokenizer.fingerprint,
        checkpoint=checkpoint,
        step=step,
        data=data,
        seconds=time.perf_counter() - started,
    )
    if truth is None:
        return card
    firsts = np.repeat([at.start for at in windows], [at.scored for at in windows])
    return replace(card, least_nats_per_token=truth.nats(found.places, firsts) / len(firsts))

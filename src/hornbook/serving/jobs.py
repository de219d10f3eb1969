"""What the threads that decode are asked for, and what they tell: values that pass between them and the server."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hornbook.config.generate import GenerateConfig
from hornbook.generation.decoder import FinishReason


class TokenScore(NamedTuple):
    """A token of an answer, and what the model thought of it."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    start: int
    """Characters of the answer before it."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What one row has got."""

    row: int
    text: str
    scores: tuple[TokenScore, ...]
    """Of the tokens whose text is shown by now; those of a stop string are never told."""
    n_tokens: int
    """Drawn so far in this row."""
    reason: FinishReason | None


@dataclass(frozen=True, kw_only=True)
class Denoised:
    """What a denoising step left of one row's answer."""

    row: int
    block: int
    step: int
    tokens: tuple[tuple[int, float] | None, ...]
    """(id, confidence when it was decided); None is still masked."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The job is over, without an end."""

    message: str


Event = Delta | Denoised | Failure


class RowRequest(NamedTuple):
    """A prompt to continue."""

    tokens: Sequence[int]
    seed: int
    stop_ids: frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a request asks of a model, in the model's terms."""

    rows: tuple[RowRequest, ...]
    config: GenerateConfig
    top_logprobs: int
    denoising: bool
    prompt_tokens: int


@dataclass(kw_only=True)
class Job:
    """One request: rows that are decoded with the same settings."""

    rows: Sequence[RowRequest]
    config: GenerateConfig
    """Its seed is not read."""
    top_logprobs: int
    denoising: bool
    tell: Callable[[Sequence[Event]], None]
    """Called in the thread that decodes."""
    cancelled: bool = False
    """Set by the server; the thread looks at it."""

"""The rows of a batch: which tokens each has, and which of them the model reads next.

Context rules, for a model of context_length T. A token may be drawn as long as all tokens before it fit, so a prompt
of n tokens has room for T - n + 1 new ones (the last is never read).

    stop    the row ends with reason `length` when that room is used up
    error   a request that would need more is refused before anything is computed
    slide   when T + 1 tokens would have to be read, only the newest max(1, T // 2) are kept, at positions 0, 1, ...; a
            prompt of more than T tokens starts as its newest T. Moving positions makes every cached key stale, so the
            kept tokens are read again; by halves, that costs about two readings a token in all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from hornbook.errors import GenerationError
from hornbook.generation.decoder import FinishReason

ContextOverflow = Literal["stop", "slide", "error"]


@dataclass
class Row:
    """One row while it is decoded."""

    tokens: list[int]
    """Prompt and output."""
    seed: int
    limit: int
    """New tokens that this row may still get."""
    start: int
    """First token of the window that the model reads; it stands at position 0."""
    cached: int = 0
    """How many tokens of the window the cache holds."""
    reason: FinishReason | None = None

    @property
    def window(self) -> list[int]:
        """The tokens that the next one depends on."""
        return self.tokens[self.start :]

    @property
    def pending(self) -> list[int]:
        """The part of the window that the cache does not hold; never empty while the row is being decoded."""
        return self.tokens[self.start + self.cached :]

    def append(self, token: int, *, stop: bool, context_length: int) -> None:
        """Take the drawn token, end the row if it must, else make room to read the token."""
        self.tokens.append(token)
        self.limit -= 1
        if stop:
            self.reason = "stop"
        elif self.limit == 0:
            self.reason = "length"
        elif len(self.tokens) - self.start > context_length:  # only slide lets a row come here
            self.start = len(self.tokens) - max(1, context_length // 2)
            self.cached = 0


def admit(
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    context_length: int,
    vocab_size: int,
    max_new_tokens: int,
    overflow: ContextOverflow,
) -> list[Row]:
    """Rows ready to decode.

    Raises:
        GenerationError: for an empty prompt, an id outside the vocabulary, or one that the context rules refuse.
    """
    assert len(prompts) == len(seeds)
    rows = []
    for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
        _check(prompt, f"prompt {number}", vocab_size)
        room = context_length - len(prompt) + 1
        if overflow != "slide":
            _check_room(len(prompt), f"prompt {number}", context_length, max_new_tokens, refuse=overflow == "error")
        limit = max_new_tokens if overflow == "slide" else min(max_new_tokens, room)
        rows.append(Row(tokens=list(prompt), seed=seed, limit=limit, start=max(0, len(prompt) - context_length)))
    return rows


def _check(prompt: Sequence[int], name: str, vocab_size: int) -> None:
    if not prompt:
        raise GenerationError(f"{name} holds no tokens; give at least one, such as the end-of-text token")
    if min(prompt) < 0 or max(prompt) >= vocab_size:
        raise GenerationError(
            f"{name} holds the ids {min(prompt)} to {max(prompt)}, expected 0 to {vocab_size - 1}; "
            "encode it with the model's own tokenizer"
        )


def _check_room(n: int, name: str, context_length: int, max_new_tokens: int, *, refuse: bool) -> None:
    room = context_length - n + 1
    if room < 1:
        raise GenerationError(
            f"{name} has {n} tokens, more than the model's context_length = {context_length}; shorten it, or set "
            'generate.context_overflow = "slide" to keep its last part'
        )
    if refuse and max_new_tokens > room:
        raise GenerationError(
            f"{name} has {n} tokens, so that max_new_tokens = {max_new_tokens} does not fit the model's "
            f"context_length = {context_length}; the largest that fits is {room}, or set generate.context_overflow to "
            '"stop" or "slide"'
        )

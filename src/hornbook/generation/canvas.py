"""The canvas of a diffusion decoder: a row of tokens of which some are still masks, cut into blocks.

    prompt of 3, max_new_tokens 6, block_length 4          p given, m a hole

    full attention      p p p m m m m m m                  holes 3..6 | 7..8: blocks begin where the prompt ends
    block-causal        p p p m|m m m m|m m m m            blocks of the whole row, as in training; of the last one's
                                                           tokens only those that were asked for are kept
    template            p m m p p m p                      holes in order, block_length of them a block

What is decided is a mask of its own: a prompt may hold the mask token, and that is then a token like any other.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from hornbook.errors import GenerationError
from hornbook.generation.decoder import FinishReason
from hornbook.generation.remasking import transfer_counts


@dataclass(frozen=True, kw_only=True)
class Block:
    """Holes that are filled together."""

    holes: tuple[int, ...]
    """Positions in the row, ascending."""
    start: int
    end: int
    """The part [start, end) of the row that the holes lie in; of a block-causal model the whole block."""
    counts: tuple[int, ...]
    """How many holes each step fills."""


@dataclass(kw_only=True)
class Canvas:
    """One row while it is filled."""

    tokens: list[int]
    """The mask token where nothing is decided yet."""
    decided: list[bool]
    blocks: list[Block]
    seed: int
    number: int
    """Of the row in its batch."""
    end: int
    """Tokens from here on were not asked for."""
    step: int = 0
    """Steps so far, over all blocks."""
    step_in_block: int = 0
    logprobs: dict[int, float] = field(default_factory=dict)
    """Of each token that was filled in, in the step that decided it."""
    reason: FinishReason | None = None
    unprompted: "Canvas | None" = None
    """For guidance: the same row with masks in the place of all that was given. It shares all but `tokens`."""

    def open(self, index: int) -> list[int]:
        """Holes of a block that are still masks."""
        return [position for position in self.blocks[index].holes if not self.decided[position]]

    def decide(self, position: int, token: int, logprob: float) -> None:
        """Fill a hole, for good."""
        assert not self.decided[position]
        self.decided[position] = True
        self.logprobs[position] = logprob
        for row in (self, self.unprompted):
            if row is not None:
                row.tokens[position] = token

    def is_settled(self, index: int, stop_ids: Collection[int]) -> bool:
        """Whether all that will be kept of a block is decided: up to a stop token, or up to its end."""
        for position in self.blocks[index].holes:
            if position >= self.end:
                return True
            if not self.decided[position]:
                return False
            if self.tokens[position] in stop_ids:
                return True
        return True

    def finish_block(self, index: int, stop_ids: Collection[int]) -> list[int]:
        """The positions of a settled block that are kept; sets `reason` if the row ends with it."""
        kept = []
        self.step_in_block = 0
        for position in self.blocks[index].holes:
            if position >= self.end:
                break
            kept.append(position)
            if self.tokens[position] in stop_ids:
                self.reason = "stop"
                return kept
        if index == len(self.blocks) - 1:
            self.reason = "length"
        return kept


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How rows are cut into blocks and blocks into steps."""

    block_length: int
    denoise_steps: int | None
    """Of all tokens that are asked for; None is one token a step."""
    context_length: int
    vocab_size: int
    mask_id: int
    is_block_causal: bool
    with_unprompted: bool

    def of_prompt(self, prompt: Sequence[int], seed: int, *, number: int, max_new_tokens: int) -> Canvas:
        """The prompt and max_new_tokens holes after it.

        Raises:
            GenerationError: for ids outside the vocabulary, and what does not fit the context.
        """
        name = f"prompt {number}"
        self._check(prompt, name)
        room = self.context_length - len(prompt)
        if room < 1:
            raise GenerationError(
                f"{name} has {len(prompt)} tokens, which leaves no room in the model's context_length = "
                f"{self.context_length}; shorten it"
            )
        if max_new_tokens > room:
            raise GenerationError(
                f"{name} has {len(prompt)} tokens, so that max_new_tokens = {max_new_tokens} does not fit the model's "
                f"context_length = {self.context_length}: a diffusion decoder lays out the whole text beforehand; the "
                f"largest that fits is {room}"
            )
        first, end, length = len(prompt), len(prompt) + max_new_tokens, self.block_length
        if self.is_block_causal:
            stop = min(-(-end // length) * length, self.context_length)
            edges = [(start, min(start + length, stop)) for start in range(first // length * length, stop, length)]
        else:
            edges = [(start, min(start + length, end)) for start in range(first, end, length)]
        holes = [tuple(range(max(start, first), stop)) for start, stop in edges]
        tokens = [*prompt, *[None] * (edges[-1][1] - first)]
        return self._canvas(tokens, self._blocks(holes, edges, asked_for=max_new_tokens), seed, number, end)

    def of_template(self, template: Sequence[int | None], seed: int, *, number: int) -> Canvas:
        """Tokens, and None where one is to be filled in.

        Raises:
            GenerationError: for ids outside the vocabulary, no hole at all, and what does not fit the context.
        """
        name = f"template {number}"
        self._check([token for token in template if token is not None], name)
        all_holes = [position for position, token in enumerate(template) if token is None]
        if not all_holes:
            raise GenerationError(f"{name} has no hole to fill; write <|mask:20|> where 20 tokens are missing")
        if len(template) > self.context_length:
            given = len(template) - len(all_holes)
            raise GenerationError(
                f"{name} has {given} tokens of text and {len(all_holes)} in holes, more than the model's "
                f"context_length = {self.context_length}; the largest number in holes that fits is "
                f"{max(0, self.context_length - given)}"
            )
        cuts = range(0, len(all_holes), self.block_length)
        holes = [tuple(all_holes[cut : cut + self.block_length]) for cut in cuts]
        edges = [(own[0], own[-1] + 1) for own in holes]
        blocks = self._blocks(holes, edges, asked_for=len(all_holes))
        return self._canvas(template, blocks, seed, number, len(template))

    def _canvas(self, tokens: Sequence[int | None], blocks: list[Block], seed: int, number: int, end: int) -> Canvas:
        canvas = Canvas(
            tokens=[self.mask_id if token is None else token for token in tokens],
            decided=[token is not None for token in tokens],
            blocks=blocks,
            seed=seed,
            number=number,
            end=end,
        )
        if self.with_unprompted:
            canvas.unprompted = replace(canvas, tokens=[self.mask_id] * len(tokens))
        return canvas

    def _blocks(
        self, holes: Sequence[tuple[int, ...]], edges: Sequence[tuple[int, int]], *, asked_for: int
    ) -> list[Block]:
        steps = self.denoise_steps
        if steps is not None and not len(holes) <= steps <= asked_for:
            other = "" if self.is_block_causal else ", or another block_length"
            raise GenerationError(
                f"generate.diffusion.denoise_steps = {steps} does not fit {asked_for} tokens in {len(holes)} blocks of "
                f"{self.block_length}: a step fills at least one token, and a block takes at least one step; choose "
                f"{len(holes)} to {asked_for}{other}"
            )
        shares = step_shares([len(own) for own in holes], steps)
        return [
            Block(holes=own, start=start, end=end, counts=transfer_counts(len(own), share))
            for own, (start, end), share in zip(holes, edges, shares, strict=True)
        ]

    def _check(self, tokens: Sequence[int], name: str) -> None:
        if tokens and (min(tokens) < 0 or max(tokens) >= self.vocab_size):
            raise GenerationError(
                f"{name} holds the ids {min(tokens)} to {max(tokens)}, expected 0 to {self.vocab_size - 1}; "
                "encode it with the model's own tokenizer"
            )


def step_shares(sizes: Sequence[int], steps: int | None) -> list[int]:
    """How many of `steps` each block of so many holes gets: one, and of the others by its holes, at most one a hole.

    They add up to `steps`. Blocks of equal size get equal shares, or such as differ by one.
    """
    if steps is None:
        return list(sizes)
    spare, holes = steps - len(sizes), sum(sizes) - len(sizes)
    before = [0, *itertools.accumulate(size - 1 for size in sizes)]
    given = [spare * held // max(holes, 1) for held in before]
    return [1 + end - start for start, end in itertools.pairwise(given)]

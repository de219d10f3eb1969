"""One denoising step: read the canvases, draw a token for every hole, keep the surest.

Among rows of a batch only the forward is shared: noise is keyed by the row's seed, the position and the row's own step.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from hornbook.config.generate import DenoisingConfig, SamplingConfig
from hornbook.generation.canvas import Canvas
from hornbook.generation.canvas_readers import CanvasReader
from hornbook.generation.filters import refuse_broken
from hornbook.generation.noise import gumbel, order_noise
from hornbook.generation.remasking import confidence, draw, keep, log_probabilities


@dataclass(frozen=True, kw_only=True)
class DenoiseStep:
    """What one step decided in one row."""

    row: int
    step: int
    """Of this row, counted from 0 over all its blocks."""
    positions: tuple[int, ...]
    """In the row, the prompt included; the surest first."""
    tokens: tuple[int, ...]
    confidences: tuple[float, ...]
    """As `remasking` measures them, by the logits as they are (guided ones, with guidance); of random, its numbers."""
    row_tokens: tuple[int | None, ...]
    """The whole row after the step; None where it is still masked."""


class Denoiser:
    """Makes the steps of one batch. `banned` ids and those from `vocab_size` on are never drawn.

    Raises:
        GenerationError: in a step, for logits that are not finite.
    """

    def __init__(
        self,
        reader: CanvasReader,
        sampling: SamplingConfig,
        diffusion: DenoisingConfig,
        *,
        banned: Collection[int],
        vocab_size: int | None,
        on_step: Callable[[DenoiseStep], None] | None,
    ) -> None:
        self._reader = reader
        self._sampling = sampling
        self._remasking = diffusion.remasking
        self._threshold = diffusion.confidence_threshold
        self._guidance_scale = diffusion.guidance_scale
        self._banned = sorted(banned)
        self._vocab_size = vocab_size
        self._on_step = on_step

    @torch.inference_mode()
    def step(self, rows: Sequence[Canvas], wanted: Sequence[list[int]], index: int) -> None:
        """Decide some of the `wanted` holes of each row's block `index`; a row that wants none only waits.

        Every row of the block is read, waiting or not: the cache holds them all.
        """
        logits = self._logits(rows, wanted, index)
        chosen = draw(logits, self._noise(rows, wanted, logits), self._sampling)
        logprobs = log_probabilities(logits, chosen)
        if self._remasking == "random":
            pairs = zip(rows, wanted, strict=True)
            confidences = [each for row, own in pairs for each in order_noise(row.seed, own, step=row.step)]
        else:
            confidences = confidence(logits, logprobs, self._remasking).tolist()
        tokens, scores, first = chosen.tolist(), logprobs.tolist(), 0
        for row, own in zip(rows, wanted, strict=True):
            here = slice(first, first + len(own))
            first += len(own)
            if own:
                self._keep(row, index, own, tokens[here], scores[here], confidences[here])

    def _keep(
        self,
        row: Canvas,
        index: int,
        positions: list[int],
        tokens: list[int],
        logprobs: list[float],
        confidences: list[float],
    ) -> None:
        """Decide the surest of the tokens drawn for a row."""
        count = 1 if self._threshold is not None else row.blocks[index].counts[row.step_in_block]
        kept = keep(confidences, count=count, threshold=self._threshold)
        for i in kept:
            row.decide(positions[i], tokens[i], logprobs[i])
        if self._on_step is not None:
            known = zip(row.tokens, row.decided, strict=True)
            self._on_step(
                DenoiseStep(
                    row=row.number,
                    step=row.step,
                    positions=tuple(positions[i] for i in kept),
                    tokens=tuple(tokens[i] for i in kept),
                    confidences=tuple(confidences[i] for i in kept),
                    row_tokens=tuple(token if decided else None for token, decided in known),
                )
            )
        row.step += 1
        row.step_in_block += 1

    def _logits(self, rows: Sequence[Canvas], wanted: Sequence[list[int]], index: int) -> Float[Tensor, "n v"]:
        """Of all wanted positions, row after row, guided, with -inf at what may not be drawn."""
        asked = [own or list(row.blocks[index].holes[:1]) for row, own in zip(rows, wanted, strict=True)]
        if self._guidance_scale:
            asked = asked * 2
        logits = self._reader.read(with_unprompted(rows), index, asked)
        if logits.device.type == "mps":
            logits = logits.cpu()  # Apple's GPUs have no float64
        if self._guidance_scale:
            prompted, unprompted = logits.chunk(2)
            logits = unprompted + (self._guidance_scale + 1.0) * (prompted - unprompted)
        logits = _without_padding(logits, [len(own) for own in wanted])
        refuse_broken(logits)
        logits[:, self._banned] = float("-inf")
        if self._vocab_size is not None:
            logits[:, self._vocab_size :] = float("-inf")
        return logits

    def _noise(
        self, rows: Sequence[Canvas], wanted: Sequence[list[int]], logits: Float[Tensor, "n v"]
    ) -> Float64[Tensor, "n v"] | None:
        if self._sampling.temperature == 0.0:
            return None
        n = logits.shape[-1]
        parts = [gumbel(row.seed, own, step=row.step, n=n) for row, own in zip(rows, wanted, strict=True) if own]
        return torch.cat(parts).to(logits.device)


def with_unprompted(rows: Sequence[Canvas]) -> list[Canvas]:
    """The rows, and after them, where there is guidance, each without its prompt."""
    return [*rows, *(row.unprompted for row in rows if row.unprompted is not None)]


def _without_padding(logits: Float[Tensor, "b n v"], counts: list[int]) -> Float[Tensor, "m v"]:
    n = logits.shape[1]
    if all(count == n for count in counts):
        return logits.flatten(0, 1)
    real = torch.arange(n) < torch.tensor(counts)[:, None]
    return logits[real.to(logits.device)]

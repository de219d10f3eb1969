"""Which tokens are masked: a pure function of (seed, step, global sample, purpose), whatever a step is cut into.

    time t in [0, 1)        one a sequence, or one a block
    mask probability        p = low + (high - low) g(t),   g(t) = t (linear) or sin(pi t / 2) (cosine)
    weight of a masked nll  g'(t) / p

low is `min_mask_probability`, high is 1 but for a curriculum. Every token that counts is masked with probability p on
its own. The expected sum is the same for every g, since g'(t) dt = dp / (high - low); with the linear one the weight is
1 / p (Nie et al., 2025, "Large Language Diffusion Models", https://arxiv.org/abs/2502.09992, equation 3; weights of
other schedules: Shi et al., 2024, https://arxiv.org/abs/2406.04329, equation 5).

Stratified times: the r-th of S samples in a step, block b of n, has

    t = (u + ((b + r) mod n + (k r mod S) / S) / n) mod 1         u in [0, 1) from (seed, step), k and S coprime

so each is uniform, and all times of a step lie evenly spaced. Validation takes the fixed grid with u = 1 / (2 S n). Its
windows stand in the order of the text, so r alone would give the text's beginning all small times, and b alone the
windows' first blocks: (b + r) mod n, and k near the golden section of S, keep neighbours far apart. In packed rows each
document has a time of its own: that of its row, and a golden section more for every document before it, mod 1.
"""

import math
from functools import lru_cache
from itertools import count
from typing import Final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from hornbook.config.objective import MaskingSettings
from hornbook.data.batch import Noised, TokenBatch
from hornbook.objectives.normalise import conversations
from hornbook.objectives.objective import StepContext

MASKS: Final = 2
TIMES: Final = 3
TRUNCATION: Final = 4
CHOSEN: Final = 5
REJECTED: Final = 6
"""Purposes; 1 is dropout's."""
GOLDEN_SECTION: Final = (math.sqrt(5) - 1) / 2
EVERY_SAMPLE: Final = 0
"""In the place of the sample in the key of what is drawn once a step."""


def uniforms(seed: int, step: int, sample: int, purpose: int, n: int) -> Float64[np.ndarray, " n"]:
    """The `n` numbers in [0, 1), of 53 random bits each, that belong to this key; more of them begin with the same."""
    generator = np.random.Philox(key=_philox_key(seed, step, purpose), counter=(0, sample, 0, 0))
    return (generator.random_raw(n) >> np.uint64(11)) * 2.0**-53


@lru_cache(maxsize=64)
def _philox_key(seed: int, step: int, purpose: int) -> int:
    """128 bits that these three are mixed into; the counter tells the samples apart, 2^64 numbers each."""
    low, high = np.random.SeedSequence((seed, step, purpose)).generate_state(2, np.uint64)
    return int(low) | int(high) << 64


@lru_cache(maxsize=64)
def _stride(size: int) -> int:
    """A number without a common divisor with `size`, the first from its golden section on."""
    return next(k for k in count(max(1, round(0.618 * size))) if math.gcd(k, size) == 1)


class Masking:
    """Draws the noise of whole batches, on the host."""

    def __init__(
        self,
        config: MaskingSettings,
        *,
        mask_id: int,
        block_length: int | None = None,
        row_length: int | None = None,
    ) -> None:
        """`block_length`: tokens that share a mask probability; None: all of a row.

        `row_length`: of whole rows. Those of a micro-batch that is cut shorter have the noise of a whole row's first
        blocks; None: rows are never cut.
        """
        self.low = config.min_mask_probability
        self.schedule = config.schedule
        self.is_stratified = config.mask_draws == "stratified"
        self.truncation_probability = config.truncation_probability
        self.curriculum_steps, self.curriculum_start = config.curriculum_steps, config.curriculum_start
        self.mask_id = mask_id
        self.block_length = block_length
        self.row_length = row_length or 0

    def __call__(self, batch: TokenBatch, at: StepContext, *, length: int, coefficient: float = 1.0) -> Noised:
        """The noise for the first `length` tokens of each row; targets are those whose `loss_mask` is true.

        A token that is the mask token already stays, and is no target.
        """
        tokens, samples = batch.tokens[:, :length], batch.sample_ids.tolist()
        n_blocks = 1 if self.block_length is None else -(-max(length, self.row_length) // self.block_length)
        times = torch.from_numpy(self.times(samples, at, n_blocks))
        times = times[:, torch.arange(length) // (self.block_length or length)]
        if batch.document_ids is not None:
            place = conversations(tokens, batch.document_ids[:, :length])
            times = (times + GOLDEN_SECTION * place.cpu()) % 1.0
        probability, weight = self.probability_and_weight(times, at)
        draws = [uniforms(at.seed, at.step, sample, MASKS, length) for sample in samples]
        hit = (torch.from_numpy(np.stack(draws)) < probability).to(tokens.device)
        counted = batch.loss_mask[:, :length] & (tokens != self.mask_id)
        documents = None if batch.document_ids is None else batch.document_ids[:, :length]
        if (kept := self.kept_tokens(at, length)) < length:
            is_cut = (torch.arange(length, device=tokens.device) >= kept).expand_as(tokens)
            counted = counted & ~is_cut
            documents = is_cut.long() if documents is None else 2 * documents + is_cut
        masked = hit & counted
        return Noised(
            tokens=torch.where(masked, self.mask_id, tokens),
            counted=counted,
            masked=masked,
            mask_probability=probability.float().to(tokens.device),
            weight=torch.where(masked, weight.float().to(tokens.device), 0.0),
            document_ids=documents,
            coefficient=coefficient,
        )

    def times(self, samples: list[int], at: StepContext, n_blocks: int) -> Float64[np.ndarray, "b n"]:
        """The time of each block of each of these global samples."""
        strata = at.samples_per_step * n_blocks
        if at.is_validation:
            start = 0.5 / strata
        elif self.is_stratified:
            start = float(uniforms(at.seed, at.step, EVERY_SAMPLE, TIMES, 1)[0])
        else:
            return np.stack([uniforms(at.seed, at.step, sample, TIMES, n_blocks) for sample in samples])
        size = at.samples_per_step
        rank = np.array(samples)[:, None] % size  # a step's samples are a run that starts at a multiple of it
        stratum = (np.arange(n_blocks) + rank) % n_blocks * size + rank * _stride(size) % size
        times: Float64[np.ndarray, "b n"] = (start + stratum / strata) % 1.0
        return times

    def probability_and_weight(self, times: Tensor, at: StepContext) -> tuple[Tensor, Tensor]:
        """Mask probability at these times, and what a masked nll then weighs."""
        if self.schedule == "linear":
            share, slope = times, torch.ones_like(times)
        else:
            angle = times * (math.pi / 2)
            share, slope = angle.sin(), angle.cos() * (math.pi / 2)
        probability = self.low + (self.high(at) - self.low) * share
        return probability, slope / probability

    def high(self, at: StepContext) -> float:
        """The largest mask probability of a step."""
        if self.curriculum_start is None or at.is_validation:
            return 1.0
        return between(self.curriculum_start, 1.0, steps=self.curriculum_steps, step=at.step)

    def kept_tokens(self, at: StepContext, length: int) -> int:
        """To how many tokens all rows of a step, on every rank, are cut: mostly `length`.

        They are not really shorter: what lies behind is another document and does not count. Compiled code then has
        two shapes to be made for, instead of one a length.
        """
        if at.is_validation:
            return length
        coin, cut = uniforms(at.seed, at.step, EVERY_SAMPLE, TRUNCATION, 2).tolist()
        return 1 + int(cut * length) if coin < self.truncation_probability else length


def between(first: float, last: float, *, steps: int, step: int) -> float:
    """`first` at step 0, in equal steps to `last` at step `steps` and from then on."""
    return last if step >= steps else first + (last - first) * step / steps

"""Noise is a function of (seed, step, sample, purpose), and has the distribution that it should have."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from hornbook.config.objective import BlockDiffusionConfig, MaskedDiffusionConfig
from hornbook.data.batch import Noised, TokenBatch
from hornbook.objectives.noise import MASKS, TIMES, TRUNCATION, Masking, between, uniforms
from hornbook.objectives.objective import StepContext

VOCAB, MASK, LENGTH, SAMPLES = 12, 11, 24, 8


def batch_of(
    step: int = 0, rows: range = range(SAMPLES), *, length: int = LENGTH, samples: int = SAMPLES
) -> TokenBatch:
    rng = torch.Generator().manual_seed(step)
    tokens = torch.randint(VOCAB, (samples, length), generator=rng)  # the mask token among them
    counted = torch.rand((samples, length), generator=rng) < 0.8
    chosen = list(rows)
    return TokenBatch(
        tokens=tokens[chosen], loss_mask=counted[chosen], sample_ids=torch.tensor(chosen) + step * samples
    )


def at(step: int = 0, *, samples: int = SAMPLES, seed: int = 3, validation: bool = False) -> StepContext:
    return StepContext(seed=seed, step=step, samples_per_step=samples, is_validation=validation)


def masking(*, block_length: int | None = None, **settings: object) -> Masking:
    return Masking(MaskedDiffusionConfig(**settings), mask_id=MASK, block_length=block_length)


def same(left: Noised, right: Noised) -> bool:
    pairs = [(getattr(left, field.name), getattr(right, field.name)) for field in fields(Noised)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("draws", ["stratified", "independent"])
@pytest.mark.parametrize("block_length", [None, 5])
@pytest.mark.parametrize("truncation", [0.0, 1.0])
def test_a_row_has_the_same_noise_in_every_cut_of_a_step(draws, block_length, truncation):
    draw = masking(mask_draws=draws, truncation_probability=truncation, block_length=block_length)
    whole = draw(batch_of(4), at(4), length=LENGTH)
    for rows in (range(3, 4), range(2, 6), range(7, 2, -2)):
        part = draw(batch_of(4, rows), at(4), length=LENGTH)
        assert same(part, whole.with_each(lambda tensor, rows=rows: tensor[list(rows)]))


def test_other_seeds_steps_samples_and_purposes_have_other_noise():
    keys = [(3, 4, 5, 2), (4, 4, 5, 2), (3, 5, 5, 2), (3, 4, 6, 2), (3, 4, 5, 3), (4, 3, 5, 2), (3, 5, 4, 2)]
    drawn = np.stack([uniforms(*key, 4) for key in keys])
    assert len(np.unique(drawn)) == drawn.size
    assert np.array_equal(uniforms(*keys[0], 4), drawn[0])
    assert np.array_equal(uniforms(*keys[0], 9)[:4], drawn[0])  # more of them begin with the same


def test_every_purpose_has_numbers_of_its_own():
    """Or a window's time would say whether its first token is masked, and the times which steps are cut."""
    assert len({1, MASKS, TIMES, TRUNCATION}) == 4  # 1 is dropout's


def test_noise_is_that_of_earlier_versions():
    """What a run that is resumed under another numpy must go on with."""
    found = [number.hex() for number in uniforms(1337, 4, 300, 2, 2)]
    assert found == ["0x1.c4724c22ef4a6p-1", "0x1.33cf675ac943cp-2"]


def test_global_random_state_is_neither_read_nor_moved():
    torch.manual_seed(0)
    np_state, first = np.random.get_state()[1].copy(), masking()(batch_of(), at(), length=LENGTH)  # noqa: NPY002
    state = torch.get_rng_state()
    torch.manual_seed(1)
    torch.rand(3)
    assert same(masking()(batch_of(), at(), length=LENGTH), first)
    torch.set_rng_state(state)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], np_state)  # noqa: NPY002


@pytest.mark.parametrize("n_blocks", [1, 3])
def test_stratified_times_lie_evenly_over_the_whole_step(n_blocks):
    draw = masking()
    starts = []
    for step in range(20):
        ids = [step * SAMPLES + row for row in range(SAMPLES)]
        parts = [draw.times(ids[first : first + 2], at(step), n_blocks) for first in range(0, SAMPLES, 2)]
        times = np.sort(np.concatenate(parts).ravel())
        gaps = np.diff([*times, times[0] + 1.0])
        assert gaps == pytest.approx(np.full(SAMPLES * n_blocks, 1 / (SAMPLES * n_blocks)), abs=1e-15)
        starts.append(times[0] * SAMPLES * n_blocks)
    assert len(set(starts)) == 20
    assert (min(starts), max(starts)) == (pytest.approx(0, abs=0.25), pytest.approx(1, abs=0.25))  # 0.75^20: 0.3 %


@pytest.mark.parametrize("draws", ["stratified", "independent"])
def test_the_time_of_each_sample_is_uniform(draws):
    """Kolmogorov and Smirnov: above 1.95 / sqrt(n) once in a thousand; the draws are fixed, so never or always."""
    draw, n = masking(mask_draws=draws), 1000
    times = np.stack([draw.times([step * SAMPLES + 5], at(step), 2)[0] for step in range(n)])
    for block in range(2):
        ranks = np.sort(times[:, block])
        assert np.abs(ranks - (np.arange(n) + 0.5) / n).max() < 1.95 / math.sqrt(n)
    if draws == "independent":  # and of its blocks; n times a correlation of nothing has the variance n
        assert abs(np.corrcoef(times.T)[0, 1]) < 4 / math.sqrt(n)


def test_validation_takes_a_grid_and_the_same_masks_every_time():
    draw = masking(mask_draws="independent", truncation_probability=1.0, curriculum_steps=5, curriculum_start=0.1)
    times = np.sort(draw.times(list(range(SAMPLES)), at(validation=True), 3).ravel())
    assert times == pytest.approx((np.arange(3 * SAMPLES) + 0.5) / (3 * SAMPLES), abs=1e-15)
    noised = draw(batch_of(), at(validation=True), length=LENGTH)
    assert noised.document_ids is None
    assert noised.mask_probability.max() == pytest.approx(1 - (1 - 1e-3) / (2 * SAMPLES), rel=1e-6)


@pytest.mark.parametrize("samples", [16, 37, 100])
@pytest.mark.parametrize("n_blocks", [1, 4])
def test_no_stretch_of_a_validation_text_and_no_place_of_a_window_has_times_of_its_own(samples, n_blocks):
    """Their share of the bound would be that of a few mask probabilities: with easy places masked little, too low."""
    times = masking().times(list(range(samples)), at(samples=samples, validation=True), n_blocks)
    for stretch in np.array_split(times, 4):
        assert np.histogram(stretch, bins=4, range=(0, 1))[0] == pytest.approx(stretch.size / 4, abs=n_blocks + 1)
    assert times.mean(axis=0) == pytest.approx(np.full(n_blocks, 0.5), abs=1 / samples + 1e-9)


@pytest.mark.parametrize("low", [1e-3, 0.2])
def test_every_schedule_has_the_same_expected_loss(low):
    """The mean of weight * f(p) over times is that of f(p) / p over p, here for f = p and p^2: midpoint rule."""
    n = 20_000
    grid = torch.arange(n, dtype=torch.float64).add(0.5) / n
    for schedule in ("linear", "cosine"):
        p, weight = masking(schedule=schedule, min_mask_probability=low).probability_and_weight(grid, at())
        assert low <= p.min() <= p.max() <= 1.0
        # f = p: 1. f = p^2: the mean of p from low to 1. The rule's error is below h^2 / 24 times the slope's range.
        assert (weight * p).mean() == pytest.approx(1.0, abs=1e-8)
        assert (weight * p**2).mean() == pytest.approx((1 + low) / 2, abs=1e-8)


def test_the_linear_weight_is_one_over_the_probability():
    times = torch.tensor([0.0, 0.25, 0.5, 0.999], dtype=torch.float64)
    p, weight = masking().probability_and_weight(times, at())
    assert p.tolist() == pytest.approx([1e-3 + (1 - 1e-3) * t for t in times.tolist()], rel=1e-15)
    assert weight.tolist() == pytest.approx([1 / value for value in p.tolist()], rel=1e-15)


def test_a_curriculum_raises_the_largest_probability():
    draw = masking(curriculum_steps=10, curriculum_start=0.3)
    assert [draw.high(at(step)) for step in (0, 5, 10, 99)] == pytest.approx([0.3, 0.65, 1.0, 1.0])
    assert draw(batch_of(), at(0), length=LENGTH).mask_probability.max() < 0.3
    assert between(2.0, 1.0, steps=0, step=0) == 1.0


def test_tokens_are_masked_as_often_as_their_probability_says():
    """Per decile of p, hits are binomial; 4.5 standard deviations are exceeded once in 15,000 tests of ten deciles."""
    length, samples = 512, 200
    batch = batch_of(length=length, samples=samples, rows=range(samples))
    batch = replace(batch, tokens=batch.tokens.clamp(max=MASK - 1), loss_mask=torch.ones_like(batch.loss_mask))
    noised = masking(truncation_probability=0.0)(batch, at(samples=samples), length=length)
    p, hit = noised.mask_probability.double(), noised.masked.double()
    for decile in range(10):
        inside = (p >= decile / 10) & (p < (decile + 1) / 10)
        deviation = (p * (1 - p))[inside].sum().sqrt()
        assert abs((hit - p)[inside].sum()) < 4.5 * deviation
    assert (p == p[:, :1]).all()


def test_blocks_have_their_own_probability():
    noised = Masking(BlockDiffusionConfig(block_length=5), mask_id=MASK, block_length=5)(
        batch_of(), at(), length=LENGTH
    )
    p = noised.mask_probability
    assert all((p[:, i : i + 5] == p[:, i : i + 1]).all() for i in range(0, LENGTH, 5))
    assert len(p.unique()) == SAMPLES * 5


def test_what_does_not_count_stays_as_it_is():
    for step in range(20):
        batch = batch_of(step)
        noised = masking(truncation_probability=0.5)(batch, at(step), length=LENGTH)
        assert not (noised.counted & ~batch.loss_mask).any()
        assert not (noised.masked & ~noised.counted).any()
        assert not (noised.masked & (batch.tokens == MASK)).any()  # the mask token is never a target
        assert torch.equal(noised.tokens, batch.tokens.masked_fill(noised.masked, MASK))
        assert torch.equal(noised.weight > 0, noised.masked)


def test_a_step_is_cut_as_one_to_a_uniform_length():
    draw, n = masking(truncation_probability=0.25), 2000
    lengths = [draw.kept_tokens(at(step), LENGTH) for step in range(n)]
    cut = [length for length in lengths if length < LENGTH]
    # Cut with 0.25, of which one of LENGTH is not seen: binomial, 4 standard deviations.
    expected = 0.25 * (1 - 1 / LENGTH)
    assert len(cut) / n == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / n))
    assert set(lengths) == set(range(1, LENGTH + 1))
    assert np.mean(cut) == pytest.approx(LENGTH / 2, abs=4 * LENGTH / math.sqrt(12 * len(cut)))


def test_what_is_cut_off_is_another_document_that_does_not_count():
    draw = masking(truncation_probability=1.0)
    kept = draw.kept_tokens(at(7), LENGTH)
    assert 1 < kept < LENGTH
    documents = torch.arange(LENGTH).expand(SAMPLES, LENGTH) // 7
    for own in (None, documents):
        noised = draw(replace(batch_of(7), document_ids=own), at(7), length=LENGTH)
        assert noised.document_ids is not None
        assert not noised.counted[:, kept:].any()
        assert torch.equal(noised.counted[:, :kept], (batch_of(7).loss_mask & (batch_of(7).tokens != MASK))[:, :kept])
        front, back = (set(part.unique().tolist()) for part in noised.document_ids.tensor_split([kept], dim=1))
        assert not front & back
        if own is not None:
            assert torch.equal(noised.document_ids[:, :kept] // 2, own[:, :kept])

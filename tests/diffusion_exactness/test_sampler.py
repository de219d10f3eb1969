"""The sampler's whole distribution against enumeration, and the traps that a mean would not show.

A p-value below 1e-4 fails: seeds are fixed, so what passes once passes always.
"""

from dataclasses import replace

import numpy as np
import pytest

from diffusion_exactness.adapter import Sampling
from diffusion_exactness.chi_square import p_value
from diffusion_exactness.oracles import Sampler, ancestral, confidences, fill_left_to_right
from diffusion_exactness.toys import arbitrary, consistent, joint

TOY = arbitrary(31)
PROMPT = (1,)
ROWS = 2500
LEAST = 1e-4
ONE_BY_ONE = Sampling(new_tokens=3, block_length=3)
SETTINGS = {
    "random": ONE_BY_ONE,
    "random, two steps": replace(ONE_BY_ONE, steps=2),
    "random, at once, sharper": replace(ONE_BY_ONE, steps=1, temperature=0.6),
    "low confidence": replace(ONE_BY_ONE, remasking="low_confidence"),
    "low confidence, two steps, sharper": replace(ONE_BY_ONE, remasking="low_confidence", steps=2, temperature=0.6),
    "low confidence, flatter": replace(ONE_BY_ONE, remasking="low_confidence", temperature=1.7),
    "margin": replace(ONE_BY_ONE, remasking="margin"),
    "entropy, two steps": replace(ONE_BY_ONE, remasking="entropy", steps=2),
    "threshold": replace(ONE_BY_ONE, remasking="low_confidence", confidence_threshold=0.6),
    "blocks of two and one": replace(ONE_BY_ONE, block_length=2, remasking="low_confidence"),
    "blocks of one": replace(ONE_BY_ONE, block_length=1),
    "block diffusion": replace(ONE_BY_ONE, block_length=2, remasking="low_confidence", is_block_causal=True),
    "guided": replace(ONE_BY_ONE, guidance_scale=0.8),
    "guided, low confidence, sharper": replace(
        ONE_BY_ONE, guidance_scale=1.5, remasking="low_confidence", temperature=0.6
    ),
}


def samples_of(adapter, toy, sampling, *, rows=ROWS, prompt=PROMPT):
    return [tuple(row) for row in adapter.sample(adapter.model(toy), prompt, sampling, rows=rows).tolist()]


@pytest.mark.medium
@pytest.mark.parametrize("name", SETTINGS)
def test_the_whole_distribution(adapter, name):
    expected = Sampler(TOY, SETTINGS[name]).distribution(PROMPT)
    assert p_value(samples_of(adapter, TOY, SETTINGS[name]), expected) > LEAST


@pytest.mark.medium
def test_random_remasking_of_one_token_a_step_is_ancestral_sampling(adapter):
    assert p_value(samples_of(adapter, TOY, ONE_BY_ONE), ancestral(TOY, PROMPT, 3)) > LEAST


@pytest.mark.medium
def test_samples_of_a_joint_distribution(adapter):
    p = joint(32)
    expected = dict(np.ndenumerate(p[1] / p[1].sum()))
    assert p_value(samples_of(adapter, consistent(p), ONE_BY_ONE), expected) > LEAST


@pytest.mark.parametrize("name", SETTINGS)
def test_greedy(adapter, name):
    """At temperature 0 nothing is drawn but what random remasking keeps: every outcome must be a possible one."""
    settings = replace(SETTINGS[name], temperature=0.0)
    expected = Sampler(TOY, settings).distribution(PROMPT)
    for prompt in ((0,), (1,), (2,)):
        expected = Sampler(TOY, settings).distribution(prompt)
        found = set(samples_of(adapter, TOY, settings, rows=20, prompt=prompt))
        assert found <= {outcome for outcome, p in expected.items() if p}
        assert len(found) == 1 or settings.remasking == "random"


@pytest.mark.parametrize("prompt", [(0,), (1,), (2,), (2, 1)])
def test_blocks_of_one_are_filled_from_left_to_right(adapter, prompt):
    new = TOY.length - len(prompt)
    settings = Sampling(new_tokens=new, block_length=1, temperature=0.0, remasking="low_confidence")
    expected = fill_left_to_right(TOY, prompt, new)
    assert samples_of(adapter, TOY, settings, rows=1, prompt=prompt) == [expected]


@pytest.mark.parametrize("remasking", ["random", "low_confidence", "margin", "entropy"])
def test_the_mask_token_is_never_drawn_and_takes_no_probability(adapter, remasking):
    """Though the model would rather have it than anything else."""
    settings = replace(ONE_BY_ONE, remasking=remasking)
    greedy_for_masks = TOY.with_mask_logit(9.0)
    found = samples_of(adapter, greedy_for_masks, settings, rows=200)
    assert TOY.mask_id not in {token for row in found for token in row}
    assert found == samples_of(adapter, TOY, settings, rows=200)


@pytest.mark.parametrize("by", [-1000.0, 1000.0])
def test_logits_may_be_large(adapter, by):
    """A softmax does not see what is added to all logits; exponentials of logits do, and overflow."""
    for settings in (ONE_BY_ONE, replace(ONE_BY_ONE, remasking="low_confidence", temperature=0.7)):
        found = samples_of(adapter, TOY.shifted(by), settings, rows=300)
        assert found == samples_of(adapter, TOY, settings, rows=300)


@pytest.mark.parametrize("remasking", ["low_confidence", "margin", "entropy"])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 2.0])
def test_confidences_are_the_models_own(adapter, remasking, temperature):
    """Of the logits as they are: neither the temperature nor the noise of the draw is in them."""
    settings = replace(ONE_BY_ONE, remasking=remasking, temperature=temperature)
    for seed in range(20):
        text = np.array([*PROMPT, *[TOY.mask_id] * 3])
        for decision in adapter.decisions(adapter.model(TOY), [*PROMPT, None, None, None], settings, seed=seed):
            logits = TOY.logits(text)[list(decision.positions), : TOY.vocab]
            sure = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            assert decision.confidences == pytest.approx(confidences(remasking, sure, decision.tokens), rel=1e-5)
            text[list(decision.positions)] = decision.tokens


COUNTS = [
    (128, 128, 100, [2] * 28 + [1] * 72),
    (100, 100, 64, [2] * 36 + [1] * 28),
    (7, 7, 3, [3, 2, 2]),
    (96, 32, 48, [2] * 48),
    (12, 4, 12, [1] * 12),
    (12, 12, 1, [12]),
]


@pytest.mark.parametrize(("new_tokens", "block_length", "steps", "expected"), COUNTS)
@pytest.mark.parametrize("remasking", ["random", "low_confidence"])
def test_every_step_keeps_its_share(adapter, new_tokens, block_length, steps, expected, remasking):
    """Steps that do not divide: the first ones take one token more."""
    settings = Sampling(new_tokens=new_tokens, block_length=block_length, steps=steps, remasking=remasking)
    taken = adapter.decisions(adapter.network(layers=1, seed=0), [1, *[None] * new_tokens], settings)
    assert [len(decision.positions) for decision in taken] == expected
    assert sorted(place for decision in taken for place in decision.positions) == list(range(1, new_tokens + 1))


@pytest.mark.parametrize("template", [(2, 3, None, None), (3, None, 3, None), (None, 3, 1, None)])
def test_a_mask_token_that_was_given_is_no_hole(adapter, template):
    """What is decided is remembered, not read off the ids: a text may hold the mask token's."""
    assert TOY.mask_id == 3
    settings = Sampling(new_tokens=2, block_length=2, remasking="low_confidence")
    taken = adapter.decisions(adapter.model(TOY), template, settings)
    holes = [place for place, token in enumerate(template) if token is None]
    assert sorted(place for decision in taken for place in decision.positions) == holes
    assert all(token != TOY.mask_id for decision in taken for token in decision.tokens)


def test_holes_are_filled_given_both_sides(adapter):
    """Infilling of one hole is the model's conditional, of what stands behind the hole too."""
    settings = Sampling(new_tokens=1, block_length=1, temperature=0.0, remasking="low_confidence")
    for left, right, end in np.ndindex(3, 3, 3):
        (taken,) = adapter.decisions(adapter.model(TOY), [left, None, right, end], settings)
        assert taken.tokens == (int(TOY.logits(np.array([left, 3, right, end]))[1, :3].argmax()),)

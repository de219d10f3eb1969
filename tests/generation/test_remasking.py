"""What a step draws and what it keeps: distributions, confidences, ties, and the noise that decides."""

import math

import numpy as np
import pytest
import torch

from hornbook.config.generate import SamplingConfig
from hornbook.generation.noise import gumbel, order_noise
from hornbook.generation.remasking import confidence, draw, keep, log_probabilities

PROBABILITIES = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)
LOGITS = PROBABILITIES.log()


def test_noise_is_a_function_of_seed_position_and_step():
    first = gumbel(3, [5, 6], step=2, n=7)
    assert first.dtype == torch.float64
    assert torch.equal(first[1:], gumbel(3, [6], step=2, n=7))
    assert torch.equal(first[:, :4], gumbel(3, [5, 6], step=2, n=4))  # of the token, not of how many there are
    for other in (gumbel(4, [5, 6], step=2, n=7), gumbel(3, [6, 7], step=2, n=7), gumbel(3, [5, 6], step=3, n=7)):
        assert not (first == other).any()
    assert order_noise(3, [5], step=2) != order_noise(3, [5], step=3)
    of_the_draw = first[0].neg().exp().neg().exp()  # the uniform numbers that it was made of
    assert all(abs(float(number) - order_noise(3, [5], step=2)[0]) > 1e-9 for number in of_the_draw)


def test_the_noise_is_gumbel():
    """Mean gamma and variance pi^2 / 6, within five standard errors of 200,000 numbers."""
    drawn = gumbel(0, range(20), step=0, n=10_000).flatten()
    assert drawn.isfinite().all()
    assert (drawn.float() == drawn).double().mean() < 1e-3  # float32 anywhere on the way would show
    n, variance = len(drawn), math.pi**2 / 6
    assert abs(float(drawn.mean()) - np.euler_gamma) < 5 * math.sqrt(variance / n)
    fourth = 5.4 * variance**2  # Gumbel's kurtosis is 5.4
    assert abs(float(drawn.var()) - variance) < 5 * math.sqrt((fourth - variance**2) / n)


@pytest.mark.parametrize("heat", [1.0, 0.5, 2.0])
def test_draws_have_the_distribution_of_the_temperature(heat):
    n = 20_000
    noise = gumbel(1, range(n), step=0, n=3)
    drawn = draw(LOGITS[:1].expand(n, 3), noise, SamplingConfig(temperature=heat))
    expected = (LOGITS[0] / heat).softmax(-1)
    share = torch.bincount(drawn, minlength=3) / n
    assert ((share - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt()).all()


def test_filters_apply_and_the_impossible_is_never_drawn():
    noise = gumbel(1, range(2000), step=0, n=3)
    logits = LOGITS[:1].expand(2000, 3).clone()
    assert set(draw(logits, noise, SamplingConfig(temperature=1.0, top_k=2)).tolist()) == {0, 1}
    logits[:, 0] = float("-inf")
    assert set(draw(logits, noise, SamplingConfig(temperature=9.0)).tolist()) == {1, 2}


def test_greedy_takes_the_likeliest_and_of_equals_the_first():
    assert draw(torch.tensor([[1.0, 2.0, 2.0]]), None, SamplingConfig(temperature=0.0)).tolist() == [1]


def test_confidences_are_of_the_logits_as_they_are():
    chosen = torch.tensor([1, 2])
    logprobs = log_probabilities(LOGITS + 3.0, chosen)
    torch.testing.assert_close(logprobs, torch.tensor([0.3, 0.8], dtype=torch.float64).log())
    torch.testing.assert_close(confidence(LOGITS, logprobs, "low_confidence").tolist(), [0.3, 0.8])
    torch.testing.assert_close(confidence(LOGITS, logprobs, "margin").tolist(), [0.2, 0.7])
    entropy = [-sum(p * math.log(p) for p in row) for row in PROBABILITIES.tolist()]
    torch.testing.assert_close(confidence(LOGITS, logprobs, "entropy").tolist(), [-each for each in entropy])


def test_confidence_survives_what_is_impossible():
    logits = torch.tensor([[0.0, float("-inf"), 0.0]])
    assert confidence(logits, logits[:, 0], "entropy").tolist() == pytest.approx([-math.log(2)])


def test_the_surest_are_kept_and_of_equals_the_first():
    assert keep([0.1, 0.9, 0.5, 0.9], count=2, threshold=None) == [1, 3]
    assert keep([0.5, 0.5, 0.5], count=1, threshold=None) == [0]


def test_a_threshold_keeps_all_that_reach_it_and_one_at_least():
    assert keep([0.95, 0.2, 0.9], count=1, threshold=0.9) == [0, 2]
    assert keep([0.1, 0.3, 0.2], count=1, threshold=0.9) == [1]

"""The training loss: its noise, its sum, its denominator, and the mean over noise, which must be the bound."""

import math

import numpy as np
import pytest
import torch

from diffusion_exactness.oracles import blocks, by_probability
from diffusion_exactness.toys import arbitrary, consistent, joint, nats

TOY = arbitrary(11)
ROWS, STEPS = 64, 120
TEXTS = torch.from_numpy(np.random.default_rng(1).integers(0, TOY.vocab, (ROWS, TOY.length)))
KINDS = pytest.mark.parametrize("block_length", [None, 2])


@pytest.fixture(scope="module", params=[None, 2])
def many_steps(request, adapter):
    """(block_length, the steps of a short training)."""
    return request.param, [adapter.train(TOY, TEXTS, step=step, block_length=request.param) for step in range(STEPS)]


def oracle_sum(step, block_length) -> float:
    """nll of each hidden token over its probability, from the table."""
    total = 0.0
    for text, hidden, counted, p in zip(TEXTS, step.hidden, step.counted, step.probability, strict=True):
        own = tuple(text.tolist())
        for places, later in blocks(TOY.length, block_length):
            invisible = [i for i in range(TOY.length) if (hidden[i] and i in places) or i in later or not counted[i]]
            nll = TOY.nll(own, tuple(i in invisible for i in range(TOY.length)))
            total += math.fsum(nll[i] / float(p[i]) for i in places if hidden[i])
    return total


@pytest.mark.parametrize("truncation_probability", [0.0, 1.0])
@KINDS
def test_the_loss_is_the_sum_over_hidden_tokens_of_nll_over_p(adapter, block_length, truncation_probability):
    """Weights may be float32, good to 6e-8 each."""
    for number in range(2):
        step = adapter.train(
            TOY, TEXTS, step=number, block_length=block_length, truncation_probability=truncation_probability
        )
        assert step.loss_sum == pytest.approx(oracle_sum(step, block_length), rel=1e-6)


@KINDS
def test_the_denominator_is_all_tokens_not_the_hidden_ones(adapter, block_length):
    step = adapter.train(TOY, TEXTS, step=0, block_length=block_length)
    assert step.counted.all()
    assert step.denominator == TEXTS.numel() > int(step.hidden.sum())


def test_tokens_are_hidden_with_their_probability_and_independently(many_steps):
    """Both sums have mean 0 and a known variance: five standard deviations."""
    _, steps = many_steps
    p = torch.cat([step.probability for step in steps]).double()
    excess = torch.cat([step.hidden for step in steps]).double() - p
    variance = p * (1 - p)
    assert abs(float(excess.sum())) < 5 * float(variance.sum()) ** 0.5
    for distance in range(1, TOY.length):
        pairs, spread = excess * excess.roll(distance, 1), variance * variance.roll(distance, 1)
        assert abs(float(pairs.sum())) < 5 * float(2 * spread.sum()) ** 0.5  # 2: at distance L / 2 pairs stand twice


def test_probabilities_are_uniform(adapter, many_steps):
    """Kolmogorov and Smirnov: of independent draws D sqrt(n) is above 2.5 with probability 2 exp(-12.5)."""
    block_length, steps = many_steps
    size = block_length or TOY.length
    p = torch.cat([step.probability[:, ::size] for step in steps]).double().flatten().sort().values
    uniform = (p - adapter.min_mask_probability) / (1 - adapter.min_mask_probability)
    even = (torch.arange(len(p), dtype=torch.float64) + 0.5) / len(p)
    assert float(p.min()) > adapter.min_mask_probability - 1e-9  # may be float32
    assert float(p.max()) <= 1
    assert float((uniform - even).abs().max()) * len(p) ** 0.5 < 2.5


def test_the_mean_loss_is_the_bound(adapter, many_steps):
    """Five standard errors of the mean over steps."""
    block_length, steps = many_steps
    sums = torch.tensor([step.loss_sum for step in steps], dtype=torch.float64)
    low = adapter.min_mask_probability
    bound = math.fsum(
        by_probability(TOY, tuple(text.tolist()), places, later, low=low)
        for text in TEXTS
        for places, later in blocks(TOY.length, block_length)
    )
    assert abs(float(sums.mean()) - bound) < 5 * float(sums.std()) / STEPS**0.5


@pytest.mark.parametrize("block_length", [None, 1, 2, 3])
def test_of_a_joint_distribution_the_mean_loss_is_the_likelihood(adapter, block_length):
    p = joint(12)
    steps = [adapter.train(consistent(p), TEXTS, step=step, block_length=block_length) for step in range(40)]
    sums = torch.tensor([step.loss_sum for step in steps], dtype=torch.float64)
    truth = math.fsum(nats(p, tuple(text.tolist())) for text in TEXTS)
    # What lies below the least probability is left out of the mean: at most that share of a mean that varies little.
    slack = 2 * adapter.min_mask_probability * truth
    assert abs(float(sums.mean()) - truth) < 5 * float(sums.std()) / 40**0.5 + slack


@KINDS
@pytest.mark.parametrize("parts", [(32, 32), (1, 3, 60), (16,) * 4])
def test_noise_does_not_depend_on_how_a_step_is_cut(adapter, block_length, parts):
    """Into micro-batches or ranks; the length that texts are cut to included, which is one for the whole step."""
    for number in range(6):
        ways = [
            adapter.train(TOY, TEXTS, step=number, block_length=block_length, parts=cut, truncation_probability=1.0)
            for cut in ((), parts)
        ]
        for name in ("hidden", "counted", "probability"):
            assert torch.equal(getattr(ways[0], name), getattr(ways[1], name)), (name, number)
        assert ways[0].denominator == ways[1].denominator
        assert ways[0].loss_sum == pytest.approx(ways[1].loss_sum, rel=1e-12)


def test_truncation_is_one_length_a_step_and_every_length_is_drawn(adapter):
    lengths = set()
    for number in range(60):
        step = adapter.train(TOY, TEXTS, step=number, truncation_probability=1.0)
        kept = int(step.counted[0].sum())
        assert torch.equal(step.counted, (torch.arange(TOY.length) < kept).expand(ROWS, -1))
        assert step.denominator == kept * ROWS
        assert not (step.hidden & ~step.counted).any()
        lengths.add(kept)
    assert lengths == set(range(1, TOY.length + 1))

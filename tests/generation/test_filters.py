"""Filters against transformers' processors, their definitions, and the draw against the distribution."""

import math

import pytest
import torch

from hornbook.config.generate import SamplingConfig
from hornbook.errors import GenerationError
from hornbook.generation import filters
from hornbook.generation.noise import row_noise, uniform


def logits_of(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def kept(logits: torch.Tensor) -> list[list[int]]:
    return [row.isfinite().nonzero()[:, 0].tolist() for row in logits]


@pytest.fixture
def random_logits() -> torch.Tensor:
    return 3 * torch.randn(7, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture
def seen() -> torch.Tensor:
    return torch.rand(7, 40, generator=torch.Generator().manual_seed(1)) < 0.3


NOTHING_SEEN = torch.zeros(1, 3, dtype=torch.bool)


@pytest.mark.parametrize(("p", "expected"), [(0.9, [0]), (0.99, [0]), (0.9901, [0, 1]), (1.0, [0, 1, 2])])
def test_top_p_may_keep_one(p, expected):
    """OLMo-core always kept two."""
    assert kept(filters.top_p(logits_of([0.99, 0.006, 0.004]), p=p)) == [expected]


@pytest.mark.parametrize(("p", "expected"), [(0.8, [0, 1]), (0.6, [0]), (0.61, [0, 1]), (1e-9, [0])])
def test_top_p_keeps_the_token_that_crosses(p, expected):
    assert kept(filters.top_p(torch.tensor([[0.6, 0.3, 0.1]]).log(), p=p)) == [expected]


def test_top_p_speaks_of_ids_not_of_ranks():
    assert kept(filters.top_p(logits_of([0.1, 0.6, 0.3], [0.3, 0.1, 0.6]), p=0.8)) == [[1, 2], [0, 2]]


def test_top_p_of_one_keeps_the_faintest_tail():
    assert kept(filters.top_p(torch.tensor([[0.0, -80.0, -90.0]]), p=1.0)) == [[0, 1, 2]]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 9])
def test_top_k_keeps_exactly_k_under_ties(k):
    logits = torch.tensor([[1.0, 2.0, 1.0, 1.0, 2.0], [0.0] * 5])
    assert kept(filters.top_k(logits, k=k)) == [sorted([1, 4, 0, 2, 3][:k]), list(range(5))[:k]]


def test_min_p_keeps_the_likeliest_even_at_one():
    assert kept(filters.min_p(logits_of([0.1, 0.6, 0.3]), p=1.0)) == [[1]]
    assert kept(filters.min_p(logits_of([0.1, 0.6, 0.3]), p=0.4)) == [[1, 2]]


def test_repetition_penalty_moves_both_signs_down():
    out = filters.repetition_penalty(torch.tensor([[2.0, -2.0, 2.0]]), torch.tensor([[True, True, False]]), penalty=2.0)
    assert out.tolist() == [[1.0, -4.0, 2.0]]


@pytest.mark.medium  # importing transformers takes seconds
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: filters.temperature(x, value=0.7), ("TemperatureLogitsWarper", 0.7)),
        *[(lambda x, k=k: filters.top_k(x, k=k), ("TopKLogitsWarper", k)) for k in (1, 5, 40, 100)],
        *[(lambda x, p=p: filters.top_p(x, p=p), ("TopPLogitsWarper", p)) for p in (0.05, 0.5, 0.9, 1.0)],
        *[(lambda x, p=p: filters.min_p(x, p=p), ("MinPLogitsWarper", p)) for p in (0.01, 0.3, 1.0)],
    ],
)
def test_each_filter_equals_transformers(random_logits, ours, theirs):
    processors = pytest.importorskip("transformers.generation.logits_process")
    name, value = theirs
    torch.testing.assert_close(ours(random_logits), getattr(processors, name)(value)(None, random_logits))


def test_the_whole_chain_equals_transformers_in_its_order(random_logits, seen):
    processors = pytest.importorskip("transformers.generation.logits_process")
    sampling = SamplingConfig(temperature=0.7, top_k=20, top_p=0.9, min_p=0.02, repetition_penalty=1.3)
    # transformers takes ids, all rows of one length: pad with repeats, which must not be penalised twice
    ids = [row.nonzero()[:, 0].tolist() for row in seen]
    ids = torch.tensor([(row * 40)[:40] for row in ids])
    theirs = random_logits
    for processor in [
        processors.RepetitionPenaltyLogitsProcessor(1.3),
        processors.TemperatureLogitsWarper(0.7),
        processors.TopKLogitsWarper(20),
        processors.TopPLogitsWarper(0.9),
        processors.MinPLogitsWarper(0.02),
    ]:
        theirs = processor(ids, theirs)
    ours = filters.apply_filters(random_logits, seen, sampling)
    assert 1 < theirs.isfinite().sum(-1).float().mean() < 20  # the filters bite
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("top_p", [1e-6, 0.5])
@pytest.mark.parametrize("top_k", [1, 3])
@pytest.mark.parametrize("min_p", [0.5, 1.0])
def test_any_combination_keeps_at_least_one_token(random_logits, seen, top_p, top_k, min_p):
    sampling = SamplingConfig(temperature=0.01, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=5.0)
    assert (filters.apply_filters(random_logits.float(), seen, sampling).isfinite().sum(-1) >= 1).all()


@pytest.mark.parametrize("heat", [5e-324, 1e-300, 1e-40, 1e-20, 1.7e308])
@pytest.mark.parametrize("penalty", [5e-324, 1e-300, 1e-40, 1.0, 1e40, 1e300, 1.7e308])
def test_no_setting_however_extreme_breaks_the_draw(heat, penalty):
    sampling = SamplingConfig(temperature=heat, repetition_penalty=penalty)
    logits = torch.tensor([[-3.0, -2.0, 0.0], [1.0, 2.0, 2.5], [-1e38, 3e38, 0.0]])
    for seen in (NOTHING_SEEN, ~NOTHING_SEEN):
        filtered = filters.apply_filters(logits, seen.expand(3, 3), sampling)
        assert filtered.softmax(-1).isfinite().all()
        drawn = filters.choose(logits, seen.expand(3, 3), row_noise([0] * 3, range(3)), sampling)
        assert drawn.max() < 3
        if heat < 1 and penalty == 1.0:
            assert drawn.tolist() == [2, 2, 1]  # as greedy


def test_greedy_takes_the_lowest_of_equals_and_minds_only_the_penalty():
    logits = torch.tensor([[1.0, 3.0, 3.0]])
    zero = torch.zeros(1, dtype=torch.float64)
    assert filters.choose(logits, NOTHING_SEEN, zero, SamplingConfig(temperature=0.0)).tolist() == [1]
    penalised = SamplingConfig(temperature=0.0, repetition_penalty=1.5)
    assert filters.choose(logits, torch.tensor([[False, True, False]]), zero, penalised).tolist() == [2]


@pytest.mark.parametrize("sampling", [SamplingConfig(temperature=1.0), SamplingConfig(temperature=1.0, top_p=0.9)])
def test_frequencies_follow_the_filtered_distribution(sampling):
    """Chi-square on five tokens, from the very noise that decoding uses."""
    n = 4000
    logits = torch.tensor([0.4, 0.05, 0.3, 0.05, 0.2]).log().expand(n, 5)
    nothing = torch.zeros(n, 5, dtype=torch.bool)
    drawn = filters.choose(logits, nothing, row_noise([7] * n, range(n)), sampling)
    counts = drawn.bincount(minlength=5).double()
    expected = n * filters.apply_filters(logits[:1], nothing[:1], sampling)[0].double().softmax(-1)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    assert chi_square < 18.5  # 0.1 % point of chi-square with 4 degrees of freedom


def test_the_draw_never_leaves_the_support():
    logits = torch.tensor([[float("-inf"), 0.0, 0.0, float("-inf")]])
    for noise, expected in [(0.0, 1), (0.5 - 1e-12, 1), (0.5, 2), (1 - 2**-53, 2)]:
        assert filters.sample(logits, torch.tensor([noise], dtype=torch.float64)).tolist() == [expected]


@pytest.mark.parametrize("broken", [[0.0, math.nan, 0.0], [0.0, math.inf, 0.0], [-math.inf] * 3])
@pytest.mark.parametrize("heat", [0.0, 1.0])
def test_broken_logits_are_an_error(broken, heat):
    logits = torch.tensor([[0.0, 0.0, 0.0], broken])
    with pytest.raises(GenerationError, match="NaN or infinity"):
        filters.choose(logits, NOTHING_SEEN.expand(2, 3), row_noise([0, 0], [0, 0]), SamplingConfig(temperature=heat))


def test_noise_is_a_pure_function_of_seed_and_position():
    draws = [uniform(s, p) for s in (0, 1, 2**70) for p in (0, 1, 10**6)]
    assert draws == [uniform(s, p) for s in (0, 1, 2**70) for p in (0, 1, 10**6)]
    assert len(set(draws)) == len(draws)
    assert all(0 <= draw < 1 for draw in draws)
    assert row_noise([3, 4], [5, 6]).tolist() == [uniform(3, 5), uniform(4, 6)]
    assert uniform(1337, 42) == 0.24716895769927638  # were it another number, every sample ever shown would change

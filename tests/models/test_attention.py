import numpy as np
import pytest
import torch

from hornbook.models.attention import PLAIN_MAX_KEYS, attend, plain_attention
from hornbook.models.masks import Visibility
from oracles.transformer import attention as slow_attention
from tiny_models import HEADS

N_KEYS, HEAD_DIM = 5, 6


def drawn(n_queries, heads, dtype=torch.float64):
    rng = torch.Generator().manual_seed(n_queries)
    shapes = ((2, heads[0], n_queries, HEAD_DIM), (2, heads[1], N_KEYS, HEAD_DIM), (2, heads[1], N_KEYS, HEAD_DIM))
    return [torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype) for shape in shapes]


def visibilities(n_queries):
    rows = torch.zeros(2, 1, n_queries, N_KEYS, dtype=torch.bool)
    rows[0, :, :, :2] = True
    rows[1, :, :, 1::2] = True
    cases = [Visibility(None, False), Visibility(rows, False), Visibility(rows[:1], False)]
    return [*cases, Visibility(None, True)] if n_queries == N_KEYS else cases


def allows(visibility, row):
    def allowed(i, j):
        if visibility.is_causal:
            return j <= i
        if visibility.allowed is None:
            return True
        return bool(visibility.allowed.expand(2, -1, -1, -1)[row, 0, i, j])

    return allowed


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("n_queries", [1, 3, N_KEYS])
@pytest.mark.parametrize("fast", [attend, plain_attention])
def test_equals_loops_over_heads_queries_and_keys(heads, n_queries, fast):
    q, k, v = drawn(n_queries, heads)
    for visibility in visibilities(n_queries):
        got = fast(q, k, v, visibility)
        expected = np.stack(
            [slow_attention(*(x[row].numpy() for x in (q, k, v)), allows(visibility, row)) for row in (0, 1)]
        )
        torch.testing.assert_close(got, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("heads", HEADS)
def test_bfloat16_training_takes_the_plain_formula_and_stays_close(heads, monkeypatch):
    q, k, v = drawn(N_KEYS, heads, torch.bfloat16)
    expected = attend(q, k, v, Visibility(None, True))  # no gradient wanted: torch's kernel
    q.requires_grad_()
    calls = []

    def spy(*arguments, **options):
        calls.append(1)
        return plain_attention(*arguments, **options)

    monkeypatch.setattr("hornbook.models.attention.plain_attention", spy)
    got = attend(q, k, v, Visibility(None, True))
    assert calls == [1]
    got.sum().backward()
    assert q.grad.isfinite().all()
    # Scores and weights round to 2^-9 each; values are below 4.
    torch.testing.assert_close(got.float(), expected.float(), rtol=0, atol=4 * 4 * 2**-9)
    long = torch.zeros(1, 1, PLAIN_MAX_KEYS + 1, 2, dtype=torch.bfloat16, requires_grad=True)
    attend(long, long, long, Visibility(None, True))
    assert calls == [1]


def test_weights_are_dropped_in_expectation_only():
    q, k, _ = drawn(N_KEYS, (4, 2))
    ones = torch.ones(2, 2, N_KEYS, HEAD_DIM, dtype=torch.float64)
    torch.manual_seed(0)
    for fast in (attend, plain_attention):
        sums = torch.stack([fast(q, k, ones, Visibility(None, False), dropout=0.25) for _ in range(200)])
        assert sums.std() > 0.1
        # 200 x 40 independent sums of weights, each of standard deviation at most sqrt(1/3): five standard errors.
        assert abs(sums.mean().item() - 1) < 5 * (1 / 3) ** 0.5 / (200 * 40) ** 0.5


@pytest.mark.parametrize("n_queries", [64, 65, 200, 256, 300])
def test_strips_of_causal_queries_equal_the_whole_square(n_queries):
    generator = torch.Generator().manual_seed(n_queries)
    q, k, v = (torch.randn(2, heads, n_queries, 4, generator=generator, dtype=torch.float64) for heads in (4, 2, 2))
    allowed = torch.ones(1, 1, n_queries, n_queries, dtype=torch.bool).tril()
    mixed = plain_attention(q, k, v, Visibility(None, is_causal=True))
    whole = plain_attention(q, k, v, Visibility(allowed, is_causal=False))
    torch.testing.assert_close(mixed, whole, rtol=0, atol=1e-14)  # a few roundings of numbers below 4

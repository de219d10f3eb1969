"""Muon: orthogonal moves, momentum that rises, every matrix by itself."""

import pytest
import torch

from hornbook.config.optim import MuonConfig
from hornbook.optim.orthogonal import orthogonalised
from optim.optimizing import build, draw_gradients, parameters
from oracles.muon import muon_path

SHAPES = [(8, 8), (8, 24), (24, 8), (8, 8), (3, 6, 4)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 16, 64), (3, 5, 5)])
def test_singular_values_end_near_one(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    # Values that begin between 0.01 and 1 of the largest, as the polynomial's range asks.
    s = torch.logspace(0, -1.5, shape[-2], dtype=torch.float64).expand_as(s)
    matrices = u * s[..., None, :] @ vh
    values = torch.linalg.svdvals(orthogonalised(matrices.to(dtype), 5).double())
    # The polynomial's own range is 0.68 to 1.14; bfloat16 adds a few per cent in five steps.
    slack = 0.0 if dtype == torch.float64 else 0.05
    assert values.min() > 0.68 - slack
    assert values.max() < 1.14 + slack


def test_a_zero_matrix_stays_zero() -> None:
    assert torch.equal(orthogonalised(torch.zeros(1, 3, 4), 5), torch.zeros(1, 3, 4))


@pytest.mark.parametrize("size", [1e-15, 1e-20, 1e-25, 1e-37])
def test_what_is_left_of_a_momentum_that_died_away_moves_little(size: float) -> None:
    # Squares of such numbers are nothing in float32, so the norm to divide by is nothing too.
    matrix = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(2)) * size
    move = orthogonalised(matrix.to(torch.bfloat16), 5)
    assert move.isfinite().all()
    assert torch.linalg.svdvals(move.double()).max() < 1.2


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("start", [0.7, None])
def test_equal_to_the_slow_form(nesterov: bool, start: float | None) -> None:
    rising = {"momentum_start": start} | ({} if start is None else {"momentum_warmup_steps": 6})
    config = MuonConfig(learning_rate=0.1, momentum=0.9, nesterov=nesterov, **rising)
    ours, rng = parameters(torch.float64, SHAPES), torch.Generator().manual_seed(1)
    begun = [weight.detach().clone() for weight in ours]
    optimizer = build(ours, config)
    gradients = []
    for _ in range(12):
        draw_gradients(ours, rng)
        gradients.append([weight.grad for weight in ours])
        optimizer.step()
    for index, weight in enumerate(ours):
        expected = muon_path(
            begun[index],
            [each[index] for each in gradients],
            lr=0.1,
            momentum=0.9,
            momentum_start=start,
            warmup=6,
            nesterov=nesterov,
            steps=5,
            weight_decay=0.1,
        )
        # The iteration enlarges rounding errors as it does small values: by less than a ^ 5 = 485 in five steps.
        torch.testing.assert_close(weight.detach(), expected, rtol=0.0, atol=12 * 485 * torch.finfo(torch.float64).eps)


def test_float32_moves_are_those_of_bfloat16_products() -> None:
    exact, rough = parameters(torch.float64, SHAPES), parameters(torch.float32, SHAPES)
    config = MuonConfig(learning_rate=1.0, weight_decay=0.0)
    for weights in (exact, rough):
        before = [weight.detach().clone() for weight in weights]
        optimizer = build(weights, config)
        draw_gradients(weights, torch.Generator().manual_seed(3))
        if weights is rough:
            for weight, other in zip(rough, exact, strict=True):
                weight.grad = other.grad.float()
        optimizer.step()
        moves = [weight.detach() - start for weight, start in zip(weights, before, strict=True)]
        if weights is exact:
            wanted = moves
    for move, want in zip(moves, wanted, strict=True):
        # bfloat16 has 8 bits; what small singular values gain of error in five steps stays a few per cent of the move.
        assert (move.double() - want).norm() < 0.05 * want.norm()


def test_matrices_without_gradient_stay_and_do_not_count() -> None:
    used, unused = parameters(torch.float32, [(4, 4), (4, 4)])
    before = unused.detach().clone()
    optimizer = build([used, unused], MuonConfig())
    used.grad = torch.ones(4, 4)
    optimizer.step()
    assert torch.equal(unused, before)
    assert (optimizer.state[used]["step"], optimizer.state[unused]["step"]) == (1, 0)

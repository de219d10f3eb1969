"""Adam and AdamW against torch.optim and against the formula."""

import pytest
import torch

from hornbook.config.optim import AdamConfig, AdamWConfig
from hornbook.optim.groups import set_learning_rate
from optim.optimizing import build, parameters
from oracles.adamw import adam_path

KINDS = {"adam": AdamConfig, "adamw": AdamWConfig}
THEIRS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize("kind", ["adam", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_equal_to_torch_over_fifty_updates(kind: str, dtype: torch.dtype, decay: float) -> None:
    config = KINDS[kind](learning_rate=1e-2, weight_decay=decay)
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = build(ours, config)
    peer = THEIRS[kind](theirs, lr=1e-2, betas=config.betas, eps=config.eps, weight_decay=decay)
    rng = torch.Generator().manual_seed(1)
    for step in range(50):
        rate = 1.0 / (1 + step % 7)
        set_learning_rate(optimizer, rate)
        peer.param_groups[0]["lr"] = 1e-2 * rate
        for mine, other in zip(ours, theirs, strict=True):
            mine.grad = torch.randn(mine.shape, generator=rng, dtype=dtype)
            other.grad = mine.grad.clone()
        optimizer.step()
        peer.step()
    # 50 updates, each moves a weight of order 1 and rounds a handful of times: 50 * 4 * eps.
    tolerance = 200 * torch.finfo(dtype).eps
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_equal_to_the_formula(kind: str) -> None:
    config = KINDS[kind](learning_rate=3e-2, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2)
    weight = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.float64))
    optimizer = build([weight], config)
    gradients = [0.3, -1.0, 0.0, 2.5, 1e-9, -0.7]
    multipliers = [0.5, 1.0, 0.9, 0.1, 1.0, 0.2]
    expected = adam_path(
        1.5,
        gradients,
        learning_rates=[3e-2 * multiplier for multiplier in multipliers],
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        decoupled=kind == "adamw",
    )
    for gradient, multiplier, after in zip(gradients, multipliers, expected, strict=True):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        set_learning_rate(optimizer, multiplier)
        optimizer.step()
        assert weight.item() == pytest.approx(after, rel=20 * torch.finfo(torch.float64).eps)


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_a_parameter_without_gradient_stays_and_does_not_count(kind: str) -> None:
    used, unused = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = build([used, unused], KINDS[kind](weight_decay=0.5))
    used.grad = torch.ones(3)
    optimizer.step()
    assert not torch.equal(used, torch.ones(3))
    assert torch.equal(unused, torch.ones(3))
    assert optimizer.state[used]["step"] == 1
    assert optimizer.state[unused]["step"] == 0
    # Its first gradient, later, gets the bias correction of a first update: with zero decay that is a move of lr.
    late = build([unused], KINDS[kind](learning_rate=0.25, weight_decay=0.0))
    unused.grad = torch.full((3,), 4.0)
    late.step()
    torch.testing.assert_close(unused.detach(), torch.full((3,), 0.75))


@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_the_gradient_is_left_as_it_was(kind: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build([weight], KINDS[kind](weight_decay=0.5))
    weight.grad = torch.tensor([1.0, 2.0, 3.0])
    optimizer.step()
    assert torch.equal(weight.grad, torch.tensor([1.0, 2.0, 3.0]))

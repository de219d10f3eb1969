"""Every kind of optimizer against torch.optim, or against its paper's formula for single numbers in float64."""

import pytest
import torch

from hornbook.config.optim import (
    AdamConfig,
    AdamWConfig,
    LionConfig,
    NAdamWConfig,
    OptimConfig,
    ScheduleFreeAdamWConfig,
    SgdConfig,
    SignSgdConfig,
)
from hornbook.config.optim_groups import RoleRates
from hornbook.optim import slices
from hornbook.optim.averaging import averaged
from hornbook.optim.build import make_optimizer
from hornbook.optim.groups import set_learning_rate
from optim.optimizing import build, draw_gradients, parameters
from oracles.optimizers import ema_path, lion_path, schedule_free_path, sign_sgd_path

GRADIENTS = [0.3, -1.0, 0.0, 2.5, 1e-9, -0.7]
MULTIPLIERS = [0.5, 1.0, 0.9, 0.1, 1.0, 0.2]
ROUNDING = 50 * torch.finfo(torch.float64).eps
"""Six updates of a number of order 1, each of some eight operations."""
EVERY = [
    AdamWConfig(),
    AdamConfig(),
    NAdamWConfig(),
    SgdConfig(),
    SgdConfig(momentum=0.0),
    SignSgdConfig(),
    SignSgdConfig(momentum=0.0),
    LionConfig(),
    ScheduleFreeAdamWConfig(),
    AdamWConfig(ema_decay=0.9),
]


def path(config: OptimConfig, start: float = 1.5) -> list[tuple[float, float]]:
    """The weight, and its average if it has one, after each of GRADIENTS."""
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = build([weight], config)
    found = []
    for gradient, multiplier in zip(GRADIENTS, MULTIPLIERS, strict=True):
        weight.grad = torch.tensor(gradient, dtype=torch.float64)
        set_learning_rate(optimizer, multiplier)
        optimizer.step()
        with averaged(optimizer):
            shown = weight.item()
        found.append((weight.item(), shown))
    return found


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("config", "theirs"),
    [
        (
            NAdamWConfig,
            lambda p, d: torch.optim.NAdam(p, betas=(0.9, 0.95), weight_decay=d, decoupled_weight_decay=True),
        ),
        (SgdConfig, lambda p, d: torch.optim.SGD(p, lr=1.0, momentum=0.9, weight_decay=d)),
        (lambda **k: SgdConfig(nesterov=True, **k), lambda p, d: torch.optim.SGD(p, 1.0, 0.9, 0.0, d, nesterov=True)),
        (lambda **k: SgdConfig(momentum=0.0, **k), lambda p, d: torch.optim.SGD(p, lr=1.0, weight_decay=d)),
    ],
)
def test_equal_to_torch_over_fifty_updates(config, theirs, dtype, decay) -> None:
    ours, others = parameters(dtype), parameters(dtype)
    optimizer, peer = build(ours, config(learning_rate=1e-2, weight_decay=decay)), theirs(others, decay)
    rng = torch.Generator().manual_seed(1)
    for step in range(50):
        rate = 1.0 / (1 + step % 7)
        set_learning_rate(optimizer, rate)
        peer.param_groups[0]["lr"] = 1e-2 * rate
        draw_gradients(ours, rng)
        for mine, other in zip(ours, others, strict=True):
            other.grad = mine.grad.clone()
        optimizer.step()
        peer.step()
    # 50 updates, each moves a weight of order 1 and rounds a handful of times: 50 * 4 * eps. torch multiplies NAdam's
    # momenta in float32: 50 products, and each weight is moved by about 50 * 1e-2 in all.
    tolerance = 200 * torch.finfo(dtype).eps + (50 * 2**-24 * 0.5 if config is NAdamWConfig else 0.0)
    for mine, other in zip(ours, others, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


def test_lion_equals_its_formula() -> None:
    config = LionConfig(learning_rate=3e-2, betas=(0.8, 0.95), weight_decay=0.2)
    rates = [3e-2 * multiplier for multiplier in MULTIPLIERS]
    expected = lion_path(1.5, GRADIENTS, rates, betas=(0.8, 0.95), weight_decay=0.2)
    assert [weight for weight, _ in path(config)] == pytest.approx(expected, rel=ROUNDING)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sign_sgd_equals_its_formula(momentum: float) -> None:
    config = SignSgdConfig(learning_rate=3e-2, momentum=momentum, weight_decay=0.2)
    rates = [3e-2 * multiplier for multiplier in MULTIPLIERS]
    expected = sign_sgd_path(1.5, GRADIENTS, rates, momentum=momentum, weight_decay=0.2)
    assert [weight for weight, _ in path(config)] == pytest.approx(expected, rel=ROUNDING)


def test_schedule_free_equals_its_formula_in_both_its_weights() -> None:
    config = ScheduleFreeAdamWConfig(learning_rate=3e-2, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2)
    rates = [3e-2 * multiplier for multiplier in MULTIPLIERS]
    expected = schedule_free_path(1.5, GRADIENTS, rates, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.2)
    found = path(config)
    assert [weight for weight, _ in found] == pytest.approx([y for y, _ in expected], rel=ROUNDING)
    assert [shown for _, shown in found] == pytest.approx([x for _, x in expected], rel=ROUNDING)


def test_the_average_of_weights_equals_its_formula() -> None:
    found = path(AdamWConfig(learning_rate=3e-2, ema_decay=0.3))
    expected = ema_path([weight for weight, _ in found], 1.5, 0.3)
    assert [shown for _, shown in found] == pytest.approx(expected, rel=ROUNDING)
    assert all(weight != shown for weight, shown in found)


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)
def test_a_parameter_without_gradient_stays_and_does_not_count(config: OptimConfig) -> None:
    used, unused = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    optimizer = build([used, unused], config)
    used.grad = torch.tensor([1.0, -2.0, 3.0])
    optimizer.step()
    assert not torch.equal(used, torch.ones(3))
    assert torch.equal(unused, torch.ones(3))
    assert torch.equal(used.grad, torch.tensor([1.0, -2.0, 3.0]))
    assert (optimizer.state[used]["step"], optimizer.state[unused]["step"]) == (1, 0)
    # Its first gradient, later, has the effect of a first gradient.
    fresh = torch.nn.Parameter(torch.ones(3))
    unused.grad, fresh.grad, used.grad = used.grad.clone(), used.grad.clone(), None
    optimizer.step()
    build([fresh], config).step()
    assert torch.equal(unused, fresh)


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)
def test_cutting_tensors_up_changes_no_bit(config: OptimConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, cut = parameters(torch.float32), parameters(torch.float32)
    for weights, limit in ((whole, 1 << 20), (cut, 6)):
        monkeypatch.setattr(slices, "SLICE_NUMBERS", limit)
        optimizer, rng = build(weights, config), torch.Generator().manual_seed(1)
        for _ in range(3):
            draw_gradients(weights, rng)
            optimizer.step()
    for mine, other in zip(cut, whole, strict=True):
        assert torch.equal(mine, other)


def test_rates_by_role_equal_optimizers_of_each() -> None:
    together, alone = parameters(torch.float64, [(3, 3), (3, 3)]), parameters(torch.float64, [(3, 3), (3, 3)])
    named = [("w", together[0]), ("e", together[1])]
    groups = {"embedding": RoleRates(learning_rate=0.5, weight_decay=0.01)}
    optimizers = [
        make_optimizer(named, {"w": "matrix", "e": "embedding"}, SgdConfig(groups=groups)),
        build(alone[:1], SgdConfig()),
        build(alone[1:], SgdConfig(learning_rate=0.5, weight_decay=0.01)),
    ]
    for seed in range(5):
        for weights in (together, alone):
            draw_gradients(weights, torch.Generator().manual_seed(seed))
        for optimizer in optimizers:
            optimizer.step()
    for mine, other in zip(together, alone, strict=True):
        assert torch.equal(mine, other)

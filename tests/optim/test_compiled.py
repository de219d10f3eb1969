"""Compiled updates give the numbers of eager ones, a new rate compiles nothing, and a GPU is not waited for."""

import pytest
import torch

from hornbook.config.optim import (
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    NAdamWConfig,
    OptimConfig,
    ScheduleFreeAdamWConfig,
    SgdConfig,
    SignSgdConfig,
)
from hornbook.optim.build import make_optimizer
from hornbook.optim.groups import set_learning_rate
from hornbook.optim.optimizer import RuledOptimizer
from optim.optimizing import draw_gradients, parameters

CONFIGS = [
    AdamWConfig(ema_decay=0.9),
    AdamConfig(),
    NAdamWConfig(),
    SgdConfig(nesterov=True),
    SignSgdConfig(),
    LionConfig(),
    ScheduleFreeAdamWConfig(),
    MuonConfig(),
]
SHAPES = [(6, 4), (4, 6), (7, 3), (5,)]
ROLES = ("matrix", "matrix", "embedding", "norm")
STEPS = 4
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.medium),
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]


def build(config: OptimConfig, device: str) -> tuple[list[torch.nn.Parameter], RuledOptimizer]:
    weights = [torch.nn.Parameter(weight.detach().to(device)) for weight in parameters(torch.float64, SHAPES)]
    named = [(role + str(index), weight) for index, (role, weight) in enumerate(zip(ROLES, weights, strict=True))]
    return weights, make_optimizer(named, {name: name[:-1] for name, _ in named}, config)


def train(weights: list[torch.nn.Parameter], optimizer: RuledOptimizer, *, first: int, last: int) -> None:
    for step in range(first, last):
        draw_gradients(weights, torch.Generator().manual_seed(step))
        set_learning_rate(optimizer, 1.0 / (1 + step))
        optimizer.step()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_compiled_equals_eager_and_a_new_rate_compiles_nothing(config: OptimConfig, device: str) -> None:
    torch.compiler.reset()
    (eager, plain), (compiled, fast) = build(config, device), build(config, device)
    fast.compile_update()
    train(eager, plain, first=0, last=STEPS)
    train(compiled, fast, first=0, last=1)
    with torch.compiler.set_stance("fail_on_recompile"):
        train(compiled, fast, first=1, last=STEPS)
    # Weights of order 1 move four times by some ten operations; Muon's iteration enlarges rounding by up to 485.
    growth = 485 if isinstance(config, MuonConfig) else 1
    tolerance = STEPS * 10 * growth * torch.finfo(torch.float64).eps
    for mine, other in zip(compiled, eager, strict=True):
        torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)
        for key, value in plain.state[other].items():
            torch.testing.assert_close(fast.state[mine][key], value, rtol=tolerance, atol=tolerance)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.kind)
def test_an_update_never_waits_for_the_gpu_and_equals_the_cpu(config: OptimConfig) -> None:
    (here, ours), (there, theirs) = build(config, "cpu"), build(config, "cuda")
    train(here, ours, first=0, last=1)
    train(there, theirs, first=0, last=1)
    draw_gradients(here, torch.Generator().manual_seed(9))
    draw_gradients(there, torch.Generator().manual_seed(9))
    ours.step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        theirs.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    tolerance = 20 * 485 * torch.finfo(torch.float64).eps
    for mine, other in zip(there, here, strict=True):
        torch.testing.assert_close(mine.cpu(), other, rtol=tolerance, atol=tolerance)

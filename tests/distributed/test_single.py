"""One process: gradient norm and clipping, and a state that goes out and comes back whole or not at all."""

import pytest
import torch
from torch import nn

from hornbook.config.optim import AdamWConfig
from hornbook.distributed.full_state import FullState
from hornbook.distributed.single import SingleProcess
from hornbook.distributed.strategy import Flags, Strategy
from hornbook.errors import CheckpointError
from hornbook.optim.build import make_optimizer


def build(width: int = 3, *, seed: int = 0) -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(2, width), nn.Linear(width, 2))
    roles = {name: "matrix" if name.endswith("weight") else "bias" for name, _ in model.named_parameters()}
    optimizer = SingleProcess().optimizer(model, lambda named: make_optimizer(named, roles, AdamWConfig()))
    return model, optimizer


def update(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model(torch.ones(4, 2)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def test_it_is_a_strategy() -> None:
    strategy: Strategy = SingleProcess()
    assert (strategy.rank, strategy.world_size) == (0, 1)
    assert strategy.agree(Flags(skip=True)) == Flags(skip=True)
    assert strategy.sum(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("max_norm", [0.5, 1e9, float("inf")])
def test_clipping_returns_the_norm_before_and_bounds_the_norm_after(max_norm: float) -> None:
    model, _ = build()
    strategy = SingleProcess()
    for last in (False, True):
        strategy.backward(model(torch.ones(4, 2)).square().sum(), last=last)
    flat = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).clone()
    norm = strategy.clip_grad_norm(model, max_norm)
    torch.testing.assert_close(norm, flat.norm())
    after = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    if max_norm < norm:
        # torch divides by norm + 1e-6, so the result is just below the bound.
        torch.testing.assert_close(after, flat * max_norm / norm, rtol=1e-5, atol=0.0)
    else:
        assert torch.equal(after, flat)


def test_a_norm_that_is_not_finite_is_returned_and_clips_nothing() -> None:
    model, _ = build()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(model.parameters()).grad[0, 0] = float("inf")
    assert SingleProcess().clip_grad_norm(model, 1.0).item() == float("inf")
    assert all(torch.all(parameter.grad >= 1.0) for parameter in model.parameters())


def test_backward_adds_and_zero_grad_forgets() -> None:
    model, optimizer = build()
    strategy = SingleProcess()
    strategy.backward(model(torch.ones(1, 2)).sum(), last=False)
    once = [parameter.grad.clone() for parameter in model.parameters()]
    strategy.backward(model(torch.ones(1, 2)).sum(), last=True)
    assert all(torch.equal(p.grad, 2 * grad) for p, grad in zip(model.parameters(), once, strict=True))
    strategy.zero_grad(optimizer)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_full_state_round_trip_and_the_same_future() -> None:
    strategy = SingleProcess()
    model, optimizer = build()
    update(model, optimizer)
    saved = strategy.full_state(model, optimizer)
    update(model, optimizer)

    other, other_optimizer = build(seed=1)
    strategy.load_full_state(other, other_optimizer, saved)
    update(other, other_optimizer)
    unbroken, resumed = strategy.full_state(model, optimizer), strategy.full_state(other, other_optimizer)
    assert unbroken.model.keys() == resumed.model.keys()
    assert all(torch.equal(unbroken.model[name], resumed.model[name]) for name in unbroken.model)
    assert unbroken.optimizer.keys() == resumed.optimizer.keys()
    assert all(torch.equal(unbroken.optimizer[name], resumed.optimizer[name]) for name in unbroken.optimizer)


def test_full_state_is_named_and_is_a_copy() -> None:
    model, optimizer = build()
    update(model, optimizer)
    saved = SingleProcess().full_state(model, optimizer)
    assert set(saved.model) == {"0.weight", "0.bias", "1.weight", "1.bias"}
    assert set(saved.optimizer) == {f"{n}/{k}" for n in saved.model for k in ("step", "exp_avg", "exp_avg_sq")}
    assert saved.optimizer["0.weight/step"].shape == ()
    before = saved.model["0.weight"].clone()
    update(model, optimizer)
    assert torch.equal(saved.model["0.weight"], before)
    assert saved.optimizer["0.weight/step"].item() == 1.0


def test_what_does_not_fit_is_listed_together_and_nothing_is_written() -> None:
    strategy = SingleProcess()
    model, optimizer = build()
    saved = strategy.full_state(model, optimizer)
    wrong = FullState(model=dict(saved.model), optimizer=dict(saved.optimizer))
    wrong.model["1.bias"] = torch.full((2,), 7.0)
    del wrong.model["0.weight"]
    wrong.model["head.weight"] = torch.zeros(1)
    wrong.optimizer["1.weight/exp_avg"] = torch.zeros(5, 5)
    with pytest.raises(CheckpointError) as caught:
        strategy.load_full_state(model, optimizer, wrong)
    for phrase in ("missing 0.weight", "unexpected head.weight", "1.weight/exp_avg has shape (5, 5), expected (2, 3)"):
        assert phrase in str(caught.value)
    assert torch.equal(model.state_dict()["1.bias"], saved.model["1.bias"])

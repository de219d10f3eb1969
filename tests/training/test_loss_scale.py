"""float16: the scale shows in nothing that is reported, halves on an overflow and survives a resume."""

import math

import pytest
import torch

from hornbook.distributed.precision import GROWTH_STEPS, LARGEST_SCALE, SMALLEST_SCALE, LossScale
from hornbook.objectives.objective import StepContext
from hornbook.training.state import TrainState
from hornbook.training.step import train_step
from training.rig import SAMPLES, build_learner, build_trainer, draw
from training.test_trainer import assert_equal, full

AT = StepContext(seed=5, step=0, samples_per_step=SAMPLES)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
]


def test_the_scale_halves_on_an_overflow_and_doubles_after_a_long_peace() -> None:
    scale = LossScale(8.0, good_steps=5)
    assert scale.after(overflowed=True) == LossScale(4.0, 0)
    assert scale.after(overflowed=False) == LossScale(8.0, 6)
    assert LossScale(8.0, GROWTH_STEPS - 1).after(overflowed=False) == LossScale(16.0, 0)
    assert LossScale(LARGEST_SCALE, GROWTH_STEPS - 1).after(overflowed=False) == LossScale(LARGEST_SCALE, 0)
    assert LossScale(SMALLEST_SCALE).after(overflowed=True) == LossScale(SMALLEST_SCALE, 0)


@pytest.mark.parametrize("device", DEVICES)
def test_norm_and_loss_are_those_of_the_unscaled_gradient(device: str) -> None:
    exact = train_step(build_learner(device=device), draw(0), AT, multiplier=1.0)
    learner = build_learner(device=device, precision="fp16")
    report = train_step(learner, draw(0), AT, multiplier=1.0, loss_scale=2.0**10)
    assert not report.overflowed
    # float16 keeps 11 bits: every product is off by 2^-11, and some tens of them follow one another.
    assert report.loss == pytest.approx(exact.loss, rel=2**-8)
    assert report.grad_norm == pytest.approx(exact.grad_norm, rel=2**-5)
    state = full(learner)
    assert {tensor.dtype for tensor in [*state.model.values(), *state.optimizer.values()]} == {torch.float32}


def test_a_power_of_two_changes_no_bit_of_a_float32_gradient() -> None:
    plain, scaled = build_learner(), build_learner()
    expected = train_step(plain, draw(0), AT, multiplier=1.0)
    assert train_step(scaled, draw(0), AT, multiplier=1.0, loss_scale=2.0**12) == expected
    assert_equal(full(scaled), full(plain))


def test_overflows_halve_the_scale_and_touch_nothing_else() -> None:
    learner, state = build_learner(precision="fp16"), TrainState(loss_scale=LARGEST_SCALE)
    before = full(learner)
    train_step(learner, draw(0), AT, multiplier=1.0, loss_scale=LARGEST_SCALE)
    assert_equal(full(learner), before)
    build_trainer(learner, steps=12, state=state).run()
    assert state.overflows > 0
    assert state.skipped == 0
    assert state.loss_scale == LARGEST_SCALE / 2**state.overflows
    assert state.updates == 12 - state.overflows


def test_an_overflow_at_the_smallest_scale_is_not_finite() -> None:
    learner = build_learner(precision="fp16")
    learner.model.norm.weight.register_hook(lambda gradient: gradient * math.inf)
    report = train_step(learner, draw(0), AT, multiplier=1.0, loss_scale=2.0)
    assert (report.overflowed, report.skipped) == (True, False)
    report = train_step(learner, draw(0), AT, multiplier=1.0, loss_scale=SMALLEST_SCALE)
    assert (report.overflowed, report.skipped) == (False, True)
    state = TrainState(loss_scale=2.0)
    build_trainer(learner, steps=4, state=state).run()
    assert (state.overflows, state.skipped_for, state.skipped_in_a_row) == (1, {"gradient": 3}, 3)


def test_a_loss_that_is_not_finite_is_no_fault_of_the_scale() -> None:
    learner = build_learner(precision="fp16")
    learner.model.norm.register_forward_hook(lambda module, inputs, output: output * math.nan)
    report = train_step(learner, draw(0), AT, multiplier=1.0, loss_scale=2.0**16)
    assert (report.overflowed, report.skipped) == (False, True)


def test_a_resumed_run_has_the_same_scales() -> None:
    unbroken = build_learner(precision="fp16")
    whole = build_trainer(unbroken, steps=8, state=TrainState(loss_scale=LARGEST_SCALE))
    whole.run()
    first = build_learner(precision="fp16")
    part = build_trainer(first, steps=3, state=TrainState(loss_scale=LARGEST_SCALE))
    part.run()
    second = build_learner(precision="fp16", seed=9)
    second.strategy.load_full_state(second.model, second.optimizer, full(first))
    rest = build_trainer(second, steps=8, state=TrainState.from_json(part.state.to_json()))
    rest.run()
    assert rest.state == whole.state
    assert_equal(full(second), full(unbroken))


def test_a_run_in_float16_starts_with_a_scale_and_others_have_none() -> None:
    assert build_trainer(build_learner(precision="fp16"), steps=1).state.loss_scale == LossScale().value
    assert build_trainer(build_learner(precision="bf16"), steps=1).state.loss_scale is None

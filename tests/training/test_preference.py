"""Preferences in whole steps: any cut of a step, a broken run, a validation."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from hornbook.data.batch import PreferenceBatch
from hornbook.objectives.objective import StepContext
from hornbook.training.finite import FiniteWatch
from hornbook.training.replay import _draws
from hornbook.training.step import Learner, train_step
from hornbook.training.validation import Validation
from training.preference_rig import LIKELIHOODS, PAIRS_PER_STEP, Pairs, Source, learner_of, objective_of
from training.rig import build_learner, build_trainer

AT = StepContext(seed=5, step=0, samples_per_step=PAIRS_PER_STEP)
BOTH = pytest.mark.parametrize("likelihood", LIKELIHOODS)


def weights(learner: Learner[PreferenceBatch]) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.model.parameters()])


def gradients(learner: Learner[PreferenceBatch]) -> torch.Tensor:
    state = learner.optimizer.state
    return torch.cat([state[parameter]["exp_avg"].flatten() for parameter in learner.model.parameters()])


@BOTH
@pytest.mark.parametrize("rows", [1, 2])
def test_every_cut_of_a_step_gives_the_same_update(likelihood, rows):
    """Micro-batches are padded to lengths of their own."""
    whole, parts = (learner_of(likelihood, dtype=torch.float64) for _ in range(2))
    for step in range(3):
        at = replace(AT, step=step)
        report = train_step(whole, Source(PAIRS_PER_STEP).step(step), at, multiplier=1.0)
        other = train_step(parts, Source(rows).step(step), at, multiplier=1.0)
        assert report.trained_tokens == other.trained_tokens == PAIRS_PER_STEP
        # Sums of some 100 float64 numbers in another order; by a padded row more or less, matrices of other shapes.
        assert other.loss == pytest.approx(report.loss, rel=1e-12)
        assert other.grad_norm == pytest.approx(report.grad_norm, rel=1e-11)
        torch.testing.assert_close(gradients(parts), gradients(whole), rtol=1e-9, atol=1e-13)
        for name, (total, weight) in report.metrics.items():
            assert other.metrics[name] == pytest.approx((total, weight), rel=1e-9), name


@BOTH
def test_a_broken_run_goes_on_to_the_same_weights(likelihood):
    def run(learner, steps, **changes):
        source = {"batches": Source(), "samples_per_step": PAIRS_PER_STEP}
        return build_trainer(learner, steps=steps, **source, **changes).run().state

    unbroken, before, after = (learner_of(likelihood, seed=seed) for seed in (0, 0, 99))
    run(unbroken, 6)
    state = run(before, 3)
    saved = before.strategy.full_state(before.model, before.optimizer)
    after.strategy.load_full_state(after.model, after.optimizer, saved)
    run(after, 6, state=state)
    assert torch.equal(weights(after), weights(unbroken))
    assert not torch.equal(weights(unbroken), weights(learner_of(likelihood)))


@BOTH
def test_validation_says_what_a_pair_costs_and_repeats(likelihood):
    learner = learner_of(likelihood, dtype=torch.float64)
    batches = [Pairs().batch(part, part) for part in (range(3), range(3, 7), range(7, 10))]
    values = Validation(learner, batches, seed=1)()
    assert values == Validation(learner, batches, seed=1)()
    again = Validation(learner, [piece for batch in batches for piece in batch.cut(1)], seed=1)()
    assert again == pytest.approx(values, rel=1e-6)
    expected = {"loss", *(f"rewards/{name}" for name in ("chosen", "rejected", "accuracy", "margin"))}
    expected |= {"logps/chosen", "logps/rejected"}
    assert values.keys() == expected | ({"rewards/score_variance"} if likelihood == "masked_diffusion" else set())
    assert 0.0 <= values["rewards/accuracy"] <= 1.0
    margin = values["rewards/chosen"] - values["rewards/rejected"]
    assert values["rewards/margin"] == pytest.approx(margin, rel=1e-6, abs=1e-9)
    shown = Validation(learner, batches, seed=1, parts=["a", "b", "a"])()
    assert {"loss/a", "loss/b"} <= shown.keys()


def test_what_is_not_finite_is_told_by_pair_and_not_by_mask():
    learner, unused = learner_of("masked_diffusion"), 0
    (batch, *_) = Source(4).step(0)
    batch.chosen.tokens[batch.chosen.tokens == unused] = 1  # padding
    batch.chosen.tokens[2, 0] = unused
    with torch.no_grad():
        learner.model.token_embedding.weight[unused] = math.nan
    watch = FiniteWatch(learner.model, draws=_draws(learner.objective))
    with watch.watching():
        learner.objective(learner.model, learner.objective.prepare(batch, AT))
    assert watch.forward is not None
    assert (watch.forward.name, watch.forward.rows) == ("token_embedding", (2,))


GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@BOTH
def test_in_any_format_the_first_margin_is_nothing_and_the_next_is_not(likelihood, precision, device):
    """A reference of the same weights takes the same ways through products of 16 bits, and back from them."""
    learner = build_learner(precision=precision, device=device, learning_rate=1e-2)
    learner = replace(learner, objective=objective_of(likelihood, copy.deepcopy(learner.model)))
    reports = [train_step(learner, Source().step(0), AT, multiplier=1.0) for _ in range(2)]
    assert reports[0].loss == pytest.approx(math.log(2), abs=1e-6)
    assert reports[0].metrics["rewards/margin"] == (0.0, PAIRS_PER_STEP)
    assert reports[1].loss < reports[0].loss - 0.01
    assert reports[0].grad_norm > 0.01


@pytest.mark.medium
@BOTH
def test_it_learns_to_prefer(likelihood):
    learner, found = learner_of(likelihood, learning_rate=1e-2), []
    learner = replace(learner, objective=objective_of(likelihood, copy.deepcopy(learner.model)))
    for step in range(30):
        report = train_step(learner, Source().step(step), replace(AT, step=step), multiplier=1.0)
        found.append({name: total / weight for name, (total, weight) in report.metrics.items()})
    assert found[0]["rewards/accuracy"] == 0.5
    assert found[0]["rewards/margin"] == 0.0
    assert found[-1]["rewards/accuracy"] == 1.0
    assert found[-1]["rewards/margin"] > 1.0

"""Each loss against its closed form: values, gradients, and what it is where policy and reference are one."""

import math

import pytest
import torch

from hornbook.config.objective import PreferenceConfig
from hornbook.objectives.preference_losses import preference_loss
from oracles.preference import loss

MARGINS = [-30.0, -4.0, -0.1, 0.0, 0.3, 5.0, 9.99, 40.0]
KINDS = [("sigmoid", 0.0), ("sigmoid", 0.2), ("robust", 0.0), ("robust", 0.3), ("ipo", 0.0), ("hinge", 0.0)]
BETAS = [0.1, 0.5]


def settings_of(kind: str, beta: float, flipped: float) -> PreferenceConfig:
    return PreferenceConfig(loss=kind, beta=beta, label_smoothing=flipped)


def slope(kind: str, margin: float, beta: float, flipped: float) -> float:
    """The derivative by the margin, by hand."""
    sigmoid = 1 / (1 + math.exp(-beta * margin))
    match kind:
        case "sigmoid":
            return beta * (sigmoid - (1 - flipped))
        case "robust":
            return beta * ((1 - flipped) * (sigmoid - 1) - flipped * sigmoid) / (1 - 2 * flipped)
        case "ipo":
            return 2 * margin - 1 / beta
        case _:
            return -beta if beta * margin < 1 else 0.0


@pytest.mark.parametrize(("kind", "flipped"), KINDS)
@pytest.mark.parametrize("beta", BETAS)
def test_values_and_gradients_are_those_of_the_closed_form(kind, flipped, beta):
    margin = torch.tensor(MARGINS, dtype=torch.float64, requires_grad=True)
    found = preference_loss(margin, settings_of(kind, beta, flipped))
    # Both are a handful of float64 operations on numbers of up to 1,000; small losses are differences of such.
    assert found.tolist() == pytest.approx([loss(kind, m, beta, flipped) for m in MARGINS], rel=1e-13, abs=1e-15)
    found.sum().backward()
    assert margin.grad is not None
    assert margin.grad.tolist() == pytest.approx([slope(kind, m, beta, flipped) for m in MARGINS], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("kind", "flipped"), KINDS)
@pytest.mark.parametrize("beta", BETAS)
def test_without_a_margin(kind, flipped, beta):
    nothing = preference_loss(torch.zeros(1), settings_of(kind, beta, flipped)).item()
    expected = {"ipo": 1 / (4 * beta**2), "hinge": 1.0}.get(kind, 0.693147181)
    assert nothing == pytest.approx(expected, rel=1e-6)


def test_robust_has_under_flipped_labels_the_mean_that_sigmoid_has_under_right_ones():
    """Chowdhury et al., arXiv:2403.00409, lemma 3.1."""
    margin, flipped = torch.tensor(MARGINS, dtype=torch.float64), 0.3
    robust, plain = (settings_of(kind, 0.5, rate) for kind, rate in (("robust", flipped), ("sigmoid", 0.0)))
    mean = (1 - flipped) * preference_loss(margin, robust) + flipped * preference_loss(-margin, robust)
    torch.testing.assert_close(mean, preference_loss(margin, plain), rtol=1e-12, atol=1e-14)


def test_smoothing_pulls_back_what_is_too_sure():
    """The conservative loss is least where the policy is as sure as labels are reliable: sigmoid(beta m) = 1 - e."""
    best = math.log(0.8 / 0.2) / 0.5
    margin = torch.tensor([best], dtype=torch.float64, requires_grad=True)
    preference_loss(margin, settings_of("sigmoid", 0.5, 0.2)).sum().backward()
    assert margin.grad is not None
    assert margin.grad.item() == pytest.approx(0.0, abs=1e-15)


def test_far_from_zero_nothing_overflows():
    margin = torch.tensor([-1e4, 1e4], requires_grad=True)
    for kind, flipped in KINDS:
        found = preference_loss(margin, settings_of(kind, 1.0, flipped))
        assert found.isfinite().all()
        found.sum().backward()
    assert margin.grad is not None
    assert margin.grad.isfinite().all()

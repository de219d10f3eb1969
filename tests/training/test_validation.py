"""Validation measures the plain nll by token and leaves no trace."""

import math

import pytest
import torch
from torch import nn

from hornbook.config.objective import NextTokenConfig
from hornbook.training.validation import Validation, evaluation_mode
from training.rig import build_learner, draw


def test_it_is_the_unsmoothed_nll_by_token() -> None:
    learner = build_learner(
        dtype=torch.float64, dropout=0.3, objective=NextTokenConfig(label_smoothing=0.2, z_loss=1.0)
    )
    batches = [*draw(0), *draw(1)]
    values = Validation(learner, batches, seed=1)()
    learner.model.eval()
    nll, count, width = 0.0, 0, 0
    for batch in batches:
        counted, targets = batch.loss_mask[:, 1:], batch.tokens[:, 1:]
        logits = learner.model(batch.tokens[:, :-1])
        nll += nn.functional.cross_entropy(logits[counted], targets[counted], reduction="sum").item()
        count, width = count + int(counted.sum()), width + int(targets[counted].sum())
    assert values["loss"] == pytest.approx(nll / count, rel=1e-12)
    assert values["perplexity"] == pytest.approx(math.exp(nll / count), rel=1e-12)
    assert values["bits_per_byte"] == pytest.approx(nll / (math.log(2) * width), rel=1e-6)  # bytes are counted in fp32


def test_it_repeats_and_leaves_mode_and_gradients_alone() -> None:
    learner = build_learner(dropout=0.5)
    validate = Validation(learner, draw(0), seed=1)
    learner.model.train()
    assert validate() == validate()
    assert learner.model.training
    assert all(parameter.grad is None for parameter in learner.model.parameters())
    learner.model.eval()
    validate()
    assert not learner.model.training


def test_the_mode_is_restored_after_an_error() -> None:
    model = nn.Linear(1, 1).train()

    def fail() -> None:
        with evaluation_mode(model):
            assert not model.training
            assert not torch.is_grad_enabled()
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail()
    assert model.training
    assert torch.is_grad_enabled()

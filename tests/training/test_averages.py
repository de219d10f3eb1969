"""Averaged weights are what is measured and saved; training goes on from its own, bit for bit."""

from pathlib import Path

import pytest
import torch

from hornbook.checkpoint.load import load_checkpoint, load_model
from hornbook.config.optim import (
    AdamWConfig,
    LionConfig,
    MuonConfig,
    NAdamWConfig,
    OptimConfig,
    ScheduleFreeAdamWConfig,
    SgdConfig,
)
from hornbook.config.train import CheckpointConfig
from hornbook.optim.averaging import averaged, resume_training, show_averages
from hornbook.optim.schedule_free import ScheduleFreeAdamW
from hornbook.training.saving import Saver, restore
from hornbook.training.state import TrainState
from hornbook.training.validation import Validation
from training.rig import build_learner, build_trainer, draw
from training.test_trainer import assert_equal, full

AVERAGING = [AdamWConfig(ema_decay=0.9), ScheduleFreeAdamWConfig(), MuonConfig(ema_decay=0.9)]
EVERY = [*AVERAGING, MuonConfig(), NAdamWConfig(), LionConfig(), SgdConfig(learning_rate=0.01)]


def saver(learner, folder: Path) -> Saver:
    return Saver(directory=folder, learner=learner, tokenizer=None, objective={}, keep=CheckpointConfig())


@pytest.mark.parametrize("config", EVERY, ids=lambda config: config.kind)
def test_ten_steps_equal_five_saved_and_five_more(config: OptimConfig, tmp_path: Path) -> None:
    unbroken = build_learner(optim=config, dropout=0.1)
    build_trainer(unbroken, steps=10).run()

    first = build_learner(optim=config, dropout=0.1)
    trainer = build_trainer(first, steps=5)
    trainer.run()
    Validation(first, draw(99), seed=3)()
    path = saver(first, tmp_path)(trainer.state, kind="full", best=False)
    second = build_learner(optim=config, dropout=0.1, seed=1)
    state = restore(second, load_checkpoint(path))
    assert_equal(full(second), full(first))
    Validation(second, draw(99), seed=3)()
    build_trainer(second, steps=10, state=state).run()
    assert_equal(full(second), full(unbroken))


@pytest.mark.parametrize("config", AVERAGING, ids=lambda config: config.kind)
def test_what_is_measured_is_what_is_saved(config: OptimConfig, tmp_path: Path) -> None:
    learner = build_learner(optim=config)
    build_trainer(learner, steps=6).run()
    trained = full(learner)
    measured = Validation(learner, draw(99), seed=3)()["loss"]
    path = saver(learner, tmp_path)(TrainState(step=6), kind="light", best=False)
    assert_equal(full(learner), trained)

    model, _, _ = load_model(path)
    assert any(not torch.equal(weight, trained.model[name]) for name, weight in model.state_dict().items())
    other = build_learner(optim=AdamWConfig())
    other.model.load_state_dict(model.state_dict())
    assert Validation(other, draw(99), seed=3)()["loss"] == measured


@pytest.mark.parametrize("config", AVERAGING, ids=lambda config: config.kind)
def test_an_error_while_averages_are_shown_puts_the_trained_weights_back(config: OptimConfig) -> None:
    learner = build_learner(optim=config)
    build_trainer(learner, steps=3).run()
    trained = full(learner)
    with pytest.raises(OSError, match="disk"), averaged(learner.optimizer), averaged(learner.optimizer):
        raise OSError("disk")
    assert_equal(full(learner), trained)


@pytest.mark.parametrize("config", AVERAGING, ids=lambda config: config.kind)
def test_after_an_error_nobody_waits_for_the_other_processes(config: OptimConfig) -> None:
    learner, shared = build_learner(optim=config), []
    with averaged(learner.optimizer, lambda: shared.append("share")):
        pass
    assert len(shared) == 2
    with pytest.raises(OSError, match="disk"), averaged(learner.optimizer, lambda: shared.append("share")):
        raise OSError("disk")
    assert len(shared) == 3


def test_memory_that_ends_while_averages_are_put_in_leaves_the_trained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = build_learner(optim=ScheduleFreeAdamWConfig())
    build_trainer(learner, steps=3).run()
    trained, calls = full(learner), []
    average = ScheduleFreeAdamW.average_

    def fail_late(rule: ScheduleFreeAdamW, y: torch.Tensor, z: torch.Tensor) -> None:
        calls.append(y)
        if len(calls) == 3:
            raise MemoryError
        average(rule, y, z)

    monkeypatch.setattr(ScheduleFreeAdamW, "average_", fail_late)
    with pytest.raises(MemoryError), averaged(learner.optimizer):
        pass
    assert_equal(full(learner), trained)


def test_an_update_of_averages_is_a_mistake() -> None:
    learner = build_learner(optim=ScheduleFreeAdamWConfig())
    build_trainer(learner, steps=2).run()
    show_averages(learner.optimizer)
    with pytest.raises(AssertionError, match="averages are shown"):
        build_trainer(learner, steps=1).run()
    learner.optimizer.zero_grad()
    resume_training(learner.optimizer)
    build_trainer(learner, steps=1).run()


@pytest.mark.parametrize("config", [SgdConfig(), AdamWConfig()], ids=lambda config: config.kind)
def test_without_averages_nothing_is_touched(config: OptimConfig) -> None:
    learner = build_learner(optim=config)
    before = full(learner)
    with averaged(learner.optimizer):
        assert_equal(full(learner), before)

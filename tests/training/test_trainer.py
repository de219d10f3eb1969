"""The loop: exact resume, events at their own steps, limits, signals and lost runs."""

import math
import os
import signal

import pytest
import torch

from hornbook.config.train import TrainConfig
from hornbook.data.batch import TokenBatch
from hornbook.distributed.full_state import FullState
from hornbook.training.hooks import Moment, Validate
from hornbook.training.state import TrainState
from hornbook.training.step import Learner
from hornbook.training.trainer import TrainResult
from training.rig import ROWS, TOKENS, Clock, Listener, Recorder, Source, build_learner, build_trainer


def full(learner: Learner[TokenBatch]) -> FullState:
    return learner.strategy.full_state(learner.model, learner.optimizer)


def assert_equal(left: FullState, right: FullState) -> None:
    for mine, other in ((left.model, right.model), (left.optimizer, right.optimizer)):
        assert mine.keys() == other.keys()
        assert [name for name in mine if not torch.equal(mine[name], other[name])] == []


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(dropout: float, stop_at: int) -> None:
    unbroken = build_learner(dropout=dropout)
    build_trainer(unbroken, steps=6).run()

    before = build_learner(dropout=dropout)
    first = build_trainer(before, steps=stop_at)
    first.run()
    saved, state = full(before), first.state.to_json()

    after = build_learner(dropout=dropout, seed=99)  # other weights, to be replaced by the saved ones
    after.strategy.load_full_state(after.model, after.optimizer, saved)
    torch.manual_seed(123)
    second = build_trainer(after, steps=6, state=TrainState.from_json(state))
    second.run()
    assert_equal(full(after), full(unbroken))
    assert (second.state.step, second.state.tokens_seen) == (6, 6 * TOKENS)


def test_two_loader_threads_equal_one() -> None:
    one, two = build_learner(), build_learner()
    build_trainer(one, steps=4, loader_threads=1, prefetch=1).run()
    build_trainer(two, steps=4, loader_threads=2, prefetch=3).run()
    assert_equal(full(one), full(two))


def test_it_runs_every_step_once_and_hooks_see_each_in_order() -> None:
    calls: list[tuple[str, int]] = []
    recorder = Recorder()
    trainer = build_trainer(
        build_learner(),
        steps=3,
        hooks=[lambda at: calls.append(("a", at.step)), lambda at: calls.append(("b", at.step)), recorder],
    )
    result = trainer.run()
    assert calls == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3)]
    assert [moment.stop for moment in recorder.moments] == [None, None, "finished"]
    assert result.stop_reason == "finished"
    assert recorder.moments[-1].seconds_left == 0.0
    assert [moment.report.learning_rate for moment in recorder.moments] == pytest.approx([1e-2, 1e-2 / 2, 1e-2 / 3])


def test_a_finished_run_has_nothing_to_do() -> None:
    learner, recorder = build_learner(), Recorder()
    before = full(learner)
    result = build_trainer(learner, steps=3, state=TrainState(step=3), hooks=[recorder]).run()
    assert result.stop_reason == "finished"
    assert recorder.moments == []
    assert_equal(full(learner), before)


def test_time_limit_stops_after_a_whole_step() -> None:
    config = TrainConfig(steps=1000, tokens_per_step=TOKENS, micro_batch_size=ROWS, max_minutes=1.0)
    clock, recorder = Clock(), Recorder()
    hooks = [recorder, lambda at: clock.spend(25.0)]
    result = build_trainer(build_learner(), steps=1000, config=config, hooks=hooks, clock=clock).run()
    assert (result.stop_reason, result.state.step, result.seconds) == ("max_minutes", 4, 100.0)
    assert [moment.stop for moment in recorder.moments] == [None, None, None, "max_minutes"]
    assert [moment.seconds_left for moment in recorder.moments] == [0.0, 35.0, 10.0, 0.0]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no SIGUSR1")
@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_signal_ends_the_run_after_the_current_step(name: str) -> None:
    number = signal.Signals[name]
    before = signal.getsignal(number)

    def kick(at: Moment) -> None:
        if at.step == 2:
            os.kill(os.getpid(), number)

    recorder = Recorder()
    result = build_trainer(build_learner(), steps=10, hooks=[kick, recorder]).run()
    # The signal comes between steps 2 and 3, so step 3 is the current one.
    assert result.stop_reason == "preempted"
    assert result.state.step == 3
    assert [moment.stop for moment in recorder.moments] == [None, None, "preempted"]
    assert signal.getsignal(number) is before


def poison(learner: Learner[TokenBatch], bad: set[int], state: TrainState) -> None:
    """Multiply the last hidden states by NaN at the steps `bad`."""

    def hook(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
        return output * (math.nan if state.step in bad else 1.0)

    learner.model.norm.register_forward_hook(hook)


def test_bad_steps_are_left_out_and_counted_and_the_schedule_waits() -> None:
    learner, state, recorder = build_learner(), TrainState(), Recorder()
    poison(learner, {1, 2}, state)
    build_trainer(learner, steps=5, state=state, hooks=[recorder]).run()
    assert (state.step, state.skipped, state.skipped_in_a_row, state.updates) == (5, 2, 0, 3)
    assert [moment.report.skipped for moment in recorder.moments] == [False, True, True, False, False]
    rates = [moment.report.learning_rate for moment in recorder.moments if not moment.report.skipped]
    assert rates == pytest.approx([1e-2, 1e-2 / 2, 1e-2 / 3])
    assert all(parameter.isfinite().all() for parameter in learner.model.parameters())
    assert {learner.optimizer.state[p]["step"].item() for p in learner.model.parameters()} == {3.0}


def test_an_error_while_loading_reaches_the_caller() -> None:
    class Broken(Source):
        def step(self, step: int) -> list[TokenBatch]:
            if step == 2:
                raise OSError("shard gone")
            return super().step(step)

    with pytest.raises(OSError, match="shard gone"):
        build_trainer(build_learner(), steps=5, batches=Broken()).run()


def patient(losses: list[float], **changes: object) -> tuple[TrainResult, list[Moment]]:
    """Train with a validation every second step that measures these losses, and patience 2."""
    measured, recorder = iter(losses), Recorder()
    validate = Validate(lambda: {"loss": next(measured)}, Listener(), every=2, patience=2)
    config = TrainConfig(steps=40, tokens_per_step=TOKENS, micro_batch_size=ROWS, patience=2)
    trainer = build_trainer(build_learner(), steps=40, config=config, hooks=[validate, recorder], **changes)
    return trainer.run(), recorder.moments


def test_patience_ends_a_run_that_no_longer_gets_better() -> None:
    result, moments = patient([3.0, 2.0, 2.5, 1.5, 1.5, math.nan])
    assert (result.stop_reason, result.state.step) == ("early_stopped", 12)
    assert [moment.stop for moment in moments] == [None] * 11 + ["early_stopped"]
    assert moments[-1].ends_well
    assert (result.state.best_loss, result.state.best_step) == (1.5, 8)


def test_patience_survives_a_resume() -> None:
    state = TrainState(step=10, best_loss=1.5, best_step=8, best_due_loss=1.5, validations_since_best=1)
    result, _ = patient([1.6], state=TrainState.from_json(state.to_json()))
    assert (result.stop_reason, result.state.step) == ("early_stopped", 12)


def test_a_run_that_stopped_early_goes_on_only_with_more_patience() -> None:
    state = TrainState(step=12, best_loss=1.5, best_step=8, validations_since_best=2)
    result, moments = patient([], state=TrainState.from_json(state.to_json()))
    assert (result.stop_reason, result.state.step, moments) == ("early_stopped", 12, [])
    config = TrainConfig(steps=14, tokens_per_step=TOKENS, micro_batch_size=ROWS, patience=3)
    more = build_trainer(build_learner(), steps=14, config=config, state=state).run()
    assert (more.stop_reason, more.state.step) == ("finished", 14)

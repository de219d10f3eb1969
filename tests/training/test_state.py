"""The few numbers of a run survive JSON, and what is not theirs is refused."""

import json
import math

import pytest

from hornbook.errors import CheckpointError
from hornbook.training.state import TrainState


def test_json_round_trip() -> None:
    state = TrainState(
        step=7,
        tokens_seen=700,
        skipped_for={"loss": 1, "gradient_spike": 1},
        skipped_in_a_row=1,
        recent_losses=[1 / 3, 5e-324],
        recent_grad_norms=[0.1, 2.0],
        best_loss=0.1 + 0.2,
        best_step=5,
        best_due_loss=0.4,
        validations_since_best=2,
    )
    assert TrainState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert TrainState.from_json(TrainState().to_json()) == TrainState()


def test_misfits_are_listed_together() -> None:
    values = TrainState().to_json() | {"epoch": 3, "skipped_in_a_row": "none", "skipped_for": {"mood": 1}}
    del values["step"]
    with pytest.raises(CheckpointError, match=r"missing step; .*skipped_for.mood.*skipped_in_a_row.*integer.*epoch"):
        TrainState.from_json(values)


def test_counters_that_an_older_version_did_not_keep_begin_at_nothing() -> None:
    assert TrainState.from_json({"step": 3, "tokens_seen": 30}) == TrainState(step=3, tokens_seen=30)


@pytest.mark.parametrize("value", [None, True, [1], 1.5])
def test_counts_must_be_whole_numbers(value: object) -> None:
    with pytest.raises(CheckpointError, match="tokens_seen"):
        TrainState.from_json(TrainState().to_json() | {"tokens_seen": value})


def test_skipped_steps_pass_data_but_not_optimizer_time() -> None:
    state = TrainState()
    for reason in (None, "loss", "gradient", "loss", None):
        state.advance(tokens=10, skip=reason)
    assert (state.step, state.tokens_seen, state.skipped, state.updates) == (5, 50, 3, 2)
    assert state.skipped_for == {"loss": 2, "gradient": 1}
    assert state.skipped_in_a_row == 0


def test_best_is_the_first_lowest() -> None:
    state = TrainState()
    seen = []
    for step, loss in enumerate([math.nan, 3.0, 2.0, 2.0, math.inf, -math.inf, 1.5]):
        state.step = step
        seen.append(state.record_validation(loss))
    assert seen == [False, True, True, False, False, False, True]
    assert (state.best_loss, state.best_step) == (1.5, 6)


def test_due_validations_without_a_new_best_are_counted() -> None:
    state = TrainState()
    counts = []
    for loss, due in [(3.0, True), (3.0, True), (math.nan, True), (3.5, False), (2.0, False), (2.5, True)]:
        state.record_validation(loss, due=due)
        counts.append(state.validations_since_best)
    assert counts == [0, 1, 2, 2, 2, 0]


def test_the_window_keeps_the_last_ones() -> None:
    state = TrainState()
    for value in range(5):
        state.remember(loss=float(value), grad_norm=10.0 * value, window=3)
    assert (state.recent_losses, state.recent_grad_norms) == ([2.0, 3.0, 4.0], [20.0, 30.0, 40.0])


def test_a_validation_at_a_pause_changes_nothing_for_patience() -> None:
    unbroken, paused = TrainState(), TrainState()
    for state in (unbroken, paused):
        state.record_validation(2.0)
    assert paused.record_validation(1.5, due=False)  # the best weights so far, all the same
    for loss in (1.9, 1.8, 1.85):
        for state in (unbroken, paused):
            state.record_validation(loss)
        assert paused.validations_since_best == unbroken.validations_since_best
    assert (paused.best_loss, unbroken.best_loss) == (1.5, 1.8)

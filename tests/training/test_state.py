"""The few numbers of a run survive JSON, and what is not theirs is refused."""

import json
import math

import pytest

from hornbook.errors import CheckpointError
from hornbook.training.state import TrainState


def test_json_round_trip() -> None:
    state = TrainState(step=7, tokens_seen=700, skipped=2, skipped_in_a_row=1, best_loss=0.1 + 0.2, best_step=5)
    assert TrainState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert TrainState.from_json(TrainState().to_json()) == TrainState()


def test_misfits_are_listed_together() -> None:
    values = TrainState().to_json() | {"epoch": 3, "skipped": "none"}
    del values["step"]
    with pytest.raises(CheckpointError, match="missing step; unknown epoch; skipped = 'none' is not a count"):
        TrainState.from_json(values)


@pytest.mark.parametrize("value", [None, True, [1], 1.5])
def test_counts_must_be_whole_numbers(value: object) -> None:
    with pytest.raises(CheckpointError, match="tokens_seen"):
        TrainState.from_json(TrainState().to_json() | {"tokens_seen": value})


def test_skipped_steps_pass_data_but_not_optimizer_time() -> None:
    state = TrainState()
    for skipped in (False, True, True, False):
        state.advance(tokens=10, skipped=skipped)
    assert (state.step, state.tokens_seen, state.skipped, state.updates) == (4, 40, 2, 2)
    assert state.skipped_in_a_row == 0


def test_best_is_the_first_lowest() -> None:
    state = TrainState()
    seen = []
    for step, loss in enumerate([math.nan, 3.0, 2.0, 2.0, math.inf, -math.inf, 1.5]):
        state.step = step
        seen.append(state.record_validation(loss))
    assert seen == [False, True, True, False, False, False, True]
    assert (state.best_loss, state.best_step) == (1.5, 6)

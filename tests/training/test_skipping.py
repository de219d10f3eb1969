"""What is left out: what is not finite, and spikes by the sigma rule; what is remembered of it; when a run is lost."""

import json
import math
import statistics
from pathlib import Path

import pytest
import torch

from hornbook.config.train import TrainConfig
from hornbook.data.loader import RowOrigin
from hornbook.errors import TrainingError
from hornbook.storage.run_dir import RunDir
from hornbook.training.skip_record import RecordSkipped
from hornbook.training.skipping import SpikeLimits, spike_limits, why_skipped
from hornbook.training.state import TrainState
from hornbook.training.step import Learner
from hornbook.training.trainer import Trainer
from training.rig import ROWS, TOKENS, Listener, Recorder, build_learner, build_trainer

STILL = {"schedule": lambda update: 1e-6}


def config(**changes: object) -> TrainConfig:
    given = {"steps": 50, "tokens_per_step": TOKENS, "micro_batch_size": ROWS, **changes}
    return TrainConfig.model_validate(given)


def scale(learner: Learner, factors: dict[int, float], state: TrainState) -> None:
    """Multiply the last hidden states at these steps, counted from 0."""
    learner.model.norm.register_forward_hook(lambda module, inputs, output: output * factors.get(state.step, 1.0))


def recorded(tmp_path: Path, learner: Learner, state: TrainState, settings: TrainConfig) -> tuple[Trainer, Listener]:
    """A trainer that records what it leaves out in a run directory."""
    listener, run = Listener(), RunDir.create(tmp_path, "run")
    rows = lambda step: [  # noqa: E731
        RowOrigin(micro_batch=0, row=0, sample=4 * step, window=9, shard="train-00000.bin", token=7, document=3)
    ]
    hook = RecordSkipped(listener, run=run, rows=rows, config=settings)
    return build_trainer(learner, steps=settings.steps, state=state, hooks=[hook], config=settings, **STILL), listener


def test_limits_are_mean_plus_sigma_standard_deviations_of_each_window() -> None:
    losses, norms = [1.0, 2.0, 4.0], [0.5, 0.25, 0.75]
    limits = spike_limits(losses, norms, sigma=3.0, window=6)
    assert limits.loss == pytest.approx(statistics.fmean(losses) + 3.0 * statistics.stdev(losses), rel=1e-15)
    assert limits.grad_norm == pytest.approx(statistics.fmean(norms) + 3.0 * statistics.stdev(norms), rel=1e-15)


@pytest.mark.parametrize(("n_steps", "window"), [(0, 2), (1, 2), (2, 5), (63, 128)])
def test_nothing_is_a_spike_before_the_window_is_half_full(n_steps: int, window: int) -> None:
    assert spike_limits([1.0] * n_steps, [1.0] * n_steps, sigma=6.0, window=window) == SpikeLimits()


def test_without_sigma_nothing_is_a_spike() -> None:
    assert spike_limits([1.0, 2.0], [1.0, 2.0], sigma=None, window=2) == SpikeLimits()


@pytest.mark.parametrize(
    ("loss", "grad_norm", "expected"),
    [
        (1.0, 1.0, None),
        (2.0, 3.0, None),
        (math.nan, 1.0, "loss"),
        (math.inf, math.nan, "loss"),
        (1.0, math.nan, "gradient"),
        (9.0, math.inf, "gradient"),
        (2.1, 1.0, "loss_spike"),
        (1.0, 3.1, "gradient_spike"),
    ],
)
def test_reasons(loss: float, grad_norm: float, expected: str | None) -> None:
    assert why_skipped(loss, grad_norm, SpikeLimits(loss=2.0, grad_norm=3.0)) == expected


def test_a_spike_is_left_out_and_does_not_enter_the_window() -> None:
    learner, state, recorder = build_learner(clip=None), TrainState(), Recorder()
    scale(learner, {8: 40.0, 9: 40.0}, state)
    settings = config(steps=12, spike_sigma=6.0, spike_window=8)
    build_trainer(learner, steps=12, state=state, hooks=[recorder], config=settings, **STILL).run()
    assert [m.step for m in recorder.moments if m.report.skipped] == [9, 10]
    assert {m.report.skip_reason for m in recorder.moments} == {None, "loss_spike"}
    kept = [m.report.loss for m in recorder.moments if not m.report.skipped]
    assert state.recent_losses == kept[-8:]
    assert state.updates == 10


def test_the_window_survives_a_resume() -> None:
    def run(first_ends: int | None) -> tuple[list[float], dict[str, int]]:
        learner, state = build_learner(clip=None), TrainState()
        settings = config(steps=14, spike_sigma=6.0, spike_window=8)
        scale(learner, {9: 40.0}, state)
        if first_ends:
            half = config(steps=first_ends, spike_sigma=6.0, spike_window=8)
            build_trainer(learner, steps=first_ends, state=state, config=half, **STILL).run()
            saved = TrainState.from_json(json.loads(json.dumps(state.to_json())))
            vars(state).update(vars(saved))
        build_trainer(learner, steps=14, state=state, config=settings, **STILL).run()
        return state.recent_losses, state.skipped_for

    assert run(None) == run(7) == run(9)
    assert run(None)[1] == {"loss_spike": 1}


def test_each_is_recorded_with_its_rows_and_its_checkpoint(tmp_path: Path) -> None:
    learner, state = build_learner(), TrainState(full_checkpoint_step=2)
    scale(learner, {3: math.nan}, state)
    trainer, listener = recorded(tmp_path, learner, state, config(steps=6))
    trainer.run()
    (line,) = (tmp_path / "run/skipped.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert record.pop("time") > 1e9
    row = {"micro_batch": 0, "row": 0, "sample": 12, "window": 9, "shard": "train-00000.bin", "token": 7, "document": 3}
    checkpoint = str(tmp_path / "run/checkpoints/step-00000002")
    told = {"reason": "loss", "loss": None, "grad_norm": None, "in_a_row": 1, "checkpoint_path": checkpoint}
    assert record == {"step": 4, **told, "limits": {}, "rows": [row]}
    ((event, step, values),) = listener.events
    assert (event, step) == ("skipped", 4)
    assert values["skipped/reason"] == "loss"
    assert (values["skipped/first_sample"], values["skipped/last_sample"]) == (12, 12)


def test_too_many_in_a_row_end_the_run_and_say_where_it_is_whole(tmp_path: Path) -> None:
    learner, state = build_learner(), TrainState(full_checkpoint_step=2)
    scale(learner, dict.fromkeys(range(2, 100), math.nan), state)
    trainer, _ = recorded(tmp_path, learner, state, config(max_skipped_in_a_row=3))
    with pytest.raises(TrainingError, match=r"steps 3 to 5: .*not finite 3 times.*--replay-step 3.*step-00000002"):
        trainer.run()
    assert state.step == 5
    assert len((tmp_path / "run/skipped.jsonl").read_text().splitlines()) == 3


def test_the_checkpoint_that_a_lost_run_names_is_complete(tmp_path: Path) -> None:
    learner, state = build_learner(), TrainState(full_checkpoint_step=2)
    scale(learner, dict.fromkeys(range(2, 100), math.nan), state)
    settings, waited = config(max_skipped_in_a_row=2), []
    hook = RecordSkipped(
        Listener(),
        run=RunDir.create(tmp_path, "run"),
        rows=lambda step: [],
        config=settings,
        settle=lambda: waited.append(state.step),
    )
    trainer = build_trainer(learner, steps=9, state=state, hooks=[hook], config=settings, **STILL)
    with pytest.raises(TrainingError, match="step-00000002"):
        trainer.run()
    assert waited == [4]


def test_a_new_level_is_no_spike_and_does_not_last_for_ever(tmp_path: Path) -> None:
    learner, state = build_learner(clip=None), TrainState()
    scale(learner, dict.fromkeys(range(8, 100), 40.0), state)
    settings = config(spike_sigma=6.0, spike_window=8)
    trainer, _ = recorded(tmp_path, learner, state, settings)
    with pytest.raises(TrainingError, match=r"steps 9 to 13: .*mean \+ 6 .*5 times.*new level.*No full checkpoint"):
        trainer.run()


def test_weights_are_untouched_by_what_is_left_out(tmp_path: Path) -> None:
    learner, state = build_learner(clip=None), TrainState()
    scale(learner, {8: 40.0}, state)
    settings = config(steps=9, spike_sigma=6.0, spike_window=8)
    trainer = build_trainer(learner, steps=9, state=state, config=settings, **STILL)
    before: dict[str, torch.Tensor] = {}

    def note(module: object, inputs: object) -> None:
        if state.step == 8 and not before:
            before.update({name: tensor.clone() for name, tensor in learner.model.state_dict().items()})

    learner.model.register_forward_pre_hook(note)
    trainer.run()
    assert state.skipped_for == {"loss_spike": 1}
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spike_window": 64}, "spike_window has no effect without spike_sigma"),
        ({"patience": 3, "eval_every": 0}, "eval_every = 0"),
        ({"spike_sigma": 6.0, "spike_window": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_without_effect_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**settings)

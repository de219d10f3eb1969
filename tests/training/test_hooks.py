"""Each hook at its own cadence, each event with its own step, a checkpoint that knows whether it is the best."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hornbook.config.train import CheckpointConfig, TrainConfig
from hornbook.training.hooks import Hook, Log, Moment, Sample, SaveCheckpoint, StopReason, Validate
from hornbook.training.state import TrainState
from hornbook.training.step import StepReport
from training.rig import ROWS, TOKENS, Listener, Recorder, build_learner, build_trainer

CPU = torch.device("cpu")
SAVES = list[tuple[int, str, bool]]


def moment(state: TrainState, *, stop: StopReason | None = None, skip_reason: str | None = None) -> Moment:
    report = StepReport(
        loss=2.0,
        trained_tokens=4,
        tokens=8,
        grad_norm=0.5,
        learning_rate=0.1,
        metrics={"nll": (4.0, 4.0)},
        skip_reason=skip_reason,
    )
    return Moment(step=state.step, state=state, report=report, seconds=0.25, seconds_left=9.0, stop=stop)


def play(hooks: list[Hook], *, steps: int, last: StopReason = "finished") -> TrainState:
    """Call the hooks as the loop would, without training."""
    state = TrainState()
    for step in range(1, steps + 1):
        state.advance(tokens=8, skip=None)
        for hook in hooks:
            hook(moment(state, stop=last if step == steps else None))
    return state


def saver(saves: SAVES) -> object:
    def save(state: TrainState, *, kind: str, best: bool, is_last: bool) -> Path:
        saves.append((state.step, kind, best))
        return Path(f"step-{state.step:08d}")

    return save


def losses(values: list[float]) -> Iterator[dict[str, float]]:
    return ({"loss": value} for value in values)


def test_log_every_7_and_eval_every_5_have_their_own_steps() -> None:
    listener = Listener()
    build_trainer(
        build_learner(),
        steps=16,
        config=TrainConfig(steps=16, tokens_per_step=TOKENS, micro_batch_size=ROWS),
        hooks=[Log(listener, every=7, device=CPU), Validate(lambda: {"loss": 1.0}, listener, every=5)],
    ).run()
    assert listener.steps("train") == [7, 14, 16]
    assert listener.steps("val") == [5, 10, 15, 16]
    assert listener.values("train", "train/tokens") == [7 * TOKENS, 14 * TOKENS, 16 * TOKENS]


def test_a_log_has_every_number() -> None:
    listener = Listener()
    play([Log(listener, every=2, device=CPU, flops_per_token=10.0, peak_flops=1000.0)], steps=2)
    ((event, step, values),) = listener.events
    assert (event, step) == ("train", 2)
    assert values.pop("train/peak_memory_bytes", 1) > 0
    assert values == {
        "train/loss": 2.0,
        "train/perplexity": pytest.approx(2.718281828),
        "train/tokens_per_second": pytest.approx(32.0),
        "train/data_wait": 0.0,
        "train/learning_rate": 0.1,
        "train/grad_norm": 0.5,
        "train/seconds_left": 9.0,
        "train/tokens": 16,
        "train/mfu": pytest.approx(0.32),
    }


def test_the_step_that_compiles_stands_apart() -> None:
    listener = Listener()
    play([Log(listener, every=2, device=CPU, compiles=True)], steps=4)
    early, late = (values for _, _, values in listener.events)
    assert early["train/compile_seconds"] == 0.25
    assert early["train/tokens_per_second"] == late["train/tokens_per_second"] == pytest.approx(32.0)
    assert "train/compile_seconds" not in late
    play([Log(listener := Listener(), every=1, device=CPU, compiles=True)], steps=2)
    (first, second) = (values for _, _, values in listener.events)
    assert "train/tokens_per_second" not in first
    assert "train/compile_seconds" not in second
    assert first["train/loss"] == 2.0


def test_unknown_peak_is_no_mfu() -> None:
    listener = Listener()
    play([Log(listener, every=1, device=CPU, flops_per_token=10.0)], steps=1)
    assert "train/mfu" not in listener.events[0][2]


def test_a_skipped_step_spoils_no_average() -> None:
    listener, state = Listener(), TrainState()
    log = Log(listener, every=2, device=CPU)
    for reason in (None, "gradient"):
        state.advance(tokens=8, skip=reason)
        log(moment(state, skip_reason=reason))
    assert listener.values("train", "train/loss") == [2.0]
    assert listener.values("train", "train/skipped") == [1]
    assert listener.values("train", "train/skipped_gradient") == [1]


def test_logged_norm_and_loss_are_the_step_s_own() -> None:
    listener, recorder = Listener(), Recorder()
    build_trainer(build_learner(), steps=3, hooks=[Log(listener, every=1, device=CPU), recorder]).run()
    reports = [at.report for at in recorder.moments]
    assert listener.values("train", "train/grad_norm") == [report.grad_norm for report in reports]
    assert listener.values("train", "train/loss") == pytest.approx([report.loss for report in reports])
    assert all(bits > 0 for bits in listener.values("train", "train/bits_per_byte"))


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("finished", [3, 6, 7]),
        ("early_stopped", [3, 6, 7]),
        ("max_minutes", [3, 6, 7]),
        ("preempted", [3, 6]),
    ],
)
def test_validation_and_samples_at_a_good_end_only(last: StopReason, expected: list[int], tmp_path: Path) -> None:
    listener = Listener()
    sample = Sample(lambda: ["a", "b"], listener, every=3, folder=tmp_path)
    hooks = [Validate(lambda: {"loss": 1.0}, listener, every=3), sample]
    play(hooks, steps=7, last=last)
    assert listener.steps("val") == expected
    assert listener.texts == [(f"sample/{index}", step, text) for step in expected for index, text in enumerate("ab")]
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert files == {f"step-{step:08d}.txt": "a\n\nb\n" for step in expected}


def test_a_due_validation_is_made_even_when_preempted() -> None:
    listener = Listener()
    play([Validate(lambda: {"loss": 1.0}, listener, every=3)], steps=3, last="preempted")
    assert listener.steps("val") == [3]


def test_zero_is_never(tmp_path: Path) -> None:
    listener = Listener()
    sample = Sample(lambda: ["a"], listener, every=0, folder=tmp_path)
    play([Validate(lambda: {"loss": 1.0}, listener, every=0), sample], steps=3)
    assert (listener.events, listener.texts) == ([], [])


def test_light_and_full_due_together_are_one_full() -> None:
    saves: SAVES = []
    listener = Listener()
    config = CheckpointConfig(light_every=2, full_every=4, best=False)
    state = play([SaveCheckpoint(saver(saves), listener, config)], steps=9)
    assert saves == [
        (2, "light", False),
        (4, "full", False),
        (6, "light", False),
        (8, "full", False),
        (9, "full", False),
    ]
    assert listener.steps("checkpoint") == [2, 4, 6, 8, 9]
    assert listener.values("checkpoint", "checkpoint/path")[0] == "step-00000002"
    assert state.full_checkpoint_step == 9


@pytest.mark.parametrize("last", ["finished", "early_stopped", "max_minutes", "preempted"])
def test_the_end_is_always_a_full_checkpoint(last: StopReason) -> None:
    saves: SAVES = []
    play([SaveCheckpoint(saver(saves), Listener(), CheckpointConfig(full_every=0))], steps=3, last=last)
    assert saves == [(3, "full", False)]


def test_the_best_is_saved_when_it_is_found() -> None:
    saves: SAVES = []
    measured = losses([3.0, 2.0, 2.5, 1.0])
    listener = Listener()
    hooks: list[Hook] = [
        Validate(lambda: next(measured), listener, every=2),
        SaveCheckpoint(saver(saves), listener, CheckpointConfig(full_every=4)),
    ]
    state = play(hooks, steps=8)
    assert saves == [(2, "light", True), (4, "full", True), (8, "full", True)]
    assert (state.best_loss, state.best_step) == (1.0, 8)


def test_best_can_be_switched_off() -> None:
    saves: SAVES = []
    hooks: list[Hook] = [
        Validate(lambda: {"loss": 1.0}, Listener(), every=1),
        SaveCheckpoint(saver(saves), Listener(), CheckpointConfig(best=False)),
    ]
    play(hooks, steps=2)
    assert saves == [(2, "full", False)]

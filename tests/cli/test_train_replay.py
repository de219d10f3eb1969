"""`hornbook train --replay-step`: a poisoned example is named, and nothing is written."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import torch

from hornbook import assemble
from hornbook.cli.main import main
from tiny_project import make_project

pytestmark = pytest.mark.medium

LAYER, BAD_SAMPLE = "layers.1.feed_forward.down_proj", 30  # of step 8, which has the samples 28 to 31


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("replay"))


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def poison(monkeypatch: pytest.MonkeyPatch, row: list[int]) -> None:
    """From now on models overflow in LAYER where they read this row, as an example would that is bad in itself."""
    whole = assemble.build_model

    def poisoned(*arguments: object, **named: object) -> torch.nn.Module:
        model, bad = whole(*arguments, **named), torch.zeros(0, dtype=torch.bool)

        def look(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
            nonlocal bad
            bad = (inputs[0] == torch.tensor(row)).all(1)

        def overflow(module: object, inputs: object, output: torch.Tensor) -> torch.Tensor:
            return torch.where(bad[:, None, None], output * 1e30 * 1e30, output)

        model.register_forward_pre_hook(look)
        model.get_submodule(LAYER).register_forward_hook(overflow)
        return model

    monkeypatch.setattr(assemble, "build_model", poisoned)


def content(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def train(project: Path, out: Path, *settings: str) -> int:
    words = [
        f'run.out_dir="{out.as_posix()}"',
        "checkpoint.full_every=3",
        "checkpoint.full_keep=9",
        "model.dropout=0.1",
        *settings,
    ]
    return main(["train", str(project), *[word for each in words for word in ("--set", each)]])


def row_of(project: Path, sample: int) -> list[int]:
    """The input tokens of a global sample of the tiny project."""
    from hornbook.data.dataset import Dataset
    from hornbook.data.order import SampleOrder
    from hornbook.data.windows import Windows

    stream = Dataset.open(project.parent / "data").split("train")
    windows = Windows(stream, context_length=16, stride=16, lookahead=1)
    order = SampleOrder(len(windows), seed=7)
    return windows[order.window(sample)][:-1].tolist()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_poisoned_example_is_named(project, tmp_path, monkeypatch, capsys, precision):
    poison(monkeypatch, row_of(project, BAD_SAMPLE))
    assert train(project, tmp_path, f'train.precision="{precision}"') == 0
    run = tmp_path / "tiny"
    (record,) = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert (record["step"], record["reason"]) == (8, "loss")
    assert record["checkpoint_path"] == str(run / "checkpoints/step-00000006")
    before = content(run)
    capsys.readouterr()
    assert main(["train", "--replay-step", "8", str(run), "--set", 'tracking.console="json"']) == 0
    seen = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (seen["event"], seen["replayed_from_step"], seen["finite"]) == ("replay", 6, False)
    assert seen["skip_reason"] == "loss"
    assert (seen["forward"]["name"], seen["forward"]["what"], seen["forward"]["samples"]) == (LAYER, "output", [30])
    worst = seen["rows"][0]
    assert (worst["sample"], worst["loss"], worst["micro_batch"], worst["row"]) == (30, None, 1, 0)
    assert all(row["loss"] > 0 for row in seen["rows"][1:])
    where = {key: worst[key] for key in record["rows"][2]}
    assert where == record["rows"][2]
    assert content(run) == before, "a replay writes nothing"
    assert worst["text"].strip()


def test_a_finite_step_is_the_step_of_the_run_and_said_to_be_finite(project, tmp_path, monkeypatch, capsys):
    assert train(project, tmp_path) == 0
    logged = [json.loads(line) for line in (tmp_path / "tiny/metrics.jsonl").read_text().splitlines()]
    losses = {event["step"]: event["train/loss"] for event in logged if event["event"] == "train"}
    norms = {event["step"]: event["train/grad_norm"] for event in logged if event["event"] == "train"}
    for step, first in ((1, 0), (4, 3), (12, 9)):
        capsys.readouterr()
        # The run was trained in silence (console = "none"), but to tell is all that a replay does.
        assert main(["train", "--replay-step", str(step), "--resume", str(tmp_path / "tiny")]) == 0
        seen = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (seen["step"], seen["replayed_from_step"], seen["finite"]) == (step, first, True)
        assert seen["grad_norm"] == norms[step]
        assert seen["loss"] == pytest.approx(losses[step], rel=1e-12)  # logged as a sum by its weight
        assert (seen["forward"], seen["backward"], seen["bad_parameters"]) == (None, None, [])


def test_people_are_told_in_words(project, tmp_path, monkeypatch, capsys):
    from hornbook.cli import train_replay
    from hornbook.config.load import load_config
    from hornbook.replay import replay_step

    poison(monkeypatch, row_of(project, BAD_SAMPLE))
    assert train(project, tmp_path) == 0
    config = load_config(tmp_path / "tiny/config.toml").config
    seen, other = (replay_step(config, tmp_path / "tiny", step=step) for step in (8, 7))
    said = "\n".join(train_replay.words(seen))
    assert f"forward  first in {LAYER} (output)" in said
    assert "micro-batch 1, samples 30" in said
    assert "sample 30 (micro-batch 1, row 0; " in said
    assert "layers.1" in said
    assert "everything is finite" in "\n".join(train_replay.words(other))


def test_what_cannot_be_replayed_is_said(project, tmp_path, capsys):
    assert train(project, tmp_path, "train.steps=2") == 0
    run = str(tmp_path / "tiny")
    for words, message in (
        (["--replay-step", "3", run], "the run has the steps 1 to 2"),
        (["--replay-step", "2"], "goes with one run directory"),
        (["--replay-step", "2", str(project)], f"got {project}"),
        (["--replay-step", "2", f"{run}x"], f"got {run}x"),
        (["--replay-step", "2", run, "--resume", run], "goes with one run directory"),
        (["--replay-step", "2", run, "--branch-from", run], "leave --branch-from"),
        (["--replay-step", "2", run, "--cooldown", "3"], "leave --cooldown"),
        (["--replay-step", "2", run, "--set", "optim.learning_rate=1.0"], "it would be another run"),
        (["--replay-step", "2", str(tmp_path)], "not a run"),
    ):
        capsys.readouterr()
        assert main(["train", *words]) == 2
        assert message in capsys.readouterr().err


def test_what_a_branch_did_not_do_itself_is_replayed_in_its_trunk(project, tmp_path, capsys):
    assert train(project, tmp_path, "train.steps=4", 'schedule.kind="constant"') == 0
    trunk, branch = str(tmp_path / "tiny"), str(tmp_path / "tiny-step4-cooldown2")
    assert main(["train", "--branch-from", f"{trunk}@4", "--cooldown", "2"]) == 0
    assert main(["train", "--replay-step", "5", branch]) == 0
    capsys.readouterr()
    assert main(["train", "--replay-step", "4", branch]) == 2
    assert f"begins after step 4; replay earlier steps in {trunk}" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_run_that_may_only_be_read_can_be_replayed(project, tmp_path, capsys):
    assert train(project, tmp_path, "train.steps=2") == 0
    for path in [tmp_path / "tiny", tmp_path / "tiny/checkpoints"]:
        path.chmod(0o555)
    assert main(["train", "--replay-step", "2", str(tmp_path / "tiny")]) == 0


def test_an_overflow_of_float16_is_told_from_a_fault(project, tmp_path, capsys):
    settings = [f"run.out_dir='{tmp_path}'", "train.precision='fp16'", "objective.z_loss=1e5"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert main(["train", str(project), *arguments]) == 0
    capsys.readouterr()
    assert main(["train", "--replay-step", "1", str(tmp_path / "tiny"), "--set", "tracking.console='json'"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["overflowed"], told["skip_reason"], told["finite"]) == (True, None, False)

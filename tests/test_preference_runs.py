"""Whole runs on pairs: from a checkpoint, with each kind of reference, broken off and gone on with."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hornbook import assemble
from hornbook.checkpoint.load import load_model
from hornbook.config.run import Config
from hornbook.data.tuning import prepare_tuning
from hornbook.errors import CheckpointError, ConfigError
from hornbook.replay import replay_step
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from hornbook.training import reference_scores
from hornbook.training.branches import branch_config
from tiny_pairs import load, make_pairs_project, save_base, write_pairs

pytestmark = pytest.mark.medium

LORA = {"lora__rank": 2, "lora__also_train": ["token_embedding"]}
Configure = Callable[..., Config]


@pytest.fixture(scope="module", params=["next_token", "masked_diffusion"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs_project(tmp_path_factory.mktemp(f"pairs-{request.param}"), request.param)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs_project(tmp_path_factory.mktemp("exact"))


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def configured(path: Path, out: Path, name: str = "tiny", **changes: object) -> Config:
    return load(path, run__out_dir=str(out), run__name=name, **changes)


def values(run: RunDir, event: str) -> list[dict[str, float]]:
    found = [each for each in read_metrics(run.metrics_file) if each["event"] == event]
    return [{k.partition("/")[2]: v for k, v in each.items() if "/" in k} for each in found]


def weights(run: RunDir) -> dict[str, torch.Tensor]:
    return dict(load_model(run.root)[0].state_dict())


def assert_same(first: RunDir, second: RunDir) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_it_starts_at_ln_2_prefers_and_goes_on_to_the_same_weights(project, tmp_path):
    """The tokenizer grows by the template's tokens: so do policy and reference, alike."""
    whole = assemble.train(configured(project, tmp_path, "whole")).run_dir
    first, *_, last = values(whole, "train")
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert (first["rewards/margin"], first["rewards/accuracy"]) == (0.0, 0.5)
    assert last["rewards/margin"] > 0.1
    assert "perplexity" not in last
    validated = values(whole, "val")
    assert validated[-1]["rewards/accuracy"] > 0.7
    assert validated[-1]["loss"] < validated[0]["loss"] < math.log(2)
    assert ("rewards/score_variance" in last) == ("diffusion" in project.parent.name)
    model_json = json.loads((whole.checkpoints / "step-00000006" / "model.json").read_text())
    assert model_json["objective"]["kind"] == load(project).objective.likelihood  # how it is read
    assert model_json["objective"]["preference"]["beta"] == 0.5
    broken = configured(project, tmp_path, "broken")
    assemble.train(load(project, run__out_dir=str(tmp_path), run__name="broken", train__max_minutes=1e-9))
    assemble.train(broken, resume=tmp_path / "broken")
    assert_same(RunDir(tmp_path / "broken"), whole)


def test_dropout_is_off_and_said_to_be(project, tmp_path):
    whole = assemble.train(configured(project, tmp_path, "plain", train__steps=2)).run_dir
    noisy = assemble.train(configured(project, tmp_path, "noisy", train__steps=2, model__dropout=0.5))
    assert noisy.model.config.dropout == 0.0
    assert_same(noisy.run_dir, whole)
    (start,) = [event for event in read_metrics(noisy.run_dir.metrics_file) if event["event"] == "start"]
    assert "without dropout" in start["warning"]


def test_precomputed_scores_are_asked_once_and_kept(exact, tmp_path, monkeypatch):
    copied = assemble.train(configured(exact, tmp_path, "copied")).run_dir
    asked = {"objective__reference": "precomputed"}
    scored = assemble.train(configured(exact, tmp_path, "scored", **asked)).run_dir
    for mine, theirs in zip(values(scored, "train"), values(copied, "train"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)  # float32 scores of other batches
        assert mine["rewards/margin"] == pytest.approx(theirs["rewards/margin"], abs=1e-3)
    for mine, theirs in zip(values(scored, "val"), values(copied, "val"), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    assert {path.name for path in scored.reference.iterdir()} == {"reference.json", "scores.safetensors"}
    moved = tmp_path / "moved"
    shutil.copytree(exact.parent / "base", moved)
    begun = configured(exact, tmp_path, "begun", **asked, model__init_from=str(moved))
    assemble.train(
        load(
            exact,
            run__out_dir=str(tmp_path),
            run__name="begun",
            **asked,
            model__init_from=str(moved),
            train__max_minutes=1e-9,
        )
    )
    shutil.rmtree(moved)  # nobody needs it any more
    monkeypatch.setattr(reference_scores, "load_reference", None)
    assemble.train(begun, resume=tmp_path / "begun")
    assert_same(RunDir(tmp_path / "begun"), scored)


@pytest.mark.parametrize("reference", ["copy", "precomputed"])
def test_another_reference_is_refused_and_a_moved_one_found(exact, tmp_path, reference):
    base, elsewhere = tmp_path / "base", tmp_path / "elsewhere"
    shutil.copytree(exact.parent / "base", base)
    given = {"objective__reference": reference, "model__init_from": str(base)}
    config = configured(exact, tmp_path, **given)
    assemble.train(configured(exact, tmp_path, **given, train__max_minutes=1e-9))
    run = tmp_path / "tiny"
    base.rename(elsewhere)
    if reference == "copy":
        with pytest.raises(CheckpointError, match=r"cannot be read: .*objective.reference_from"):
            assemble.train(config, resume=run)
    save_base(base, config, Tokenizer.load(config.tokenizer.path), seed=5)
    with pytest.raises(CheckpointError, match=r"other weights than when the run began: then .*base"):
        assemble.train(config, resume=run)
    found = configured(exact, tmp_path, **given, objective__reference_from=str(elsewhere))
    assert assemble.train(found, resume=run).result.state.step == 6


def test_scores_of_other_pairs_are_refused(tmp_path):
    """Even where the run has no checkpoint yet and begins again."""
    path = make_pairs_project(tmp_path)
    given = {"objective__reference": "precomputed"}
    assemble.train(load(path, **given, train__max_minutes=1e-9))
    run = RunDir(tmp_path / "runs/tiny")
    shutil.rmtree(run.checkpoints)
    run.checkpoints.mkdir()
    write_pairs(tmp_path / "pairs.jsonl", seed=1)
    config = load(path, **given)
    prepare_tuning(config, Tokenizer.load(config.tokenizer.path), force=True)
    with pytest.raises(CheckpointError, match="asked about other pairs"):
        assemble.train(config, resume=run.root)


def test_adapters_need_no_second_model(exact, tmp_path):
    """The template's tokens are there already, so that nothing but adapters has to be trained."""
    first = assemble.train(configured(exact, tmp_path, "first", train__steps=2)).run_dir
    changes = {"model__init_from": str(first.root), "lora__rank": 2}
    config = configured(exact, tmp_path, "adapted", **changes)
    adapted = assemble.train(config)
    assert adapted.model.lora is not None
    start, *_, end = values(adapted.run_dir, "train")
    assert start["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert end["rewards/margin"] > 0.01
    assert not adapted.run_dir.reference.exists()
    beside = assemble.train(configured(exact, tmp_path, "beside", **changes, objective__reference="copy"))
    assert_same(beside.run_dir, adapted.run_dir)
    other = configured(exact, tmp_path, "adapted", **changes, train__steps=8, objective__reference_from=str(first.root))
    with pytest.raises(CheckpointError, match=r"another run: objective.reference_from = .*first.*, in the run None"):
        assemble.train(other, resume=adapted.run_dir.root)


def test_a_likelihood_that_the_model_was_not_trained_for_is_refused(project, tmp_path):
    likelihood = load(project).objective.likelihood
    other = "next_token" if likelihood == "masked_diffusion" else "masked_diffusion"
    with pytest.raises(CheckpointError, match=f'trained with objective.kind = "{likelihood}"; use "{likelihood}"'):
        assemble.train(configured(project, tmp_path, objective__likelihood=other))


@pytest.mark.parametrize("reference", ["copy", "precomputed"])
def test_a_model_that_has_learnt_nothing_is_compared_with_nothing(exact, tmp_path, reference):
    """Pairs may be prepared and counted without one."""
    config = configured(exact, tmp_path, model__init_from=None, objective__reference=reference)
    with pytest.raises(ConfigError, match=r"set model.init_from"):
        assemble.train(config)
    assert list(tmp_path.iterdir()) == []


def test_a_branch_keeps_the_reference_of_its_trunk(exact, tmp_path):
    """Even where that lies in a run that went on since."""
    base = tmp_path / "base"
    shutil.copytree(exact.parent / "base", base)
    trunk = assemble.train(configured(exact, tmp_path, schedule__kind="constant", model__init_from=str(base))).run_dir
    save_base(base, load(exact), Tokenizer.load(load(exact).tokenizer.path), seed=5, step=9)
    config = branch_config(f"{trunk.root}@4", 2)
    branch = assemble.train(config).run_dir
    assert (branch.reference / "reference.json").read_text() == (trunk.reference / "reference.json").read_text()
    assert values(branch, "train")[0]["rewards/margin"] == values(trunk, "train")[4]["rewards/margin"] > 0.0


@pytest.mark.parametrize("reference", ["copy", "precomputed"])
def test_a_step_can_be_had_again(exact, tmp_path, reference):
    config = configured(exact, tmp_path, objective__reference=reference)
    run = assemble.train(config).run_dir
    found = replay_step(config, run.root, step=4)
    assert found.report.loss == values(run, "train")[3]["loss"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objective__reference": "adapter"}, "there is no \\[lora\\]"),
        ({"data__stage": "sft"}, "pairs of answers"),
        ({"objective__loss": "hinge", "objective__label_smoothing": 0.1}, "no effect with loss"),
        ({"objective__draws": 4}, "draws has an effect only"),
        ({"objective__likelihood": "masked_diffusion", "objective__reference": "precomputed"}, "the same masks"),
        ({"objective__reference": "adapter", "objective__reference_from": "x", **LORA}, "reference_from = x has no"),
        ({"objective__reference": "adapter", **LORA}, "lora.also_train"),
    ],
)
def test_what_cannot_be_meant_is_refused(exact, changes, said):
    with pytest.raises(ConfigError, match=said):
        load(exact, **changes)

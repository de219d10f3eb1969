"""Whole runs with each objective that masks: broken and gone on with, cut in other ways, from one kind to the other."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cut_run import cut_short
from hornbook import assemble
from hornbook.checkpoint.load import load_checkpoint, load_model
from hornbook.config.run import Config
from hornbook.data.mixture import Mixture
from hornbook.data.prepare import prepare
from hornbook.errors import CheckpointError, ConfigError
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from test_assemble import content, events
from tiny_project import load, make_project, write_project

pytestmark = pytest.mark.medium

KINDS = {
    "masked_diffusion": {"objective__truncation_probability": 0.3, "objective__schedule": "cosine"},
    "block_diffusion": {"objective__block_length": 4, "objective__curriculum_steps": 6},
    "joint": {"objective__diffusion_weight_steps": 6, "objective__diffusion_weight_start": 0.1},
}
KINDS["block_diffusion"] |= {"objective__curriculum_start": 0.4}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture
def configure(project: Path, tmp_path: Path) -> Iterator[Callable[..., Config]]:
    threads = torch.get_num_threads()

    def made(name: str, kind: str, **changes: object) -> Config:
        more = {"objective__kind": kind, **KINDS.get(kind, {}), **changes}
        return load(project, run__out_dir=str(tmp_path), run__name=name, **more)

    yield made
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        {"model__dropout": 0.1, "train__precision": "bf16", "train__activation_checkpointing": True},
        pytest.param({"train__compile": "on"}, marks=[pytest.mark.slow, pytest.mark.compiles]),
    ],
    ids=["bf16", "compiled"],
)
def test_a_broken_run_ends_with_the_very_files_of_an_unbroken_one(configure, tmp_path, monkeypatch, kind, changes):
    assemble.train(configure("whole", kind, **changes))
    cut_short(configure("broken", kind, **changes), 8, monkeypatch)
    broken = RunDir.open(tmp_path / "broken")
    assert broken.state == "failed"
    assemble.train(configure("broken", kind, **changes), resume=broken.root)
    assert content(broken.root) == content(tmp_path / "whole")
    assert events(broken.root) == events(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_change_nothing_but_the_rounding(configure, tmp_path, kind):
    losses = []
    for rows in (1, 2, 4):
        assemble.train(configure(f"rows-{rows}", kind, train__micro_batch_size=rows))
        found = list(read_metrics(tmp_path / f"rows-{rows}" / "metrics.jsonl"))
        losses.append([event["train/loss"] for event in found if event["event"] == "train"])
        losses[-1] += [event["val/loss"] for event in found if event["event"] == "val"]
    # One rounding of float32 a step, amplified by 12 steps of a steep start.
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[2] == pytest.approx(losses[0], rel=1e-4)


def test_a_checkpoint_is_gone_on_with_as_another_kind_and_back(configure, tmp_path):
    started_from, last = None, None
    for name, kind in (("first", "next_token"), ("second", "masked_diffusion"), ("third", "next_token")):
        changes = {} if started_from is None else {"model__init_from": str(started_from), "train__steps": 4}
        run = assemble.train(configure(name, kind, **changes, train__eval_every=2))
        stored = load_checkpoint(tmp_path / name, with_optimizer=False)
        assert stored.objective["kind"] == kind
        if last is not None:
            assert run.model.state_dict().keys() == last.keys()
            assert any(not torch.equal(last[key], value) for key, value in run.model.state_dict().items())
        started_from, last = tmp_path / name, run.model.state_dict()
    first, _, _ = load_model(tmp_path / "first")
    config = configure("fourth", "masked_diffusion", model__init_from=str(tmp_path / "first"))
    job, _ = assemble.build_job(config, Mixture.open(config.data), None, None)
    assert all(torch.equal(value, first.state_dict()[key]) for key, value in job.model.state_dict().items())


def test_a_run_goes_on_as_it_began(configure, tmp_path):
    root = assemble.train(configure("run", "masked_diffusion", train__steps=4)).run_dir.root
    with pytest.raises(CheckpointError, match=r"another run: optim.clip_grad_norm = 0.5, in the run 1.0\. Leave"):
        assemble.train(configure("run", "masked_diffusion", optim__clip_grad_norm=0.5), resume=root)
    with pytest.raises(CheckpointError, match=r"run: objective.kind = 'joint', in the run 'masked_diffusion'\. Leave"):
        assemble.train(configure("run", "joint"), resume=root)


def test_validation_is_at_most_and_by_bucket(configure, tmp_path):
    assemble.train(configure("run", "masked_diffusion", train__eval_tokens=512))
    last = [event for event in read_metrics(tmp_path / "run" / "metrics.jsonl") if event["event"] == "val"][-1]
    assert {"val/nll_p0_25", "val/nll_p25_50", "val/nll_p50_75", "val/nll_p75_100"} <= last.keys()
    assert 0.0 < last["val/mask_ratio"] < 1.0
    assert last["val/bits_per_byte"] > 0.0
    described = json.loads((tmp_path / "run" / "checkpoints" / "step-00000012" / "model.json").read_text())
    assert described["objective"]["kind"] == "masked_diffusion"


def make_project_without_special_tokens(root: Path) -> Path:
    path = write_project(root)
    text = path.read_text(encoding="utf-8").replace("[tokenizer]", '[tokenizer]\nspecial_tokens = "none"')
    path.write_text(text.replace("[data]", "[data]\nend_of_text = false"), encoding="utf-8")
    config = load(path)
    tokenizer = Tokenizer.train((root / "text.txt").read_text(encoding="utf-8").splitlines(), config.tokenizer)
    tokenizer.save(config.tokenizer.path)
    prepare(config.data, tokenizer)
    return path


def test_a_tokenizer_without_a_mask_token_is_refused(tmp_path):
    path = tmp_path / "plain"
    toml = make_project_without_special_tokens(path)
    with pytest.raises(ConfigError, match=r'"masked_diffusion" needs a mask token.*special_tokens = "pretraining"'):
        assemble.train(load(toml, objective__kind="masked_diffusion"))
    assemble.train(load(toml, train__steps=1, run__name="ahead"))
    start = str(path / "runs" / "ahead")
    with pytest.raises(ConfigError, match=r"tokenizer of model.init_from = \S+ahead has none.*from the start"):
        assemble.train(load(toml, objective__kind="joint", model__init_from=start))

"""Whole runs on conversations: broken and gone on with, from a base model, refused where data and settings differ."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from cut_run import cut_short
from hornbook import assemble
from hornbook.config.run import Config
from hornbook.data.dataset import Dataset
from hornbook.data.tuning import prepare_tuning
from hornbook.errors import ConfigError, DataError
from hornbook.replay import replay_step
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from test_assemble import content, events
from tiny_project import load, make_project

pytestmark = pytest.mark.medium

TASKS = {"kind": "tasks", "tasks": ["copy"], "n_rows": 300, "min_length": 2, "max_length": 5}
KINDS = {
    "next_token": {"objective__normalize": "sequence"},
    "masked_diffusion": {"data__tuning__answer_padding": 2, "objective__normalize": "sequence"},
    "block_diffusion": {
        "objective__block_length": 8,
        "data__tuning__packing": False,
        "data__tuning__answer_padding": "row",
    },
    "joint": {},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny project, with a data set of conversations beside that of its text."""
    path = make_project(tmp_path_factory.mktemp("tuning"))
    config = settings_of(path)
    prepare_tuning(config, Tokenizer.load(config.tokenizer.path))
    return path


def settings_of(project: Path, **changes: object) -> Config:
    tasks = {
        "chat__template": "chatml",
        "data__path": str(project.parent / "tasks"),
        "data__source": TASKS,
        "data__stage": "sft",
    }
    size = {"model__context_length": 64, "train__tokens_per_step": 16_384, "train__sequences_per_step": 8}
    return load(project, **(tasks | size | {"train__eval_tokens": 600} | changes))


@pytest.fixture
def configure(project: Path, tmp_path: Path) -> Iterator[Callable[..., Config]]:
    threads = torch.get_num_threads()

    def made(name: str, kind: str = "next_token", **changes: object) -> Config:
        where = {"run__out_dir": str(tmp_path), "run__name": name, "objective__kind": kind}
        return settings_of(project, **(where | KINDS[kind] | changes))

    yield made
    torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", KINDS)
def test_a_broken_run_ends_with_the_very_files_of_an_unbroken_one(configure, tmp_path, monkeypatch, kind):
    changes = {"model__dropout": 0.1, "train__micro_batch_size": 4}
    assemble.train(configure("whole", kind, **changes))
    cut_short(configure("broken", kind, **changes), 8, monkeypatch)
    broken = RunDir.open(tmp_path / "broken")
    assemble.train(configure("broken", kind, **changes), resume=broken.root)
    assert content(broken.root) == content(tmp_path / "whole")
    assert events(broken.root) == events(tmp_path / "whole")


@pytest.mark.parametrize(
    ("kind", "packing"),
    [("next_token", True), ("masked_diffusion", False), ("block_diffusion", False), ("joint", False)],
)
def test_micro_batches_change_nothing_but_the_rounding(configure, tmp_path, kind, packing):
    losses = []
    for rows in (1, 8):
        reads = {"data__tuning__packing": packing, "data__tuning__answer_padding": 2 if "diff" in kind else 0}
        config = configure(f"rows-{rows}", kind, train__micro_batch_size=rows, **reads)
        assemble.train(config)
        found = list(read_metrics(tmp_path / f"rows-{rows}" / "metrics.jsonl"))
        losses.append([event["train/loss"] for event in found if event["event"] == "train"])
        losses[-1] += [event["val/loss"] for event in found if event["event"] == "val"]
        losses[-1] += [event["train/tokens"] / 1e3 for event in found if event["event"] == "train"]
    # One rounding of float32 a step, amplified by 12 steps of a steep start.
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_validation_is_the_nll_of_answers(configure, tmp_path):
    """By hand, from each held-out conversation alone; tokens that were seen are those of conversations."""
    run = assemble.train(configure("run", train__eval_tokens=10**6))
    config = configure("run")
    stream = Dataset.open(config.data.path).split("valid")
    nats, targets = 0.0, 0
    with torch.no_grad():
        for number in range(stream.n_documents):
            start, end = stream.document_span(number)
            ids = torch.from_numpy(stream.read(start, end - start))
            counted = torch.from_numpy(stream.loss_mask(start, end - start))[1:]
            log_p = run.model.eval()(ids[None, :-1])[0].log_softmax(-1)
            nats -= float(log_p.gather(1, ids[1:, None])[:, 0][counted].sum())
            targets += int(counted.sum())
    last = [event for event in read_metrics(tmp_path / "run" / "metrics.jsonl") if event["event"] == "val"][-1]
    assert last["val/loss"] == pytest.approx(nats / targets, rel=1e-5)
    assert last["val/perplexity"] == pytest.approx(math.exp(nats / targets), rel=1e-4)
    steps = [event for event in read_metrics(tmp_path / "run" / "metrics.jsonl") if event["event"] == "train"]
    assert 0.6 * 12 * 8 * 64 < steps[-1]["train/tokens"] < 12 * 8 * 64


def test_from_a_base_model_with_messages_as_prompts(configure, project, tmp_path):
    shape = {"model__context_length": 64, "train__tokens_per_step": 512}
    base = assemble.train(load(project, run__out_dir=str(tmp_path), run__name="base", **shape))
    changes = {"train__sample_every": 12, "train__sample_prompts": ["Copy: a b"]}
    run = assemble.train(configure("tuned", model__init_from=str(base.run_dir.root), **changes))
    assert run.tokenizer.vocab_size == base.tokenizer.vocab_size + 2
    text = (run.run_dir.samples / "step-00000012.txt").read_text(encoding="utf-8")
    assert text.startswith("<|im_start|>user\nCopy: a b<|im_end|>\n<|im_start|>assistant\n")
    with pytest.raises(ConfigError, match=r"train.sample_prompts: '\\n'"):
        assemble.train(configure("empty", train__sample_every=12))


def test_a_step_can_be_replayed(configure, tmp_path):
    run = assemble.train(configure("run", train__micro_batch_size=4))
    seen = replay_step(configure("run", train__micro_batch_size=4), run.run_dir.root, step=7)
    assert seen.is_finite
    assert len(seen.rows) == 8
    assert all("<|im_start|>user" in row.text for row in seen.rows)


def test_data_of_another_stage_are_refused(configure, project, tmp_path):
    text = load(project).data.path
    with pytest.raises(DataError, match=r'holds data of stage "pretrain", but data.stage = "sft"; set data.stage'):
        assemble.train(configure("run", data__path=str(text)))
    with pytest.raises(DataError, match=r'holds data of stage "sft", but data.stage = "pretrain"'):
        assemble.train(load(project, data__path=str(project.parent / "tasks"), run__out_dir=str(tmp_path)))
    with pytest.raises(DataError, match=r"conversations are longer than a row of 17 tokens \(model.context_length"):
        assemble.train(configure("run", model__context_length=16))
    assert json.loads((text / "index.json").read_text())["stage"] == "pretrain"

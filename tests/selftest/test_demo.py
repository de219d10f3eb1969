"""The road itself, on a tiny text and for seconds; tests/cli/test_demo.py has it on the embedded corpus."""

import math

import pytest

from hornbook.config.load import load_config
from hornbook.selftest import demo
from hornbook.selftest.demo import run_demo
from hornbook.selftest.plan import DemoOptions
from hornbook.tracking.jsonl import read_metrics
from tiny_demo import shrink_demo
from tiny_project import text

STAGES = ["tokenizer", "data", "probe", "before", "after", "generate", "generate", "generate", "plot"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "tiny.txt"
    path.write_text(text(1500), encoding="utf-8")
    return path


@pytest.mark.medium
def test_the_whole_life_in_order(tmp_path, corpus, monkeypatch):
    shrink_demo(monkeypatch)
    stages = []
    options = DemoOptions(minutes=0.05, corpus=(corpus,), out_dir=tmp_path / "runs", console="none")
    result = run_demo(options, stages.append)
    assert [stage.name for stage in stages] == STAGES
    assert result.is_finished
    assert result.run_dir.state == "finished"
    untrained, trained = result.before.perplexity, result.after.perplexity
    # Before training every token is about as likely as any other; random logits add a little.
    assert untrained == pytest.approx(stages[0].numbers["vocab_size"], rel=0.25)
    assert trained < 0.9 * untrained
    assert result.before.tokens_scored == result.after.tokens_scored
    assert math.isfinite(result.after.bits_per_byte)
    assert load_config(result.root / "demo.toml").config == result.config
    assert {path.name for path in result.root.iterdir()} == {"data", "demo.toml", "run", "tokenizer"}
    events = [event["event"] for event in read_metrics(result.run_dir.metrics_file)]
    assert {"train", "val", "sample", "checkpoint"} <= set(events)
    assert "│" in stages[-1].words
    lines = corpus.read_text().splitlines()
    assert all(any(stage.numbers["prompt"] in line for line in lines) for stage in stages[5:8])


@pytest.mark.medium
def test_the_same_life_by_masked_diffusion(tmp_path, corpus, monkeypatch):
    shrink_demo(monkeypatch)
    stages = []
    options = DemoOptions(
        minutes=0.05, corpus=(corpus,), out_dir=tmp_path / "runs", console="none", diffusion=True, seed=1
    )
    result = run_demo(options, stages.append)
    assert [stage.name for stage in stages] == STAGES
    assert result.config.objective.kind == "masked_diffusion"
    untrained, trained = result.before.perplexity, result.after.perplexity
    assert untrained == pytest.approx(stages[0].numbers["vocab_size"], rel=0.25)
    assert trained < 0.9 * untrained
    assert stages[3].numbers["perplexity_at_most"] == untrained
    assert "at most" in stages[3].words
    assert all(stage.numbers["output"] and "<|mask|>" not in stage.numbers["output"] for stage in stages[5:8])
    assert load_config(result.root / "demo.toml").config == result.config


@pytest.mark.medium
def test_a_second_demo_reuses_nothing_and_is_equal(tmp_path, corpus, monkeypatch):
    shrink_demo(monkeypatch)
    monkeypatch.setattr(demo, "seconds_per_step", lambda *_, **__: 10.0)  # so few steps that no clock ends them
    options = DemoOptions(minutes=5, corpus=(corpus,), out_dir=tmp_path / "runs", console="none")
    first, second = (run_demo(options, lambda _: None) for _ in range(2))
    assert first.root != second.root
    assert first.after.nats == second.after.nats

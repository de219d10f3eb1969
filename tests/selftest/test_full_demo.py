"""The whole life of a chat model on a tiny text and for seconds; tests/cli/test_demo.py has its commands."""

import pytest

from hornbook.config.load import load_config
from hornbook.data.dataset import Dataset
from hornbook.selftest import full_demo
from hornbook.selftest.full_demo import run_full_demo
from hornbook.selftest.plan import DemoOptions
from hornbook.tracking.jsonl import read_metrics
from tiny_demo import shrink_full_demo
from tiny_project import text

BASE = ["tokenizer", "data", "probe", "before", "after", "generate", "generate", "generate", "plot"]
STAGES = [
    *("sft-data", "exam-base", "exam-sft", "dpo-data", "exam-dpo", "preferences"),
    *("chat", "chat", "chat", "report"),
]


def test_the_shares_of_the_minutes_are_all_of_them():
    assert sum(full_demo.SHARES.values()) == pytest.approx(1.0)


@pytest.mark.medium
def test_the_whole_life_in_order(tmp_path, monkeypatch):
    shrink_full_demo(monkeypatch)
    corpus = tmp_path / "tiny.txt"
    corpus.write_text(text(1500), encoding="utf-8")
    stages = []
    options = DemoOptions(minutes=0.2, corpus=(corpus,), out_dir=tmp_path / "runs", console="none")
    result = run_full_demo(options, stages.append)
    assert [stage.name for stage in stages] == [*BASE, *STAGES]
    assert result.is_finished
    assert [run.root.name for run in result.runs] == ["run", "sft", "dpo"]
    assert [run.state for run in result.runs] == ["finished"] * 3
    assert "run, sft, dpo" in result.report.read_text(encoding="utf-8")
    told = {stage.name: stage.numbers for stage in stages}
    assert told["exam-sft"]["nats_per_token"] < 0.8 * told["exam-base"]["nats_per_token"]
    assert told["exam-base"]["asked"] == 9
    assert 0 <= told["preferences"]["accuracy"] <= 1
    root = result.base.root
    for name, start in (("sft", "run"), ("dpo", "sft")):
        config = load_config(root / f"{name}.toml").config
        assert config.model.init_from == root / start
        assert config.data.stage == Dataset.open(root / f"{name}-data").stage == name
        events = [event["event"] for event in read_metrics(root / name / "metrics.jsonl")]
        assert {"train", "val", "checkpoint"} <= set(events)
    talk = [stage.numbers["prompt"].partition(":")[0] for stage in stages if stage.name == "chat"]
    assert sorted(talk) == ["Copy", "Reverse", "Sort"]

"""A model of the size dial learns at the rates that the dial gives."""

import math

import pytest

from hornbook import assemble
from hornbook.config.load import load_config
from hornbook.data.prepare import prepare
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from tiny_project import WORDS, text


@pytest.mark.medium
@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_one_learns_the_words(depth, tmp_path):
    (tmp_path / "text.txt").write_text(text(2000), encoding="utf-8")
    values = {
        "run": {"out_dir": str(tmp_path), "name": "auto", "device": "cpu", "threads": 1},
        "tokenizer": {"path": str(tmp_path / "tokenizer"), "kind": "characters", "special_tokens": "none"},
        "data": {"path": str(tmp_path / "data"), "split": "position", "end_of_text": False},
        "data.source": {"kind": "text", "paths": [str(tmp_path / "text.txt")]},
        "model": {"preset": "auto", "depth": depth},
        "train": {"steps": 60, "tokens_per_step": 1024, "eval_every": 60, "eval_tokens": 2048},
        "tracking.console": "none",
    }
    config = load_config(None, values=values).config
    tokenizer = Tokenizer.train([(tmp_path / "text.txt").read_text(encoding="utf-8")], config.tokenizer)
    tokenizer.save(config.tokenizer.path)
    prepare(config.data, tokenizer)
    run = assemble.train(config).run_dir
    events = [event for event in read_metrics(run.metrics_file) if event["event"] == "val"]
    # Knowing the words but not their order costs one choice among them for each: what it could learn at best.
    letters = sum(len(word) + 1 for word in WORDS) / len(WORDS)
    best = math.log(len(WORDS)) / letters
    assert events[-1]["val/loss"] < 1.35 * best < 0.4 * math.log(tokenizer.vocab_size)

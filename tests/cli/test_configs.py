"""Every file in configs/ loads, and those that show a verb run as their comments say, shrunk to seconds."""

import json
from pathlib import Path

import pytest

from hornbook.cli.main import main
from hornbook.config.load import load_config

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(CONFIGS.glob("*.toml"))

TINY_MODEL = ["model.n_layers=1", "model.n_heads=2", "model.d_model=16", "model.d_ff=32", "model.context_length=16"]
TINY_RUN = ["train.steps=3", "train.tokens_per_step=64", "train.micro_batch_size=2", "train.eval_tokens=64"]


def _run(*arguments: str) -> None:
    assert main(list(arguments)) == 0, arguments


def _set(*assignments: str) -> list[str]:
    return [word for assignment in assignments for word in ("--set", assignment)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_and_its_model_can_be_built(path):
    config = load_config(path).config
    assert config.model.complete(vocab_size=1000).vocab_size == 1000


@pytest.mark.parametrize("name", ["tokenizer", "data", "train", "generate", "eval", "sweep"])
def test_every_verb_has_an_example(name):
    assert CONFIGS / f"{name}.toml" in FILES


@pytest.mark.medium
def test_the_examples_run_in_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = _set("data.max_documents=120", "tokenizer.vocab_size=300", "tokenizer.max_bytes=20_000")
    _run("tokenizer", "train", str(CONFIGS / "tokenizer.toml"), *small)
    for name in ("data", "train"):
        _run("tokenizer", "train", str(CONFIGS / f"{name}.toml"), *small)
        _run("data", "prepare", str(CONFIGS / f"{name}.toml"), *small)
    _run(
        "train",
        str(CONFIGS / "train.toml"),
        *_set(*TINY_MODEL, *TINY_RUN, "train.sample_every=2", "schedule.warmup_steps=1"),
    )
    capsys.readouterr()
    _run("generate", "--config", str(CONFIGS / "generate.toml"), "--max-new-tokens", "5")
    outputs = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [output["prompt"] for output in outputs] == ["The ", "Return a new "]
    _run("eval", "perplexity", "--config", str(CONFIGS / "eval.toml"), *_set("eval.max_tokens=200", "eval.stride=8"))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["perplexity"] > 1

"""The recipes in configs/: each states what it must, has the numbers that it is known for, and runs."""

import io
import itertools
import json
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from data_paths import DATA, needs
from hornbook.cli.main import main
from hornbook.config.generate import GenerateConfig
from hornbook.config.load import leaf_values, load_config
from hornbook.models.accounting import parameter_counts
from hornbook.optim.schedules import multiplier, warmup_steps
from hornbook.reporting.least_loss import least_loss
from hornbook.tracking.jsonl import read_metrics
from recipe_files import CONFIGS, FILES, LAST, RECIPES, SMOKES, chain, commands, is_tuned, shrunk, write_rows
from tiny_project import text

STATED = (
    *("run.name", "run.seed", "tokenizer.path", "data.path", "data.end_of_text", "optim.kind", "optim.learning_rate"),
    *("optim.betas", "optim.eps", "optim.weight_decay", "optim.decay", "optim.clip_grad_norm", "schedule.kind"),
    *("train.steps", "train.micro_batch_size", "train.precision", "train.eval_every"),
    *("checkpoint.light_every", "checkpoint.full_every", "checkpoint.full_keep", "checkpoint.best"),
)
"""What every recipe says in its own file, default or not."""

GPT2_DECAY = ("matrix", "embedding", "head")
NANOGPT = {
    "tokenizer.kind": "characters",
    "data.split": "position",
    "data.valid_fraction": 0.1,
    "data.end_of_text": False,
    "data.stride": 1,
    "model.vocab_size": 65,
    "model.feed_forward": "gelu",
    "model.norm": "layer_norm",
    "model.norm_position": "pre",
    "model.position": "learned",
    "model.bias": False,
    "model.tie_embeddings": True,
    "model.init": "gpt2",
    "optim.kind": "adamw",
    "optim.learning_rate": 1e-3,
    "optim.betas": (0.9, 0.99),
    "optim.weight_decay": 0.1,
    "optim.decay": GPT2_DECAY,
    "optim.clip_grad_norm": 1.0,
    "schedule.kind": "cosine",
    "schedule.warmup_steps": 100,
    "schedule.final_fraction": 0.1,
    "train.eval_every": 250,
    "checkpoint.best": True,
}
OURS = {"tokenizer.kind": "characters", "data.split": "position", "data.valid_fraction": 0.1, "model.vocab_size": 65}
OURS |= {"optim.kind": "muon", "optim.clip_grad_norm": 1.0}
EXPECTED = {
    "shakespeare-char": {
        **{**OURS, "model.context_length": 64, "train.precision": "bf16"},
        **{"train.eval_tokens": 111_616, "train.max_minutes": None},
    },
    "shakespeare-char-5min": {**OURS, "model.context_length": 256},
    "shakespeare-char-nanogpt": {
        **NANOGPT,
        **{"model.n_layers": 4, "model.n_heads": 4, "model.d_model": 128, "model.context_length": 64},
        **{"model.d_ff": 512, "model.dropout": 0.0, "train.steps": 2000, "train.tokens_per_step": 12 * 64},
        **{"train.precision": "fp32", "train.compile": "off"},
    },
    "shakespeare-char-nanogpt-gpu": {
        **NANOGPT,
        **{"model.n_layers": 6, "model.n_heads": 6, "model.d_model": 384, "model.context_length": 256},
        **{"model.d_ff": 1536, "model.dropout": 0.2, "train.steps": 5000, "train.tokens_per_step": 64 * 256},
    },
    "tinystories": {"tokenizer.vocab_size": 4096, "optim.weight_decay": 0.1, "optim.clip_grad_norm": 1.0},
    "tinystories-llama": {
        **{"model.n_layers": 4, "model.n_heads": 16, "model.d_model": 512, "model.d_ff": 1344},
        **{"model.context_length": 256, "model.vocab_size": 50_257, "model.feed_forward": "swiglu"},
        **{"model.norm": "rms_norm", "model.position": "rotary", "model.rope_theta": 10_000.0},
        **{"optim.kind": "adamw", "optim.learning_rate": 1e-3, "optim.betas": (0.9, 0.95)},
        **{"optim.weight_decay": 0.001, "optim.clip_grad_norm": 1.0, "schedule.warmup_steps": 50},
    },
    "tinystories-diffusion": {
        **{"objective.kind": "masked_diffusion", "model.context_length": 128 + 256, "model.vocab_size": 8192},
        **{"model.d_model": 512, "model.n_layers": 6, "model.d_ff": 1536, "optim.clip_grad_norm": 1.0},
    },
    "wikitext2-vaswani": {
        **{"model.n_layers": 4, "model.d_model": 512, "model.d_ff": 1024, "model.context_length": 256},
        **{"model.vocab_size": 100_277, "model.norm_position": "post", "model.position": "sinusoidal"},
        **{"model.feed_forward": "relu", "model.dropout": 0.0, "objective.label_smoothing": 0.1},
        **{"optim.kind": "adam", "optim.learning_rate": 1.0, "optim.betas": (0.9, 0.98), "optim.eps": 1e-9},
        **{"optim.weight_decay": 0.0, "optim.decay": (), "optim.clip_grad_norm": None},
        **{"schedule.kind": "noam", "schedule.warmup_steps": 4000, "train.steps": 200_000},
        **{"train.tokens_per_step": 10 * 256, "train.micro_batch_size": 10, "data.stride": 1},
        **{"checkpoint.full_every": 10_000, "checkpoint.full_keep": 200_000 // 10_000},
    },
    "wikitext2-vaswani-hour": {
        **{"model.n_layers": 4, "model.d_model": 512, "model.d_ff": 1024, "model.context_length": 256},
        **{"model.vocab_size": 32_768, "model.norm_position": "post", "model.position": "sinusoidal"},
        **{"model.feed_forward": "relu", "model.dropout": 0.0, "objective.label_smoothing": 0.1},
        **{"optim.kind": "adam", "optim.betas": (0.9, 0.98), "optim.eps": 1e-9, "optim.clip_grad_norm": None},
        **{"schedule.kind": "noam", "train.tokens_per_step": 10 * 256, "data.stride": 1},
    },
    "wikitext2-hour": {
        **{"model.vocab_size": 32_768, "model.context_length": 256, "tokenizer.path": Path("tokenizers/wikitext2")},
        **{"data.path": Path("data/wikitext2"), "optim.kind": "muon", "optim.clip_grad_norm": 1.0},
    },
    "wikitext103-gpt2": {
        **{"model.n_layers": 12, "model.n_heads": 12, "model.d_model": 768, "model.context_length": 1024},
        **{"model.vocab_size": 50_257, "data.stride": 512, "train.micro_batch_size": 4},
        **{"train.tokens_per_step": 4 * 8 * 1024, "train.steps": 300_000, "train.precision": "bf16"},
        **{"optim.kind": "adamw", "optim.learning_rate": 1.5e-4, "optim.weight_decay": 0.01},
        **{"optim.decay": GPT2_DECAY, "optim.clip_grad_norm": 1.0, "schedule.warmup_steps": 4000},
        **{"checkpoint.light_every": 2000, "checkpoint.light_keep": 3, "checkpoint.full_every": 10_000},
        **{"checkpoint.full_keep": 2, "checkpoint.best": True},
    },
    "slimpajama-llama": {
        **{"model.n_layers": 12, "model.n_heads": 12, "model.d_model": 768, "model.d_ff": 8 * 768 // 3},
        **{"model.feed_forward": "swiglu", "model.norm": "rms_norm", "model.tie_embeddings": False},
        **{"model.context_length": 2048, "model.vocab_size": 50_280, "train.steps": 4800},
        **{"train.tokens_per_step": 256 * 2048, "train.precision": "bf16", "optim.kind": "adamw"},
        "train.compile": "on",
        **{"optim.learning_rate": 3e-3, "optim.betas": (0.9, 0.95), "optim.weight_decay": 0.1},
        **{"optim.decay": GPT2_DECAY, "optim.clip_grad_norm": 1.0, "schedule.kind": "cosine"},
        **{"schedule.warmup_fraction": 0.1, "train.compile": "on"},
    },
}


MATCHED = {"tinystories-matched": "data/tinystories-matched", "synthetic-matched": "data/synthetic-matched"}
"""Pairs NAME-ar and NAME-diffusion, and their data."""
for _name, _kind in (("ar", "next_token"), ("diffusion", "masked_diffusion")):
    EXPECTED[f"tinystories-matched-{_name}"] = {
        **{"objective.kind": _kind, "tokenizer.vocab_size": 4096, "tokenizer.special_tokens": "pretraining"},
        **{"model.context_length": 256, "eval.stride": 256, "optim.clip_grad_norm": 1.0},
    }
    EXPECTED[f"synthetic-matched-{_name}"] = {
        **{"objective.kind": _kind, "tokenizer.kind": "characters", "data.end_of_text": False},
        **{"data.source.kind": "synthetic", "data.source.n_symbols": 8, "model.vocab_size": 8 + 3},
        **{"model.context_length": 128, "data.split": "documents", "eval.stride": 128},
    }

STORY = {
    **{"model.vocab_size": 4096, "model.context_length": 512, "model.d_model": 128, "optim.clip_grad_norm": 1.0},
    **{"tokenizer.path": Path("tokenizers/story"), "tokenizer.special_tokens": "chat"},
}
TUNED = {**STORY, "data.stage": "sft", "optim.kind": "adamw"}
BOOKS_SPLIT = {"data.split": "position", "data.valid_fraction": 0.1, "data.test_fraction": 0.05}
REVERSE = {
    **{"data.stage": "sft", "data.source.kind": "tasks", "data.source.min_length": 6, "data.split": "documents"},
    **{"model.init_from": None, "train.max_minutes": 10},
}
EXPECTED |= {
    "story-base": {**STORY, "data.stage": "pretrain", "optim.kind": "muon"},
    "story-sft": {**TUNED, "model.init_from": Path("runs/story-base"), "data.tuning.too_long": "drop"},
    "story-instruct": {**TUNED, **BOOKS_SPLIT, "model.init_from": Path("runs/story-sft")},
    "story-dpo": {
        **{**TUNED, **BOOKS_SPLIT, "data.stage": "dpo", "model.init_from": Path("runs/story-instruct")},
        **{"optim.kind": "muon", "objective.kind": "preference", "objective.loss": "sigmoid"},
        **{"objective.beta": 4.0, "objective.average": True},
    },
    "reverse-ar": {**REVERSE, "objective.kind": "next_token"},
    "reverse-diffusion": {**REVERSE, "objective.kind": "masked_diffusion", "data.tuning.answer_padding": "row"},
}


TEXT = [path for path in FILES if not is_tuned(load_config(path).config)]
DIFFUSION = [path for path in TEXT if load_config(path).config.objective.kind != "next_token"]


def names(paths):
    return [path.stem for path in paths]


def value(config, key):
    for name in key.split("."):
        config = getattr(config, name)
    return config


@pytest.mark.parametrize("path", RECIPES, ids=names(RECIPES))
def test_a_recipe_states_what_decides_a_run(path):
    loaded = load_config(path)
    size = "sequences_per_step" if is_tuned(loaded.config) else "tokens_per_step"
    assert [key for key in (*STATED, f"train.{size}") if loaded.origins[key].line is None] == []
    assert loaded.config.run.name == path.stem
    assert loaded.config.model.vocab_size is not None
    assert loaded.config.generate.checkpoint == Path("runs") / path.stem
    clipped = loaded.config.optim.clip_grad_norm
    assert clipped == 1.0 or (clipped is None and path.stem.startswith("wikitext2-vaswani"))


@pytest.mark.parametrize("path", RECIPES, ids=names(RECIPES))
def test_the_numbers_are_those_that_it_is_known_for(path):
    config = load_config(path).config
    assert {key: value(config, key) for key in EXPECTED[path.stem]} == EXPECTED[path.stem]


def test_the_tables_of_the_page_are_those_of_the_files():
    page = runpy.run_path(str(CONFIGS.parent / "scripts" / "make_recipe_tables.py"))["page"]
    written = (CONFIGS.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert written == page(written), "run: python scripts/make_recipe_tables.py"


def test_rates_at_the_places_that_are_known():
    def rate(name, step):
        config = load_config(CONFIGS / f"{name}.toml").config
        return config.optim.learning_rate * multiplier(config.schedule, step, config.train.steps, config.model.d_model)

    assert rate("shakespeare-char-nanogpt", 99) == pytest.approx(1e-3)
    assert rate("shakespeare-char-nanogpt", 1999) == pytest.approx(1e-4)
    assert rate("wikitext2-vaswani", 3999) == pytest.approx(6.988e-4, rel=1e-3)
    assert rate("wikitext2-vaswani", 199_999) == pytest.approx(9.88e-5, rel=1e-3)
    # The hour is the whole schedule of 200,000 steps in 4,000: the same peak after the warm-up, the same end.
    assert rate("wikitext2-vaswani-hour", 79) == pytest.approx(rate("wikitext2-vaswani", 3999), rel=1e-3)
    assert rate("wikitext2-vaswani-hour", 3999) == pytest.approx(rate("wikitext2-vaswani", 199_999), rel=1e-3)
    assert rate("slimpajama-llama", 479) == pytest.approx(3e-3)
    assert rate("slimpajama-llama", 4799) == pytest.approx(1e-5)
    assert rate("tinystories-llama", 4999) == pytest.approx(1e-4)


@pytest.mark.parametrize("path", SMOKES, ids=names(SMOKES))
def test_a_smoke_form_differs_from_its_recipe_only_in_size_and_text(path):
    smoke, recipe = (load_config(each).config for each in (path, path.with_stem(path.stem.removesuffix("-smoke"))))
    assert smoke.run.name == path.stem
    changed = {
        *("name", "path", "source", "valid", "stride", "context_length", "d_model", "n_layers", "n_heads", "d_ff"),
        *("steps", "tokens_per_step", "micro_batch_size", "eval_every", "eval_tokens", "sample_every"),
        *("sample_prompts", "light_every", "full_every", "warmup_steps", "max_minutes", "max_documents"),
        *("curriculum_steps", "init_from"),
    }
    changed |= {"wikitext103-gpt2-smoke": {"learning_rate"}, "slimpajama-llama-smoke": {"compile"}}.get(
        path.stem, set()
    )
    for table in ("run", "tokenizer", "data", "model", "objective", "optim", "schedule", "train", "checkpoint"):
        for name in type(getattr(smoke, table)).model_fields:
            if name not in changed:
                assert getattr(getattr(smoke, table), name) == getattr(getattr(recipe, table), name), (table, name)
    assert warmup_of(smoke) <= smoke.train.steps


def warmup_of(config):
    if config.schedule.kind == "noam":
        return config.schedule.warmup_steps
    return warmup_steps(config.schedule, config.train.steps)


@pytest.mark.parametrize("suffix", ["", "-smoke"])
@pytest.mark.parametrize("pair", MATCHED)
def test_a_matched_pair_differs_in_its_objective_alone(pair, suffix):
    ours, other = (load_config(CONFIGS / f"{pair}-{kind}{suffix}.toml").config for kind in ("ar", "diffusion"))
    assert (ours.objective.kind, other.objective.kind) == ("next_token", "masked_diffusion")
    different = {name for name in type(ours).model_fields if getattr(ours, name) != getattr(other, name)}
    assert different == {"run", "objective", "generate", "eval"}
    for table, allowed in (("run", {"name"}), ("generate", {"checkpoint"}), ("eval", {"checkpoint"})):
        one, two = (getattr(config, table) for config in (ours, other))
        assert {name for name in type(one).model_fields if getattr(one, name) != getattr(two, name)} == allowed
    assert str(ours.data.path) == MATCHED[pair] + suffix


def test_the_pair_on_wikitext_has_the_same_text_and_as_many_parameters():
    ours, theirs = (load_config(CONFIGS / f"wikitext2-{name}.toml").config for name in ("hour", "vaswani-hour"))
    counts = [
        sum(parameter_counts(config.model.complete(vocab_size=config.model.vocab_size)).values())
        for config in (ours, theirs)
    ]
    assert counts[0] == pytest.approx(counts[1], rel=0.01)
    assert ours.tokenizer == theirs.tokenizer
    assert ours.data.source == theirs.data.source
    assert ours.data.valid == theirs.data.valid


def test_the_least_loss_of_the_synthetic_pair_is_known():
    for kind in ("ar", "diffusion"):
        values = leaf_values(load_config(CONFIGS / f"synthetic-matched-{kind}.toml").config)
        least = least_loss({key: value for key, value in values.items() if value is not None})
        assert least is not None
        assert 1.0 < least < math.log(8)


def test_every_recipe_has_a_smoke_form():
    assert {f"{name}-smoke" for name in names(RECIPES)} == set(names(SMOKES))


@pytest.mark.parametrize("path", FILES, ids=names(FILES))
def test_the_commands_of_the_comment_are_about_this_file(path):
    said = commands(path)
    config = load_config(path).config
    assert [words[0] for words in said if words[0] != "data" or words[1] == "prepare"] == [
        *(() if config.model.init_from is not None else ("tokenizer",)),
        *("data", "train", "chat" if is_tuned(config) else "generate"),
    ]
    named = {word for words in said for word in words if word.startswith(("configs/", "runs/"))}
    assert named == {f"configs/{path.name}", f"runs/{path.stem}"}
    for tokenizer in (words for words in said if words[0] == "tokenizer"):
        assert str(config.tokenizer.path) in tokenizer or tokenizer[1:] == ["train", f"configs/{path.name}"]


@pytest.mark.parametrize("path", DIFFUSION, ids=names(DIFFUSION))
def test_a_diffusion_model_has_room_for_what_the_comment_asks_of_it(path):
    (words,) = (words for words in commands(path) if words[0] == "generate")
    options = dict(itertools.pairwise(words))
    asked = int(options.get("--max-new-tokens", GenerateConfig().max_new_tokens))
    assert len(options["--prompt"].encode()) + asked <= load_config(path).config.model.context_length


@pytest.mark.medium
@pytest.mark.parametrize("path", LAST, ids=names(LAST))
def test_a_recipe_and_those_that_it_starts_from_run_shrunk(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(text(200), encoding="utf-8")
    write_rows(Path("rows.jsonl"))
    for each in chain(path):
        settings = shrunk(each, "text.txt", "rows.jsonl")
        if each == chain(path)[0]:
            assert main(["tokenizer", "train", str(each), *settings]) == 0
        assert main(["data", "prepare", str(each), *settings]) == 0
        assert main(["train", str(each), *settings]) == 0
        capsys.readouterr()
        if is_tuned(load_config(each).config):
            monkeypatch.setattr(sys, "stdin", io.StringIO("Copy: a b\n"))
            assert main(["chat", f"runs/{each.stem}", "--max-new-tokens", "4"]) == 0
            assert json.loads(capsys.readouterr().out.splitlines()[-1])["prompt"] == "Copy: a b"
        else:
            assert main(["generate", f"runs/{each.stem}", "--prompt", "the", "--max-new-tokens", "4"]) == 0
            assert json.loads(capsys.readouterr().out.splitlines()[-1])["prompt"] == "the"
        events = read_metrics(tmp_path / "runs" / each.stem / "metrics.jsonl")
        assert [event["step"] for event in events if event["event"] == "val"] == [2, 4]


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in LAST if path in SMOKES], ids=lambda path: path.stem)
def test_a_smoke_form_runs_by_its_own_commands_and_learns(path, tmp_path):
    needs("pretrain")
    environment = {name: here for name, here in os.environ.items() if not name.endswith("_NUM_THREADS")}
    (tmp_path / "configs").symlink_to(CONFIGS)
    for each in chain(path):
        for words in commands(each):
            subprocess.run(
                [sys.executable, "-m", "hornbook", *(word.replace("../shared/data", str(DATA)) for word in words)],
                cwd=tmp_path,
                env={**environment, "HORNBOOK_DATA": str(DATA)},
                input="Reverse: q d k a z e\n",
                text=True,
                check=True,
                timeout=900,
            )
        config = load_config(each).config
        assert config.model.vocab_size is not None
        untrained = math.log(2 if config.objective.kind == "preference" else config.model.vocab_size)
        events = read_metrics(tmp_path / "runs" / each.stem / "metrics.jsonl")
        losses = [event["val/loss"] for event in events if event["event"] == "val"]
        assert losses == sorted(losses, reverse=True)
        assert losses[-1] < (1.0 if is_tuned(config) else 0.9) * untrained

"""The script that trains the pair on WikiText-2: what it decides by itself."""

import gzip
import json
import math
import runpy
from pathlib import Path

import pytest

from hornbook.config.load import load_config
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.tokenizer import Tokenizer
from recipe_files import CONFIGS

SCRIPT = runpy.run_path(str(CONFIGS.parent / "scripts" / "wikitext2_hour.py"))


def test_settings_of_the_published_length_are_the_published_ones(tmp_path):
    noam, ours = SCRIPT["RECIPES"]
    settings = noam.settings(200_000)
    config = load_config(CONFIGS / f"{noam.name}.toml", settings).config
    assert config.schedule.warmup_steps == 4000
    assert config.optim.learning_rate == 1.0
    assert config.train.steps == 200_000
    assert config.checkpoint.light_every == config.train.eval_every == 20_000
    assert config.checkpoint.full_keep * config.checkpoint.full_every >= config.train.steps, "the curve needs all"
    assert not any(setting.startswith(("optim", "schedule")) for setting in ours.settings(2000))
    for recipe in SCRIPT["RECIPES"]:
        own = load_config(CONFIGS / f"{recipe.name}.toml").config
        assert own.train.tokens_per_step == recipe.tokens_per_step
        file = load_config(CONFIGS / f"{recipe.name}.toml", recipe.settings(own.train.steps)).config
        assert file.optim.learning_rate == pytest.approx(own.optim.learning_rate, rel=1e-3)
        assert file.schedule == own.schedule


def test_text_is_cut_at_the_titles_of_articles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = " \n = One = \n \n Words \u2028 more . \n = = Part = = \n Again . \n \n = Two = \n \n End . \n \n"
    Path("wiki.train.tokens.gz").write_bytes(gzip.compress(text.encode()))
    Path("wiki.valid.tokens").write_bytes(text.encode())
    SCRIPT["cut_into_articles"](tmp_path)
    for split in ("train", "validation"):
        with gzip.open(f"data/raw/wikitext-2/{split}.jsonl.gz", "rt", encoding="utf-8") as file:
            articles = [json.loads(line)["text"] for line in file]
        assert [article.splitlines()[0] for article in articles] == [" = One = ", " = Two = "]
        assert articles[0].split("\n")[-2:] == [" Again . ", " "]


def test_training_seconds_leave_out_what_was_trained_before_an_interruption_and_lost():
    logged = {
        5: {"train/tokens": 50, "train/compile_seconds": 3.0},  # all that was done is compiling
        10: {"train/tokens": 100, "train/tokens_per_second": 25.0},
        20: {"train/tokens": 200, "train/tokens_per_second": 50.0},
    }
    assert SCRIPT["training_seconds"](logged) == 3.0 + 2.0 + 2.0
    started = {10: {"train/tokens": 100, "train/tokens_per_second": 45.0, "train/compile_seconds": 3.0}}
    assert SCRIPT["training_seconds"](started) == 3.0 + 2.0  # nine steps, and one while compiling


def test_the_published_points_stand_in_bits_per_byte(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    articles = SCRIPT["ARTICLES"]
    articles.mkdir(parents=True)
    with gzip.open(articles / "validation.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write('{"text": "abcdefg"}\n')
    Tokenizer(BytePairScheme([bytes([byte]) for byte in range(256)], []), []).save(Path("tokenizers/cl100k"))
    rows = [line for line in SCRIPT["published"](Path("absent")) if line.startswith("| 5,000 ")]
    # 7 bytes are 7 tokens, and end of text is the eighth
    assert rows == [f"| 5,000 | 12,800,000 | 134.39 | {8 * math.log2(134.39) / 7:.3f} |"]


def test_the_page_has_both_cards_and_both_curves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("measured").mkdir()
    card = {"protocol": "strided: ...", "nats_per_token": 4.0, "perplexity": 54.6, "bits_per_byte": 1.25}
    card |= {"perplexity_low": 53.0, "perplexity_high": 56.0, "word_perplexity": 99.0, "tokens_scored": 960}
    compared = {"difference": -0.125, "difference_low": -0.2, "difference_high": -0.1}
    for name, content in {"compared": [card, {**card, "perplexity": 40.0}, compared]}.items():
        Path("measured", f"{name}.json").write_text(json.dumps(content))
    runs = {}
    for recipe in SCRIPT["RECIPES"]:
        runs[recipe.name] = run = RunDir.create(Path("runs"), recipe.name)
        (run.checkpoints / "step-00000020").mkdir()
        Path("measured", f"{recipe.name}-20.json").write_text(json.dumps([card]))
        events = [
            {"event": "start", "step": 0, "n_parameters": 42_000_000},
            {"event": "train", "step": 20, "train/tokens": 51_200, "train/tokens_per_second": 1024.0},
            {"event": "val", "step": 20, "val/loss": 4.5},
            {"event": "checkpoint", "step": 10},  # not kept
            {"event": "checkpoint", "step": 20},
        ]
        run.metrics_file.write_text("".join(json.dumps({"time": 0.0, **event}) + "\n" for event in events))
    said = "\n".join(SCRIPT["cards"](runs))
    assert (
        "| wikitext2-vaswani-hour | 42,000,000 | 20 | 51,200 | 50 | 1,024 | 4.0000 | 54.60 (53 to 56) | 99.0 |" in said
    )
    assert "| wikitext2-hour | 42,000,000 | 20 | 51,200 | 50 | 1,024 | 4.0000 | 40.00" in said
    assert "wikitext2-hour less wikitext2-vaswani-hour: -0.1250 bits/byte (-0.2 to -0.1)" in said
    rows = [line for line in SCRIPT["curve"]("wikitext2-hour", runs["wikitext2-hour"]) if line.startswith("| 20 ")]
    assert rows == ["| 20 | 102,400 | 4.5000 | 54.60 (53 to 56) | 4.000 | 1.250 | 960 |"]

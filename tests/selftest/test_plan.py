from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hornbook.config.data import EmbeddedSource, JsonlSource, ParquetSource, TextSource
from hornbook.errors import DataError
from hornbook.selftest import plan
from hornbook.selftest.plan import (
    LEAST_BYTES,
    LONGEST_PROMPT,
    MOST_EPOCHS,
    DemoOptions,
    affordable_steps,
    choose_source,
    configure,
    first_texts,
    new_directory,
    prompts_for,
    schedule_of,
    settings_of,
)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.txt", TextSource),
        ("folder", TextSource),
        ("a.jsonl", JsonlSource),
        ("a.jsonl.gz", JsonlSource),
        ("b.jsonl.zst", JsonlSource),
        ("a.parquet", ParquetSource),
    ],
)
def test_the_ending_of_a_corpus_names_its_kind(tmp_path, name, kind):
    config = configure(choose_source([tmp_path / name]))
    assert isinstance(config.data.source, kind)
    assert config.data.source.paths == (tmp_path / name,)


def test_without_a_corpus_there_is_the_embedded_one():
    assert isinstance(configure(choose_source([])).data.source, EmbeddedSource)


def test_a_small_corpus_is_one_clear_error(tmp_path):
    (tmp_path / "a.txt").write_text("too short\n")
    with pytest.raises(DataError, match=rf"10 bytes.*at least {LEAST_BYTES:,}"):
        first_texts(configure(choose_source([tmp_path / "a.txt"])).data.source)


def test_a_large_corpus_is_read_only_as_far_as_the_tokenizer_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "TOKENIZER_BYTES", 30_000)
    for name in "abcdef":
        (tmp_path / f"{name}.txt").write_text("ten bytes\n" * 1000)
    texts = first_texts(configure(choose_source([tmp_path])).data.source)
    assert sum(map(len, texts)) == 30_000


def test_each_demo_has_a_directory_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(plan.time, "strftime", lambda _: "demo-now")
    roots = [new_directory(tmp_path / "runs") for _ in range(3)]
    assert [root.name for root in roots] == ["demo-now", "demo-now-2", "demo-now-3"]
    assert all(root.is_dir() for root in roots)


def test_the_opening_of_a_line_of_long_words_is_short():
    text = "a b c d\n" + " ".join(["x" * 500] * 5) + "\ntoo short\n- one two three four\n"
    held_out = SimpleNamespace(n_tokens=9, read=lambda start, stop: np.arange(start, stop))
    tokenizer = SimpleNamespace(decode=lambda ids, skip_special: text)
    source = configure(choose_source([Path("own.txt")])).data.source
    assert prompts_for(source, tokenizer, held_out) == ["a b c", "x" * LONGEST_PROMPT, "- one two"]


def test_steps_fit_the_minutes_and_the_text():
    assert affordable_steps(3.0, 0.1, tokens=10**9, tokens_per_step=2048) == 1530
    assert affordable_steps(3.0, 0.1, tokens=20_480, tokens_per_step=2048) == 10 * MOST_EPOCHS
    assert affordable_steps(0.01, 60.0, tokens=10**9, tokens_per_step=2048) == 10


def test_a_file_of_many_stories_is_cut_at_its_separator(tmp_path):
    stories = tmp_path / "stories.txt"
    stories.write_text("<|endoftext|>".join(f"Story {i}. " + "word " * 50 for i in range(200)))
    source = configure(choose_source([stories])).data.source
    assert source.document_separator == "<|endoftext|>"
    assert len(first_texts(source)) == 200


def test_diffusion_changes_the_objective_and_not_the_model(tmp_path):
    both = [
        configure(settings_of(DemoOptions(diffusion=diffusion), choose_source([]), tmp_path, [b"x" * 20_000] * 9))
        for diffusion in (False, True)
    ]
    assert [config.objective.kind for config in both] == ["next_token", "masked_diffusion"]
    for same in ("model", "data", "schedule", "tokenizer"):
        assert getattr(both[0], same) == getattr(both[1], same)
    assert both[1].generate.max_new_tokens + 32 <= both[1].model.context_length


@pytest.mark.parametrize(
    ("n", "size", "vocab_size", "split"),
    [(1, 20_000, 512, "position"), (99, 3_000, 1024, "position"), (100, 20_000, 2048, "documents")],
)
def test_settings_are_a_valid_configuration(tmp_path, n, size, vocab_size, split):
    options = DemoOptions(minutes=2.0, seed=5, console="json", out_dir=tmp_path)
    settings = settings_of(options, choose_source([]), tmp_path / "demo", [b"x" * size] * n)
    config = configure(settings | schedule_of(options.minutes, 100, ["Return the"]))
    assert config.tokenizer.vocab_size == vocab_size
    assert config.run.seed == 5
    assert config.data.split == split
    assert config.train.log_every == 1
    assert (config.train.steps, config.train.eval_every, config.train.max_minutes) == (100, 12, 2.0)
    assert config.tracking.console == "json"

"""Numbers about generated texts, against counts by hand and a search through all of the training text."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data_paths import needs
from hornbook.checkpoint.load import load_checkpoint
from hornbook.cli.main import main
from hornbook.config.chat import TEMPLATES
from hornbook.config.model import ModelTable
from hornbook.data.dataset import Dataset
from hornbook.evaluation import copied as copying
from hornbook.evaluation.copied import COPIED_LENGTH, copied
from hornbook.evaluation.judge import judged
from hornbook.evaluation.samples import ends_in_loop, sample_statistics
from hornbook.evaluation.samples_card import text_tokens
from hornbook.generation import text as text_generation
from hornbook.generation.text import Generation, generate_text
from hornbook.interop.hf import load_hf_directory
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer
from hornbook.tracking.jsonl import read_metrics
from tiny_project import load, make_project, text
from tiny_run import make_run

MODEL = "models/stories260K-hf"


def test_counts_by_hand():
    found = sample_statistics([[1, 2, 1, 2, 1, 2], [3]])
    assert (found.texts, found.tokens, found.shortest, found.longest, found.length) == (2, 7, 1, 6, 3.5)
    assert (found.distinct_1, found.distinct_2, found.distinct_3) == (3 / 7, 2 / 5, 2 / 4)
    assert found.repetition == pytest.approx(1 / 3)  # of 1212, 2121, 1212; the text of one token has no such run
    shares = [3 / 7, 3 / 7, 1 / 7]
    assert found.entropy == pytest.approx(-sum(share * math.log(share) for share in shares))


def test_of_nothing_nothing_is_known():
    nothing = sample_statistics([])
    assert (nothing.length, nothing.distinct_1, nothing.repetition, nothing.loops, nothing.entropy) == (None,) * 5
    empty = sample_statistics([[]])
    assert (empty.length, empty.distinct_1, empty.loops, empty.entropy) == (0.0, None, 0.0, None)


@pytest.mark.parametrize(
    ("tokens", "is_loop"),
    [
        ([7] * 16, True),
        ([7] * 15, False),  # too short to tell
        ([*range(100), *[1, 2, 3] * 6], True),
        ([*range(20)] * 3, True),
        ([*range(20)] * 2, False),
        ([*[1, 2] * 20, 9], False),  # it found its way out
        ([*range(20), 0, *range(20), 1, *range(20)], False),
        ([], False),
    ],
)
def test_a_loop_is_three_rounds_at_the_end(tokens, is_loop):
    assert ends_in_loop(tokens) is is_loop


class Tokens:
    """A stream of known tokens."""

    def __init__(self, tokens):
        self.tokens, self.n_tokens, self.document_starts = np.array(tokens), len(tokens), np.zeros(1)

    def read(self, start, count):
        assert start + count <= self.n_tokens
        return self.tokens[start : start + count]


def by_search(texts, training):
    """Every passage looked for everywhere."""
    n = COPIED_LENGTH
    have = [tuple(stream[at : at + n]) for stream in training for at in range(len(stream) - n + 1)]
    return [[tuple(text[at : at + n]) in have for at in range(len(text) - n + 1)] for text in texts]


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
def test_copies_are_those_that_a_search_of_everything_finds(monkeypatch, piece):
    monkeypatch.setattr(copying, "_PIECE", piece)
    rng = np.random.default_rng(0)
    training = [rng.integers(0, 2, 40).tolist(), rng.integers(0, 2, 7).tolist(), rng.integers(0, 2, 90).tolist()]
    texts = [rng.integers(0, 2, length).tolist() for length in (30, 3, 8, 0)] + [training[2][50:70]]
    expected = by_search(texts, training)
    found = copied(texts, [Tokens(each) for each in training], most=10_000)
    assert found.passages == sum(map(len, expected))
    assert 13 <= found.copied == sum(map(sum, expected)) < found.passages
    assert found.longest >= 20
    assert found.training_tokens == 137
    first = copied(texts, [Tokens(each) for each in training], most=60)
    assert first.copied == sum(map(sum, by_search(texts, [training[0][:26], training[1], training[2][:27]])))
    assert first.training_tokens == 60
    assert copied([[1, 2]], [Tokens(training[0])], most=99).share is None


def test_equal_numbers_are_no_copies(monkeypatch):
    monkeypatch.setattr(copying, "_numbers", lambda windows: np.zeros(len(windows), dtype=np.uint64))
    training = list(range(100))
    found = copied([training[10:18], [5, 5, 5, 5, 5, 5, 5, 5]], [Tokens(training)], most=100)
    assert (found.passages, found.copied, found.longest) == (2, 1, 8)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained tiny run that drew samples."""
    from hornbook import assemble

    config = load(
        make_project(tmp_path_factory.mktemp("samples")),
        train__sample_every=6,
        train__sample_prompts=["the", "a cat"],
    )
    return assemble.train(config).run_dir


def test_a_judge_is_asked_of_the_continuation_alone(run):
    checkpoint = load_checkpoint(run.checkpoints / "step-00000012", with_optimizer=False)
    tokenizer = checkpoint.tokenizer
    table = ModelTable(context_length=32, d_model=16, n_layers=2, n_heads=2)
    judge = Transformer(table.complete(vocab_size=tokenizer.vocab_size))
    texts = [("the small", " cat sees."), ("", "a"), ("a\n", "cat"), ("\n", "a"), ("x" * 400, "never read")]
    found = judged(judge, tokenizer, texts)
    nats, n_tokens = 0.0, 0
    for prompt, continuation in texts[:-1]:
        before = [tokenizer.end_of_text_id, *tokenizer.encode(prompt)]
        ids = before + tokenizer.encode(continuation)
        logits = judge(torch.tensor([ids])).detach().double().log_softmax(-1)[0]
        nats -= sum(float(logits[place - 1, ids[place]]) for place in range(len(before), len(ids)))
        n_tokens += len(ids) - len(before)
    assert found.tokens == n_tokens
    assert found.bytes == len(" cat sees.") + 1 + len("cat") + 1
    assert found.nats == pytest.approx(nats, rel=1e-5)


def test_a_judge_that_puts_a_blank_before_every_text_puts_none_before_continuations():
    """stories260K: the sum over a text is that of its beginning and of what follows, and so are bytes."""
    model, _ = load_hf_directory(needs(MODEL))
    tokenizer = Tokenizer.load(needs(f"{MODEL}/tokenizer.json"))
    assert tokenizer.drops_first_blank
    first, rest = "Once upon a time,", " there was a little girl named Lily."
    whole, beginning, end = (
        judged(model, tokenizer, [text]) for text in (("", first + rest), ("", first), (first, rest))
    )
    assert end.nats == pytest.approx(whole.nats - beginning.nats, rel=1e-5)
    assert (end.tokens, end.bytes) == (whole.tokens - beginning.tokens, len(rest))
    assert whole.bytes == len(first + rest)
    assert end.nats / end.tokens < 1.0  # it knows such stories


def test_training_logs_numbers_of_its_samples(run):
    events = [event for event in read_metrics(run.metrics_file) if event["event"] == "samples"]
    assert [event["step"] for event in events] == [6, 12]
    for event in events:
        assert 0 < event["samples/length"] <= 8
        assert 0 < event["samples/distinct_1"] <= 1
        assert event["samples/loops"] == 0.0


def card_of(capsys):
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (card,) = [line for line in lines if line["event"] == "eval"]
    return card


def test_the_verb_measures_texts_that_it_makes(run, capsys):
    words = ["--prompt", "the", "--num-samples", "3", "--judge", str(run.root)]
    assert main(["eval", "samples", str(run.root), *words, "--set", "generate.max_new_tokens=20"]) == 0
    card = card_of(capsys)
    assert (card["measure"], card["texts"], card["prompts"], card["judge"]) == ("samples", 3, 1, str(run.root))
    assert 0 < card["tokens"] <= 60
    assert 0 < card["judge_perplexity"] < 300
    assert card["training_tokens"] == Dataset.open(run.root.parents[1] / "data").split("train").n_tokens
    assert Path(card["file"]).is_file()
    assert main(["eval", "samples", str(run.root), *words, "--set", "generate.max_new_tokens=20"]) == 0
    again = card_of(capsys)
    assert {**again, "seconds": 0, "time": 0} == {**card, "seconds": 0, "time": 0}
    words[1] = "a cat"
    assert main(["eval", "samples", str(run.root), *words, "--set", "generate.max_new_tokens=20"]) == 0
    other = card_of(capsys)
    assert other["file"] != card["file"]  # of other prompts is another measurement
    assert json.loads(Path(other["file"]).read_text())["prompt_texts"] == ["a cat"]


def test_a_tuned_model_answers_messages(run, tmp_path, capsys, monkeypatch):
    read = []

    def recorded(model, tokenizer, prompts, *arguments, **named):
        read.extend(map(tokenizer.decode, prompts))
        return generate_text(model, tokenizer, prompts, *arguments, **named)

    monkeypatch.setattr(text_generation, "generate_text", recorded)
    tuned = make_run(
        tmp_path, chat_template=TEMPLATES["hornbook"], model__context_length=64, train__tokens_per_step=128
    )
    words = ["--chat", "--prompt", "hi", "--prompt", "you", "--num-samples", "2", "--judge", str(run.root)]
    assert main(["eval", "samples", str(tuned), *words, "--set", "generate.max_new_tokens=8"]) == 0
    card = card_of(capsys)
    assert (card["texts"], card["prompts"], card["judge"]) == (4, 2, str(run.root))
    assert json.loads(Path(card["file"]).read_text(encoding="utf-8"))["prompt_texts"] == ["hi", "you"]
    assert "2 answers to each message" in card["protocol"]
    assert read == [f"<|user|>{prompt}<|end|><|assistant|>" for prompt in ("hi", "hi", "you", "you")]
    assert main(["eval", "samples", str(run.root), "--chat", "--prompt", "hi"]) == 2
    assert "has no chat template" in capsys.readouterr().err
    assert main(["eval", "samples", str(tuned), "--chat", "--samples", "made.jsonl"]) == 2
    assert "the texts of made.jsonl are made" in capsys.readouterr().err
    assert main(["eval", "samples", str(tuned), "--num-samples", "5", "--samples", "made.jsonl"]) == 2
    assert "--num-samples says how many to make" in capsys.readouterr().err


def test_greedy_texts_are_one_a_prompt_and_every_setting_is_told(run, capsys):
    words = ["--prompt", "the", "--prompt", "a", "--num-samples", "3", "--set", "generate.max_new_tokens=9"]
    greedy = [*words, "--set", "generate.temperature=0.0"]
    assert main(["eval", "samples", str(run.root), *greedy]) == 0
    card = card_of(capsys)
    assert card["texts"] == 2
    assert "1 of each prompt, temperature 0, up to 9 tokens, seed 0;" in card["protocol"]
    files = {card["file"]}
    for more in ("generate.repetition_penalty=1.5", 'generate.stop=["e"]', "generate.top_k=5"):
        assert main(["eval", "samples", str(run.root), *words, "--set", more]) == 0
        card = card_of(capsys)
        assert card["texts"] == 6
        assert more.split("=")[0].removeprefix("generate.") in card["protocol"]
        files.add(card["file"])
    assert len(files) == 4


def test_a_stop_string_is_not_measured(run):
    tokenizer = Tokenizer.load(run.checkpoints / "step-00000012" / "tokenizer")
    ids = tokenizer.encode("the cat.")
    made = Generation(
        prompt="",
        text="the cat",
        tokens=(*ids, tokenizer.end_of_text_id),
        logprobs=(0.0,) * (len(ids) + 1),
        finish_reason="stop",
        prompt_tokens=1,
        prompt_tokens_dropped=0,
        seconds=1.0,
    )
    assert tokenizer.decode(text_tokens(made, tokenizer)) == "the cat"
    assert text_tokens(replace(made, text="the cat."), tokenizer) == ids
    assert text_tokens(replace(made, text="", tokens=tuple(tokenizer.encode(" cat"))), tokenizer) == []


def test_texts_of_a_file_are_measured_as_they_are(run, tmp_path, capsys):
    written = tmp_path / "samples.jsonl"
    line = text(400).splitlines()[0]
    events = [
        {"event": "generate", "prompt": "", "output": line},
        {"event": "generate", "prompt": "the", "output": " cat" * 30},
        {"event": "notice"},
    ]
    written.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert main(["eval", "samples", str(run.root), "--samples", str(written)]) == 0
    card = card_of(capsys)
    assert (card["texts"], card["prompts"], card["loops"], card["known_words"]) == (2, 2, 0.5, 1.0)
    assert card["longest_copy"] >= COPIED_LENGTH
    written.write_text("Once upon a time")
    assert main(["eval", "samples", str(run.root), "--samples", str(written)]) == 2
    assert "expected the JSON lines of generated texts" in capsys.readouterr().err


def test_copies_are_looked_for_in_the_data_that_a_flag_names(run, tmp_path, capsys):
    own, other = run.root.parents[1] / "data", tmp_path / "other"
    shutil.copytree(own, other)
    mixed = ["--set", f'data.mixture=["{own}", "{other}"]', "--set", "data.weights=[1.0, 2.0]", "--num-samples", "1"]
    assert main(["eval", "samples", str(run.root), *mixed]) == 0
    assert card_of(capsys)["data"] == f"{own} (0.333), {other} (0.667) [train]"
    assert main(["eval", "samples", str(run.root), *mixed, "--data", str(own)]) == 0
    assert card_of(capsys)["data"] == f"{own} [train]"


def test_without_the_training_text_there_are_no_copies(run, capsys):
    assert main(["eval", "samples", str(run.root), "--num-samples", "1", "--data", "elsewhere"]) == 0
    said = capsys.readouterr()
    assert "nothing to look for copies in" in said.err
    card = json.loads(said.out.splitlines()[-1])
    assert (card["data"], card["copied"]) == ("no training text", None)
    assert "known_words" not in card

"""`hornbook data` for conversations and pairs: preparing, counting, and what a mistake says."""

import json

import pytest

from hornbook.cli.main import main
from hornbook.data.dataset import Dataset
from hornbook.tokenizer.tokenizer import Tokenizer
from hub_stub import Rows

TOML = """
[tokenizer]
path = "{root}/tokenizer"

[data]
stage = "sft"
path = "{root}/data"
valid_fraction = 0.2

[data.source]
kind = "jsonl"
paths = ["{root}/records.json"]

[data.tuning.columns]
instruction = "question"
output = "answer"

[model]
context_length = 32
init_from = "runs/learnt"
d_model = 16
n_layers = 1
n_heads = 1

[train]
tokens_per_step = 64
micro_batch_size = 1
"""
ROWS = [{"question": f"say {i}", "answer": f"the cat {i}", "chosen": "a cat", "rejected": "a rat"} for i in range(30)]


@pytest.fixture
def project(tmp_path):
    Tokenizer.train(["the cat sat on a mat and saw the rat"]).save(tmp_path / "tokenizer")
    rows = [*ROWS, {**ROWS[0], "answer": ""}, {**ROWS[0], "question": "say so " * 40}]
    (tmp_path / "records.json").write_text(json.dumps(rows))
    path = tmp_path / "tune.toml"
    path.write_text(TOML.format(root=tmp_path.as_posix()))
    return path


def run(capsys, *arguments):
    status = main(["data", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return [json.loads(line) for line in captured.out.splitlines()]


def test_prepare_says_rows_trained_tokens_and_what_was_left_out(project, capsys):
    *progress, result = run(capsys, "prepare", project)
    assert {event["event"] for event in progress} == {"progress"}
    assert (result["event"], result["stage"], result["already"]) == ("prepare", "sft", False)
    assert sum(split["conversations"] for split in result["splits"].values()) == 30
    train = Dataset.open(project.parent / "data").split("train")
    assert result["splits"]["train"]["trained_tokens"] == train.loss_mask(0, train.n_tokens).sum()
    assert {reason: found["count"] for reason, found in result["skipped"].items()} == {"empty answer": 1, "too long": 1}
    assert run(capsys, "prepare", project)[-1]["already"] is True


def test_count_before_and_after(project, capsys):
    before = run(capsys, "count", project)
    run(capsys, "prepare", project)
    after = run(capsys, "count", project, "--verify")
    again = run(capsys, "count", project.parent / "data")
    names = ("split", "conversations", "tokens", "trained_tokens", "mean_tokens", "median_tokens", "p95_tokens")
    numbers = [[[event.get(name) for name in names] for event in events] for events in (before, after, again)]
    assert numbers[1] == numbers[2]
    assert [row for row in numbers[0] if row[0]] == [row for row in numbers[1] if row[0]]
    assert {e["reason"]: e["count"] for e in before if e["event"] == "skipped"} == {"empty answer": 1, "too long": 1}
    assert {e["reason"]: e["count"] for e in after if e["event"] == "skipped"} == {"empty answer": 1, "too long": 1}


def test_another_stage_of_the_same_file(project, capsys):
    pairs = ("--stage", "dpo", "--set", f'data.path="{(project.parent / "pairs").as_posix()}"')
    *_, result = run(capsys, "prepare", project, *pairs)
    assert (result["stage"], sum(split["pairs"] for split in result["splits"].values())) == ("dpo", 31)
    counted = [event for event in run(capsys, "count", project, *pairs) if event["event"] == "count"]
    assert sum(event["pairs"] for event in counted) == 31
    stream = Dataset.open(project.parent / "pairs").split("train")
    assert stream.n_documents % 2 == 0


def test_on_a_terminal_in_words(project, capsys, monkeypatch):
    monkeypatch.setattr("hornbook.cli.data_view.emit", lambda *_, **__: None, raising=False)
    monkeypatch.setattr("hornbook.tracking.console.speaks_to_people", lambda *_: True)
    monkeypatch.setattr("hornbook.tracking.console.emit", lambda *_, **__: None)
    assert main(["data", "prepare", str(project)]) == 0
    said = capsys.readouterr().out
    assert "conversations  tokens  trained_tokens" in said
    assert "skipped 1: too long, first" in said
    assert main(["data", "count", str(project)]) == 0
    assert "left out 1: empty answer, first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (['data.source.text_field="story"'], 'text_field = "story" has no effect with stage = "sft"'),
        (["data.end_of_text=false"], 'end_of_text = false has no effect with stage = "sft"'),
        (['data.tuning.too_long="error"'], r'data.tuning.too_long = "drop"'),
        (['data.tuning.nothing_to_train="error"'], r'data.tuning.nothing_to_train = "drop"'),
        (['chat.template="none such"'], "no template has this name"),
    ],
)
def test_mistakes_are_one_message(project, capsys, settings, message):
    arguments = [each for setting in settings for each in ("--set", setting)]
    assert main(["data", "prepare", str(project), *arguments]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert message in said


def test_texts_are_refused(project, capsys):
    text = TOML.replace('kind = "jsonl"\npaths = ["{root}/records.json"]', 'kind = "embedded"')
    project.write_text(text.format(root=project.parent.as_posix()))
    for action in ("prepare", "count"):
        assert main(["data", action, str(project)]) == 2
        assert 'kind = "embedded" gives texts, but data.stage = "sft" needs records' in capsys.readouterr().err


def test_counting_needs_a_tokenizer(project, capsys):
    (project.parent / "tokenizer").rename(project.parent / "elsewhere")
    assert main(["data", "count", str(project)]) == 2
    assert "name one: --tokenizer" in capsys.readouterr().err
    assert run(capsys, "count", project, "--tokenizer", project.parent / "elsewhere")[0]["event"] in (
        "count",
        "progress",
    )


def test_no_tokenizer_is_trained_on_records(project, capsys):
    assert main(["tokenizer", "train", str(project)]) == 2
    assert 'data.stage = "sft": a tokenizer is trained on text, not on records' in capsys.readouterr().err


def test_fetched_pairs_are_prepared_as_they_are(tmp_path, project, capsys, monkeypatch):
    """The rows of the public sets: whole conversations, and prompts with answers of messages."""
    columns = '[data.tuning.columns]\ninstruction = "question"\noutput = "answer"\n'
    project.write_text(project.read_text().replace(columns, ""))
    asked = [{"role": "user", "content": "say"}]
    yes, no = ([{"role": "assistant", "content": text}] for text in ("the cat", "a rat"))
    rows = {
        "ultrafeedback-binarized": {"chosen": [*asked, *yes], "rejected": [*asked, *no], "score_chosen": 8.0},
        "hh-rlhf-helpful": {"prompt": asked, "chosen": yes, "rejected": no},
    }
    for name, row in rows.items():
        monkeypatch.setattr("hornbook.data.fetch.hub_rows", lambda *_, row=row, **__: iter(Rows([row])))
        *_, fetched = run(capsys, "fetch", name, "--out", tmp_path / name)
        assert (set(fetched["rows"]), fetched["stage"]) == ({"train", "test"}, "dpo")
        sources = [f'data.source.paths=["{fetched["files"][0]}"]', "data.valid_fraction=0"]
        settings = [*sources, f'data.path="{(tmp_path / name / "data").as_posix()}"']
        arguments = [each for setting in settings for each in ("--set", setting)]
        assert run(capsys, "prepare", project, "--stage", "dpo", *arguments)[-1]["splits"]["train"]["pairs"] == 1

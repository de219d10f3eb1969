"""`hornbook data`: every action runs, on a terminal in words and elsewhere in JSON lines, and mistakes are one line."""

import gzip
import json
import os
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest

from hornbook.cli.main import main
from hornbook.config.load import load_config
from hornbook.data.dataset import Dataset
from hornbook.tokenizer.tokenizer import Tokenizer
from hub_stub import Rows
from tiny_project import write_project


@pytest.fixture
def project(tmp_path):
    """A configuration with text and tokenizer, and nothing prepared."""
    path = write_project(tmp_path)
    path.write_text(path.read_text().replace('console = "none"', 'console = "auto"'))
    config = load_config(path, {}).config
    Tokenizer.train((tmp_path / "text.txt").read_text().splitlines(), config.tokenizer).save(config.tokenizer.path)
    return path


def events(text):
    """Every line of stdout is a JSON object, or this fails."""
    return [json.loads(line) for line in text.splitlines()]


def run(capsys, *arguments):
    status = main(["data", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (status, captured.err) == (0, "")
    return events(captured.out)


def test_prepare_count_and_inspect(project, capsys):
    *progress, result = run(capsys, "prepare", project)
    assert all(event["event"] == "progress" for event in progress)
    assert (result["event"], result["already"], result["empty_splits"]) == ("prepare", False, [])
    assert sum(split["documents"] for split in result["splits"].values()) == 400
    assert run(capsys, "prepare", project)[-1]["already"] is True

    for place in (project, project.parent / "data"):
        train, valid = run(capsys, "count", place, "--verify")
        assert (train["split"], train["tokens"]) == ("train", result["splits"]["train"]["tokens"])
        assert valid["bytes_per_token"] == round(valid["text_bytes"] / valid["tokens"], 3)

    dataset = Dataset.open(project.parent / "data")
    stream = dataset.split("valid")
    tokens = run(capsys, "inspect", project, "--split", "valid", "--window", 2)
    assert [token["id"] for token in tokens] == stream.read(32, 16).tolist()  # context_length 16
    assert tokens[0]["position"] == 32
    ends = [token["special"] for token in tokens]
    for token, following, ended in zip(tokens, tokens[1:], ends, strict=False):
        assert following["document"] == token["document"] + ended
    tokens = run(capsys, "inspect", dataset.path, "--document", 3)
    assert "".join(token["text"] for token in tokens) == dataset.tokenizer().decode(dataset.split("train").document(3))
    assert {token["document"] for token in tokens} == {3}
    assert len(run(capsys, "inspect", dataset.path, "--length", 40)) == 40


def test_the_short_forms_of_settings(project, capsys):
    result = run(
        capsys, "prepare", project, "--max-documents", 50, "--on-error", "skip", "--set", "data.end_of_text=false"
    )
    assert sum(split["documents"] for split in result[-1]["splits"].values()) == 50
    made_from = Dataset.open(project.parent / "data").index.made_from
    assert (made_from["max_documents"], made_from["on_error"], made_from["end_of_text"]) == (50, "skip", False)
    assert main(["data", "prepare", str(project), "--max-tokens", "100"]) == 2
    assert "max_tokens: null there, 100 now" in capsys.readouterr().err
    result = run(capsys, "prepare", project, "--max-tokens", 100, "--force")
    assert 100 <= sum(split["tokens"] for split in result[-1]["splits"].values()) < 150
    assert main(["data", "prepare", str(project), "--max-tokens", "100", "--print-config"]) == 0
    assert "max_tokens = 100" in capsys.readouterr().out
    assert main(["data", "prepare", str(project), "--text-field", "story"]) == 2
    assert "text_field" in capsys.readouterr().err  # a text source has none


def test_bad_input_is_one_line_or_counted(project, capsys):
    broken = project.parent / "broken.jsonl"
    broken.write_text('{"text": "the cat"}\n{"text": \n{"text": "a dog"}\n{}\n')
    source = ("--set", 'data.source.kind="jsonl"', "--set", f'data.source.paths=["{broken.as_posix()}"]')
    project.write_text(project.read_text().replace('document_separator = "line"\n', ""))
    assert main(["data", "prepare", str(project), *source]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"{broken}:2: not a JSON object on one line" in captured.err
    result = run(capsys, "prepare", project, *source, "--on-error", "skip", "--set", "data.valid_fraction=0.0")[-1]
    assert {reason: skipped["count"] for reason, skipped in result["skipped"].items()} == {
        "broken JSON": 1,
        "missing field": 1,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["count", "nowhere.toml"], "nowhere.toml"),
        (["count", "tokenizer"], "no index.json here"),
        (["inspect", "PROJECT", "--window", "100000"], "window 100000 is outside 0.."),
        (["inspect", "PROJECT", "--document", "-1"], "document -1 is outside 0.."),
        (["inspect", "PROJECT", "--split", "test"], "no split 'test', only train, valid"),
        (["fetch"], "hornbook data fetch --list"),
    ],
)
def test_mistakes_are_one_line(project, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(project.parent)
    if arguments[0] == "inspect":
        run(capsys, "prepare", project)
    assert main(["data", *[str(project) if word == "PROJECT" else word for word in arguments]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_missing_tokenizer_says_what_to_do(tmp_path, capsys):
    assert main(["data", "prepare", str(write_project(tmp_path))]) == 2
    assert "hornbook tokenizer train CONFIG" in capsys.readouterr().err


def test_on_a_terminal_people_are_spoken_to(project, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "dumb")

    def said(*arguments):
        assert main(["data", *map(str, arguments)]) == 0
        return capsys.readouterr().out

    with (project.parent / "text.txt").open("ab") as file:
        file.write(b"\xff\n")
    assert "skipped 1: invalid UTF-8, first" in said("prepare", project, "--on-error", "skip")
    assert "prepared already, nothing to do" in said("prepare", project, "--on-error", "skip")
    assert "the split valid is empty" in said(
        "prepare", project, "--on-error", "skip", "--force", "--set", "data.valid_fraction=0.000001"
    )
    table = said("count", project, "--verify").splitlines()
    assert table[0].split() == ["split", "documents", "tokens", "text_bytes", "bytes_per_token", "shards"]
    assert table[-1] == "every digest is right"
    window = said("inspect", project, "--length", 30)
    assert "document 1 ──" in window
    assert "<|endoftext|>" in window
    assert "window 0 of" in window
    assert "roneneldan/TinyStories" in said("fetch", "--list")


def test_fetch(tmp_path, capsys, monkeypatch):
    module = types.ModuleType("datasets")
    module.load_dataset = lambda *_, **__: Rows([{"text": "once"}, {"text": "twice"}])
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr("hornbook.data.record_sources.ask_hub", lambda _: None)
    monkeypatch.chdir(tmp_path)
    *_, result = run(capsys, "fetch", "owner/name", "--max-documents", 1)
    path = tmp_path / "data" / "raw" / "owner--name" / "train.jsonl.gz"
    assert gzip.decompress(path.read_bytes()) == b'{"text": "once"}\n'
    assert (result["rows"], result["text_field"]) == ({"train": 1}, None)
    assert {event["name"] for event in run(capsys, "fetch", "--list")} >= {"TinyStories", "alpaca-cleaned"}


@pytest.mark.parametrize("arguments", [("fetch", "x/y", "--max-documents"), ("inspect", "somewhere", "--length")])
@pytest.mark.parametrize("number", ["0", "-5", "ten"])
def test_numbers_that_count_nothing_are_refused(capsys, arguments, number):
    with pytest.raises(SystemExit, match="2"):
        main(["data", *arguments, number])
    assert f"'{number}': expected a whole number of at least 1" in capsys.readouterr().err


def test_fetch_offline_is_one_clear_line(tmp_path, capsys, monkeypatch):
    module = types.ModuleType("datasets")

    def load_dataset(*_, **__):
        raise ConnectionError("Couldn't reach the Hub")

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr("hornbook.data.record_sources.ask_hub", lambda _: None)
    assert main(["data", "fetch", "TinyStories", "--out", str(tmp_path / "out")]) == 2
    assert "Offline? Use local files" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.medium
def test_the_shipped_configuration_runs(tmp_path):
    config = Path(__file__).parents[2] / "configs" / "data.toml"
    for arguments in (["tokenizer", "train", config], ["data", "prepare", config], ["data", "count", config]):
        command = [sys.executable, "-m", "hornbook", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=dict(os.environ))
        assert events(done.stdout)
    assert events(done.stdout)[0]["documents"] > 100


@pytest.mark.parametrize("action", ["count", "inspect"])
def test_print_config_without_looking_at_the_data(project, tmp_path, capsys, action):
    assert main(["data", action, str(project), "--set", "data.workers=3", "--print-config"]) == 0
    assert tomllib.loads(capsys.readouterr().out)["data"]["workers"] == 3
    assert main(["data", action, str(tmp_path), "--print-config"]) == 2
    assert "name a TOML file" in capsys.readouterr().err

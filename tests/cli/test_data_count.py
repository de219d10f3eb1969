"""`hornbook data count`: what sources would give is what preparing them gives."""

import gzip
import io
import json
import re

import pytest
from rich.console import Console

from hornbook.cli.main import main
from hornbook.config.load import load_config
from hornbook.data.prepare import prepare
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_project import write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A configuration with text and tokenizer, and nothing prepared."""
    path = write_project(tmp_path_factory.mktemp("count"))
    config = load_config(path, {}).config
    Tokenizer.train((path.parent / "text.txt").read_text().splitlines(), config.tokenizer).save(config.tokenizer.path)
    return path


@pytest.fixture
def run(project, capsys, monkeypatch):
    """Runs `count`; gives (status, JSON lines without progress, stderr)."""
    monkeypatch.chdir(project.parent)

    def run(*arguments):
        status = main(["data", "count", *map(str, arguments)])
        captured = capsys.readouterr()
        events = [json.loads(line) for line in captured.out.splitlines()]
        return status, [e for e in events if e["event"] != "progress"], captured.err

    return run


@pytest.mark.parametrize(
    "settings", [[], ["data.split='position'"], ["data.end_of_text=false", "data.max_documents=50"]]
)
def test_sources_count_as_what_preparing_gives(project, run, tmp_path, settings):
    settings = [*settings, f"data.path='{tmp_path}/data'"]
    overrides = [word for setting in settings for word in ("--set", setting)]
    status, counted, _ = run(project, *overrides)
    assert status == 0
    config = load_config(project, settings).config
    dataset = prepare(config.data, Tokenizer.load(config.tokenizer.path))
    for name, split in dataset.index.splits.items():
        (total,) = [e for e in counted if e["split"] == name and "source" in e]
        assert (total["documents"], total["tokens"]) == (split.documents, split.tokens)
        assert total["text_bytes"] == split.text_bytes
    assert {e["file"] for e in counted if "file" in e} == {str(project.parent / "text.txt")}
    _, prepared, _ = run(project, *overrides)
    assert "verified" in prepared[0]  # what is prepared is not read again
    _, again, _ = run(project, "--source", *overrides)
    assert [e | {"time": 0} for e in again] == [e | {"time": 0} for e in counted]


def test_files_of_every_kind(project, run, tmp_path):
    (tmp_path / "a.txt").write_text("the cat sees\n")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"story": "a dog"}\n{"story": "the big cat"}\n'))
    (tmp_path / "notes").write_text("one two three four")
    status, events, _ = run(tmp_path, tmp_path / "notes", "--text-field", "story", "--tokenizer", "tokenizer")
    assert status == 0
    by_file = {e["file"].rpartition("/")[2]: e for e in events if "file" in e}
    assert {name: (e["documents"], e["words"], e["text_bytes"]) for name, e in by_file.items()} == {
        "a.txt": (1, 3, 13),
        "notes": (1, 4, 18),
        "b.jsonl.gz": (2, 5, 16),
    }
    tokenizer = Tokenizer.load(project.parent / "tokenizer")
    assert by_file["b.jsonl.gz"]["tokens"] == len(tokenizer.encode("a dog")) + len(tokenizer.encode("the big cat"))
    total = events[-1]
    assert (total["split"], total["documents"], total["words"]) == ("train", 4, 12)
    assert total["tokens"] == sum(e["tokens"] for e in by_file.values())
    _, events, _ = run(tmp_path / "a.txt")
    assert events[-1]["tokens"] is None


def test_bad_input_is_counted_or_stops(project, run, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "the cat"}\n{"text": 3}\n')
    status, events, err = run(tmp_path / "a.jsonl")
    assert (status, events) == (2, [])
    assert "a.jsonl:2: 'text' is of type int" in err
    source = ("--set", f"data.source={{kind='jsonl', paths=['{tmp_path}/a.jsonl']}}", "--set", "data.on_error='skip'")
    _, events, _ = run(project, "--set", "data.path='none'", *source)
    assert events[-1]["event"] == "skipped"
    assert (events[-1]["reason"], events[-1]["count"]) == ("field is not text", 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such data set, configuration, file or folder"),
        (["nowhere.toml"], "nowhere.toml"),
        (["empty"], "no index.json here"),
        (["empty", "empty"], "no text, JSON lines or Parquet files there"),
        (["text.txt", "--verify"], "--verify means nothing here"),
        (["text.txt", "--set", "data.max_documents=3"], "no configuration to set"),
        (["text.txt", "--tokenizer", "nowhere"], "nowhere: no such tokenizer"),
        (["tiny.toml", "--text-field", "x", "--set", "data.path='none'"], "--text-field means nothing here"),
    ],
)
def test_mistakes_are_one_line(project, run, arguments, message):
    (project.parent / "empty").mkdir(exist_ok=True)
    status, events, err = run(*arguments)
    assert (status, events) == (2, [])
    assert message in err
    assert err.count("\n") == 1


def test_the_table_on_a_terminal(project, run, tmp_path, monkeypatch):
    for number in range(25):
        (tmp_path / f"{number:02d}.txt").write_text("the cat " * (number + 1))
    file = io.StringIO()
    monkeypatch.setattr("hornbook.tracking.console.speaks_to_people", lambda: True)
    monkeypatch.setattr("rich.console.Console", lambda: Console(file=file, width=120))
    run(tmp_path, "--tokenizer", "tokenizer")
    shown = file.getvalue()
    assert "24.txt" in shown
    assert "04.txt" not in shown
    assert re.search(r"5 smaller ones +│ +│ +5 │ +120 │", shown)
    assert re.search(r"all +│ train +│ +25 │ +2,600 │ +650 │", shown)
    assert "enough for a model of about" in shown

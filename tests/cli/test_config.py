import json

import pytest

from hornbook.cli.main import main
from hornbook.config.presets import PRESETS


def pretend_to_be_a_terminal(monkeypatch):
    """Not a fixture: pytest changes stdout between a test's fixtures and the test."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def run_toml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text('[model]\npreset = "vaswani"\n\n[train]\nsteps = 7\n')
    return "run.toml"


def test_show_gives_key_value_and_origin(run_toml, capsys):
    assert main(["config", "show", run_toml, "--set", "run.seed=5"]) == 0
    shown = {row["key"]: (row["value"], row["origin"]) for row in lines(capsys)}
    assert shown["train.steps"] == (7, "run.toml:5")
    assert shown["run.seed"] == (5, "--set")
    assert shown["model.d_model"] == (512, "preset vaswani")
    assert shown["train.max_minutes"] == (None, "default")
    assert shown["data.source.kind"] == ("embedded", "default")
    assert shown["run.out_dir"] == ("runs", "default")


def test_show_is_aligned_on_a_terminal(run_toml, capsys, monkeypatch):
    pretend_to_be_a_terminal(monkeypatch)
    assert main(["config", "show", run_toml]) == 0
    rows = capsys.readouterr().out.splitlines()
    steps, unset = (next(row for row in rows if row.startswith(key)) for key in ("train.steps", "train.max_minutes"))
    assert steps.split() == ["train.steps", "7", "run.toml:5"]
    assert unset.split() == ["train.max_minutes", "(unset)", "default"]
    assert steps.index("7") == unset.index("(unset)")


def test_check_tells_right_from_wrong(run_toml, tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text("[train]\nsteps = -1\nstepz = 1\n")
    assert main(["config", "check", run_toml]) == 0
    assert lines(capsys) == [{"file": "run.toml", "ok": True, "error": None}]
    assert main(["config", "check", "wrong.toml", run_toml, "absent.toml"]) == 2
    out, err = capsys.readouterr()
    assert [json.loads(line)["ok"] for line in out.splitlines()] == [False, True, False]
    assert err.splitlines() == [
        "hornbook config: 2 problems in the configuration:",
        "  wrong.toml:2: train.steps = -1: expected an integer of at least 1",
        "  wrong.toml:3: train.stepz: unknown key; did you mean train.steps?",
        "hornbook config: absent.toml: no such file; give the path of a TOML configuration",
    ]


def test_check_on_a_terminal(run_toml, capsys, monkeypatch):
    pretend_to_be_a_terminal(monkeypatch)
    assert main(["config", "check", run_toml]) == 0
    assert capsys.readouterr().out == "run.toml  ok\n"


def test_presets(capsys, monkeypatch):
    assert main(["config", "presets"]) == 0
    rows = lines(capsys)
    assert [row["preset"] for row in rows] == list(PRESETS)
    assert {row["preset"]: row["parameters"] for row in rows}[
        "gpt2"
    ] == 85_056_000  # 124,439,808 less the two embeddings
    pretend_to_be_a_terminal(monkeypatch)
    assert main(["config", "presets"]) == 0
    header, *rows, footnote, auto = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["preset", "parameters", "n_layers", "n_heads"]
    assert footnote.startswith("parameters: besides the embeddings")
    assert auto.startswith("auto: with model.depth")
    assert [row.split()[0] for row in rows] == list(PRESETS)


def test_schema_is_one_json_document(capsys):
    assert main(["config", "schema"]) == 0
    (schema,) = lines(capsys)
    assert schema["properties"]["extends"]

"""`hornbook eval harness --native` in this process: numbers, cache, table, and what is said of mistakes."""

import io
import json
import sys

import pytest

from hornbook.cli.main import main
from hornbook.storage.run_dir import RunDir
from tiny_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("harness"))


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "tasks" / "blimp"
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        pairs = [{"sentence_good": f"the cat {n}", "sentence_bad": f"cat {n} the"} for n in range(4)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    (tmp_path / "tasks" / "cloze.jsonl").write_text('{"query": "the", "target": " cat"}\n')
    return tmp_path / "tasks"


def ask(capsys, *arguments) -> dict:
    assert main(["eval", "harness", "--native", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_numbers_of_tasks_and_a_card_with_their_parts(run, data, capsys):
    result = ask(capsys, run, "--tasks", "blimp", "cloze", "--data", data)
    assert (result["measure"], result["scored_by"], result["blimp_questions"]) == ("harness", "hornbook", 8)
    assert 0 <= result["blimp_acc_low"] <= result["blimp_acc"] <= result["blimp_acc_high"] <= 1
    assert result["cloze_perplexity"] > 1
    assert "autoregressive, exact by the chain rule; every text begins with <|endoftext|>" in result["protocol"]
    [card] = RunDir.open(run).evals.glob("harness-step-*.json")
    kept = json.loads(card.read_text(encoding="utf-8"))
    assert [(part["name"], part["questions"]) for part in kept["parts"]] == [("blimp_one", 4), ("blimp_two", 4)]


def test_what_was_asked_before_is_remembered(run, data, capsys):
    first = ask(capsys, run, "--tasks", "blimp", "--data", data)
    again = ask(capsys, run, "--tasks", "blimp", "--data", data)
    assert (first["remembered"], again["remembered"], again["requests"]) == (0, 16, 16)
    assert again["blimp_acc"] == first["blimp_acc"]
    assert ask(capsys, run, "--tasks", "blimp", "--data", data, "--no-cache")["remembered"] == 0


def test_a_limit_is_of_each_file(run, data, capsys):
    assert ask(capsys, run, "--tasks", "blimp", "--data", data, "--limit", 3)["blimp_questions"] == 6


def test_a_terminal_sees_a_table(run, data, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(["eval", "harness", str(run), "--native", "--tasks", "blimp", "--data", str(data)]) == 0
    assert "blimp_two" in shown.getvalue()
    assert "chain rule" in shown.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{data}"], "no task: name one with --tasks; there are blimp, lambada"),
        (["--tasks", "mmlu", "--data", "{data}"], "no task 'mmlu'; there are blimp, lambada"),
        (["--tasks", "blimp"], "where are the files of blimp? name their directory: --data DIR"),
        (["--tasks", "blimp", "--data", "{data}/none"], "none, which does not exist"),
        (["--tasks", "blimp", "cloze", "--data", "{data}/cloze.jsonl"], "is one file, of one task"),
        (["--tasks", "lambada", "--data", "{data}"], "nothing for task lambada"),
        (["--tasks", "blimp", "--data", "{data}", "--draws", "3", "--seed", "1"], "is exact; leave them out"),
    ],
)
def test_mistakes_are_explained(run, data, capsys, arguments, message):
    given = [argument.format(data=data) for argument in arguments]
    assert main(["eval", "harness", str(run), "--native", *given]) == 2
    assert message in capsys.readouterr().err


def test_without_lm_eval_the_extra_is_named(run, data, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "hornbook.evaluation.harness", raising=False)
    assert main(["eval", "harness", str(run), "--tasks", "blimp", "--data", str(data)]) == 2
    assert "without --native needs the package lm-eval" in (said := capsys.readouterr().err)
    assert "hornbook[eval]" in said


def test_print_config(run, capsys):
    assert main(["eval", "harness", str(run), "--tasks", "blimp", "--native", "--print-config=json"]) == 0
    harness = json.loads(capsys.readouterr().out)["eval"]["harness"]
    assert (harness["tasks"], harness["native"], harness["cache"]) == (["blimp"], True, True)

"""`hornbook generate` with beams and guesses, prompts out of documents, and ways to decode compared."""

import io
import json
import re
import sys

import pytest

import tiny_checkpoint
from hornbook.cli.main import main
from tiny_run import make_run

SMALL = ("--set", "run.threads=1", "--max-new-tokens", "6")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def data(run):
    from hornbook.config.load import load_config

    return load_config(run / "config.toml").config.data.path


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def generate(capsys, *arguments) -> list[dict]:
    assert main(["generate", *map(str, arguments), *SMALL]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_n_best(run, capsys):
    beam = ("--strategy", "beam", "--beam-width", 5, "--length-penalty", 0.5)
    found = generate(capsys, run, *beam, "--n-best", 3, "--prompt", "the", "--prompt", "a")
    assert [(each["prompt"], each["rank"]) for each in found] == [(text, n) for text in ("the", "a") for n in (1, 2, 3)]
    assert found[0]["score"] >= found[1]["score"] >= found[2]["score"]
    assert found[0]["parameters"]["beam"] == {"width": 5, "length_penalty": 0.5}
    [alone] = generate(capsys, run, *beam, "--prompt", "the")
    assert alone["output"] == found[0]["output"]


def test_a_terminal_sees_ranks(run, monkeypatch):
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert main(["generate", str(run), *SMALL, "--strategy", "beam", "--n-best", "2", "--prompt", "the"]) == 0
    assert "1. score -" in terminal.getvalue()
    assert "\n2. score -" in terminal.getvalue()


def test_guesses_change_nothing_but_are_told_of(run, capsys):
    [plain] = generate(capsys, run, "--prompt", "the the the", "--temperature", 0)
    assert "guessed" not in plain
    for draft in (("--draft-lookup", 1), ("--draft", run), ("--draft", run, "--draft-tokens", 2)):
        [found] = generate(capsys, run, "--prompt", "the the the", "--temperature", 0, *draft)
        assert found["output"] == plain["output"]
        assert 0 < found["accepted"] <= found["guessed"]
    assert found["accepted"] == found["guessed"]  # its own draft


def test_a_terminal_is_told_of_guesses(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main(["generate", str(run), *SMALL, "--draft", str(run), "--prompt", "the"]) == 0
    assert "guesses stood (100 %)" in capsys.readouterr().err


def test_a_prompt_out_of_a_document(run, data, capsys):
    [found] = generate(capsys, run, "--prompt-from", f"{data}:0", "--prompt-tokens", 5)
    assert found["prompt_tokens"] == 5
    [half] = generate(capsys, run, "--prompt-from", f"{data}:0")
    assert half["prompt"].startswith(found["prompt"])


def test_a_comparison_in_json_and_html(run, data, capsys, tmp_path):
    page = tmp_path / "ways.html"
    found = generate(capsys, run, "--compare", "--prompt-from", f"{data}:0", "--prompt-tokens", 4, "--html", page)
    ways = ["greedy", "beam 10", "top-k 128", "temperature 0.7", "top-p 0.95", "the document"]
    assert [each["way"] for each in found] == ways
    for each in found:
        assert each["event"] == "generate_compare"
        assert each["logprob"] < 0.0
        assert each["logprob_per_token"] == pytest.approx(each["logprob"] / each["tokens"], abs=1e-3)
        assert 0.0 <= each["repetition"] <= 1.0
    greedy, beam = found[0], found[1]
    assert beam["logprob"] >= greedy["logprob"] - 1e-3 or beam["tokens"] > greedy["tokens"]
    [alone] = generate(capsys, run, "--prompt-from", f"{data}:0", "--prompt-tokens", 4, "--temperature", 0)
    assert alone["output"] == greedy["output"]
    text = page.read_text(encoding="utf-8")
    assert all(f"<h2>{way}</h2>" in text for way in ways)


@pytest.mark.parametrize("columns", [200, 40])
def test_a_comparison_on_a_terminal(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert main(["generate", str(run), *SMALL, "--compare", "--prompt", "the"]) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert all(way in shown for way in ("prompt", "greedy", "beam 10", "top-p 0.95", "log-probability", "repetition"))
    assert max(len(line) for line in shown.splitlines()) <= columns


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n-best", "2"], "--n-best has no effect without --strategy beam"),
        (["--strategy", "beam", "--num-samples", "2"], "--num-samples has no effect on a search"),
        (["--strategy", "beam", "--n-best", "11"], "generate.beam.width = 10 keeps fewer"),
        (["--strategy", "beam", "--temperature", "1"], "temperature has no effect"),
        (["--beam-width", "3"], "beam.width has no effect"),
        (["--strategy", "beam", "--beam-width", "0"], "generate.beam.width"),
        (["--draft", "runs/nowhere"], "runs/nowhere"),
        (["--draft-tokens", "3"], "nothing guesses"),
        (["--html", "a.html"], "--html has no effect without --compare"),
        (["--compare", "--temperature", "1"], "generate.temperature has no effect on a comparison"),
        (["--compare", "--num-samples", "2"], "--num-samples has no effect with --compare"),
        (["--compare", "--prompt", "a", "--prompt", "b"], "and 2 were given"),
        (["--prompt-tokens", "3"], "--prompt-tokens has no effect without --prompt-from"),
        (["--prompt-from", "DATA:99999"], "documents; choose 0 to"),
        (["--prompt-from", "DATA:0", "--prompt-tokens", "99999"], "fewer than --prompt-tokens 99999"),
        (["--prompt-from", "nowhere:0"], "nowhere"),
    ],
)
def test_refusals_say_what_to_do(run, data, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["generate", str(run), *[part.replace("DATA", str(data)) for part in arguments]]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


def test_a_draft_of_another_tokenizer_is_refused(run, capsys, tmp_path):
    other = tiny_checkpoint.save(tmp_path, 1, tokenizer=tiny_checkpoint.tiny_tokenizer())
    assert main(["generate", str(run), *SMALL, "--draft", str(other), "--prompt", "the"]) == 2
    assert "another tokenizer" in capsys.readouterr().err

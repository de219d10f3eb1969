"""`hornbook eval perplexity` in this process: one JSON line or a table, and a card in the run."""

import io
import json
import math
import sys

import pytest

from hornbook.cli.main import main
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_run import STEP, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("eval"))


def evaluate(capsys, *arguments) -> dict:
    assert main(["eval", "perplexity", *map(str, arguments)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {line["event"] for line in lines[:-1]} <= {"progress"}
    return lines[-1]


def test_the_runs_own_validation_split(run, capsys):
    result = evaluate(capsys, run)
    assert (result["event"], result["measure"], result["step"]) == ("eval", "perplexity", STEP)
    assert (result["window"], result["stride"]) == (16, 8)
    assert result["perplexity"] == pytest.approx(math.exp(result["nats"] / result["tokens_scored"]))
    assert result["bits_per_byte"] == pytest.approx(result["nats"] / math.log(2) / result["bytes_scored"])
    assert "[valid]" in result["data"]
    assert "every token but the stream's first" in result["protocol"]


def test_the_card_is_kept_and_the_record_hears_of_it(run, capsys):
    result = evaluate(capsys, run, "--window", 8, "--max-tokens", 100)
    [card] = RunDir.open(run).evals.glob("perplexity-step-00000012-8-4-*.json")
    assert result["file"] == str(card)
    kept = json.loads(card.read_text(encoding="utf-8"))
    assert kept["tokens_scored"] == 99
    assert kept["perplexity"] == result["perplexity"]
    event = json.loads(RunDir.open(run).metrics_file.read_text(encoding="utf-8").splitlines()[-1])
    assert (event["event"], event["perplexity"]) == ("eval", result["perplexity"])


def test_rounded_weights_have_a_card_of_their_own(run, capsys):
    exact = evaluate(capsys, run, "--window", 12)
    assert exact["precision"] == "float32"
    for precision in ("bfloat16", "int8"):
        rounded = evaluate(capsys, run, "--window", 12, "--precision", precision)
        assert rounded["precision"] == precision
        assert rounded["nats"] != exact["nats"]
        assert rounded["nats"] == pytest.approx(exact["nats"], rel=0.05)
    assert len(list(RunDir.open(run).evals.glob("perplexity-step-00000012-12-6-*.json"))) == 3


def test_what_a_run_was_evaluated_by_locks_no_other_measure(tmp_path, capsys):
    """Its own [eval] is of the evaluation that it was made for; a flag or another measure has its own."""
    text = tmp_path / "a.txt"
    text.write_text("the cat sees a dog. " * 9)
    given = {"protocol": "last-token", "last_token_batch": 2, "bootstrap": {"level": 0.9, "block_tokens": 9}}
    once = make_run(tmp_path / "once", **{f"eval__{name}": value for name, value in given.items()})
    result = evaluate(capsys, once)
    assert (result["protocol_name"], result["level"]) == ("last-token", 0.9)
    assert evaluate(capsys, once, "--protocol", "chunked")["protocol_name"] == "chunked"
    assert main(["eval", "samples", str(once), "--num-samples", "1"]) == 0
    capsys.readouterr()
    again = make_run(tmp_path / "again", eval__stride=12, eval__text=[text])
    assert evaluate(capsys, again)["stride"] == 12
    assert evaluate(capsys, again, "--protocol", "exact", "--window", 4)["stride"] == 1
    assert evaluate(capsys, again, "--window", 8)["stride"] == 4
    assert evaluate(capsys, again, "--window", 16)["stride"] == 12
    assert evaluate(capsys, again, "--protocol", "strided")["stride"] == 12
    assert evaluate(capsys, once, "--protocol", "last-token")["tokens_scored"] == result["tokens_scored"]
    assert "[valid]" in evaluate(capsys, again, "--split", "valid")["data"]
    assert main(["eval", "perplexity", str(again), "--stride", "12", "--window", "8"]) == 2
    assert "stride = 12 is more than window = 8" in capsys.readouterr().err
    assert main(["eval", "perplexity", str(again), "--text", str(text), "--data", "elsewhere"]) == 2
    assert "--text and --data" in capsys.readouterr().err


def test_precision_is_of_the_perplexity_alone(run, capsys):
    assert main(["eval", "bound", str(run), "--set", 'eval.precision="int8"']) == 2
    assert "eval.precision = int8 has an effect only in `hornbook eval perplexity`" in capsys.readouterr().err


def test_text_files_are_documents_that_end_in_end_of_text(run, capsys, tmp_path):
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for file in files:
        file.write_text("the cat sees a bird", encoding="utf-8")
    result = evaluate(capsys, run, "--best", "--text", *files)
    tokenizer = Tokenizer.load(run / "checkpoints" / f"step-{STEP:08d}" / "tokenizer")
    ids = tokenizer.encode("the cat sees a bird")
    assert result["tokens_scored"] == 2 * (len(ids) + 1) - 1
    assert result["bytes_scored"] == 2 * len("the cat sees a bird") - len(tokenizer.token_bytes(ids[0]))


@pytest.mark.parametrize("stride", [1, 16])
def test_a_stride_of_ones_own(run, capsys, stride):
    assert evaluate(capsys, run, "--stride", stride, "--batch-size", 3, "--max-tokens", 50)["stride"] == stride


def test_a_terminal_sees_a_table(run, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stdout", shown)
    assert main(["eval", "perplexity", str(run), "--max-tokens", "50"]) == 0
    assert "bits_per_byte" in shown.getvalue()
    assert "written to" in shown.getvalue()


def test_the_tracking_of_the_training_run_does_not_silence_it(run, capsys):
    assert 'console = "none"' in RunDir.open(run).config_file.read_text(encoding="utf-8")
    assert main(["eval", "perplexity", str(run), "--max-tokens", "50"]) == 0
    assert '"event": "eval"' in capsys.readouterr().out
    assert main(["eval", "perplexity", str(run), "--max-tokens", "50", "--set", 'tracking.console="none"']) == 0
    assert capsys.readouterr().out == ""


def test_text_that_is_not_text(run, capsys, tmp_path):
    good, bad = tmp_path / "good.txt", tmp_path / "bad.txt"
    good.write_bytes(b"the cat")
    bad.write_bytes(b"ab\xff")
    assert main(["eval", "perplexity", str(run), "--text", str(good), str(bad)]) == 2
    error = capsys.readouterr().err
    assert "eval.text: " in error
    assert "bad.txt:1: byte 0xff" in error
    assert "--on-error" not in error


def test_print_config_shows_the_runs_own(run, capsys):
    assert main(["eval", "perplexity", str(run), "--print-config=json", "--stride", "3"]) == 0
    config = json.loads(capsys.readouterr().out)
    assert (config["eval"]["stride"], config["run"]["name"]) == (3, "tiny")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "hornbook demo` makes one"),
        (["RUN", "--window", "17"], "context_length = 16"),
        (["RUN", "--stride", "17"], "expected 1 to eval.window = 16"),
        (["RUN", "--split", "test"], "'test'"),
        (["RUN", "--max-tokens", "1"], "has 1 tokens, expected at least 2"),
        (["RUN", "--text", "nowhere.txt"], "nowhere.txt: no such file or folder; correct the path in eval.text\n"),
        (["RUN", "--set", 'data.path="nowhere"'], "nowhere"),
    ],
)
def test_refusals_say_what_to_do(run, capsys, arguments, message):
    assert main(["eval", "perplexity", *[str(run) if part == "RUN" else part for part in arguments]]) == 2
    assert message in capsys.readouterr().err


def test_files_have_no_splits(run, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["eval", "perplexity", str(run), "--text", "notes.txt", "--split", "valid"])
    assert "--split: not allowed with argument --text" in capsys.readouterr().err

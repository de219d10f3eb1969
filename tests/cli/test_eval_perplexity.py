"""Protocols on the command line, all checkpoints of a run as CSV and picture, and runs compared on one text."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from hornbook.checkpoint.load import load_model
from hornbook.checkpoint.save import save_checkpoint
from hornbook.cli.main import main
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.models.transformer import Transformer
from hornbook.storage.run_dir import RunDir, resolve_checkpoint
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_run import STEP, make_run

QUICK = ("--resamples", "100", "--max-tokens", "200")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """With checkpoints of steps 12 and 20, which differ in their seed."""
    root = make_run(tmp_path_factory.mktemp("protocols"))
    add_checkpoint(root, 20, seed=1)
    return root


@pytest.fixture(scope="module")
def twin(run):
    """Another model on the same data set."""
    root = run.with_name("twin")
    shutil.copytree(run, root)
    shutil.rmtree(root / "checkpoints")
    add_checkpoint(root, 30, seed=2, like=run)
    return root


def add_checkpoint(root, step, *, seed, like=None):
    model, tokenizer, _ = load_model(resolve_checkpoint(like or root))
    save(RunDir.open(root).checkpoints, step, Transformer(model.config, seed=seed), tokenizer)


def save(folder, step, model, tokenizer):
    return save_checkpoint(
        folder,
        step=step,
        kind="light",
        model_config=model.config,
        objective={"kind": "next_token"},
        weights=model.state_dict(),
        optimizer=None,
        state={"step": step},
        tokenizer=tokenizer,
    )


def evaluate(capsys, *arguments) -> list[dict]:
    assert main(["eval", "perplexity", *map(str, arguments)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] != "progress"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--protocol", "chunked"], {"stride": 16}),
        (["--protocol", "exact", "--window", 4], {"stride": 1}),
        (["--protocol", "last-token", "--last-token-batch", 2], {"stride": 17, "tokens_scored": 10}),
        (["--protocol", "overlap-all", "--stride", 4], {"stride": 4}),
        (["--reset-documents"], {"reset_documents": True}),
        (["--level", 0.9, "--block-tokens", 50, "--seed", 3], {"level": 0.9, "blocks": 4, "seed": 3}),
    ],
)
def test_every_protocol_has_a_card_of_its_own(run, capsys, arguments, expected):
    [result] = evaluate(capsys, run, *QUICK, *arguments)
    assert {name: result[name] for name in expected} == expected
    assert result["perplexity_low"] <= result["perplexity"] <= result["perplexity_high"]
    assert result["word_perplexity"] > result["perplexity"]  # a word has several tokens here
    [usual] = evaluate(capsys, run, *QUICK)
    assert usual["file"] != result["file"]
    assert usual["text_sha256"] == result["text_sha256"]


def test_all_checkpoints_are_a_csv_file_and_a_picture(run, capsys):
    *cards, last = evaluate(capsys, run, "--all-checkpoints", *QUICK)
    assert [card["step"] for card in cards] == [STEP, 20]
    assert (last["event"], last["checkpoints"], last["metric"]) == ("eval_checkpoints", 2, "perplexity")
    rows = list(csv.DictReader(Path(last["csv"]).read_text(encoding="utf-8").splitlines()))
    assert [row["step"] for row in rows] == [str(STEP), "20"]
    for row, card in zip(rows, cards, strict=True):
        for name in ("perplexity", "word_perplexity_low", "bits_per_byte_high", "nats", "tokens_scored"):
            assert float(row[name]) == card[name]
        assert row["run"] == run.name
    assert {Path(last[name]).parent for name in ("csv", "plot")} == {RunDir.open(run).evals}
    drawing = Path(last["plot"]).read_text(encoding="utf-8")
    assert len(re.findall("<circle", drawing)) == 2
    assert f"{run.name}, step 20: " in drawing
    events = [json.loads(line) for line in RunDir.open(run).metrics_file.read_text(encoding="utf-8").splitlines()]
    assert {STEP, 20} <= {event["step"] for event in events if event["event"] == "eval"}


def test_several_runs_and_files_of_ones_own(run, twin, capsys, tmp_path):
    files = ["--csv", tmp_path / "all.csv", "--plot", tmp_path / "all.html", "--metric", "bits_per_byte"]
    *cards, last = evaluate(capsys, run, "--compare", twin, "--all-checkpoints", *QUICK, *files)
    assert len(cards) == last["checkpoints"] == 3
    rows = (tmp_path / "all.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [[run.name, "12"], [run.name, "20"], [twin.name, "30"]]
    drawing = (tmp_path / "all.html").read_text(encoding="utf-8")
    assert "bits per byte" in drawing
    assert drawing.count("<polyline") == drawing.count("<polygon") == 2


def test_without_a_finite_number_there_is_a_table_and_no_picture(run, capsys, tmp_path):
    """A text of one long word."""
    text = tmp_path / "word.txt"
    text.write_text("catbird" * 200, encoding="utf-8")
    *cards, last = evaluate(capsys, run, "--all-checkpoints", "--text", text, "--metric", "word_perplexity")
    assert [card["word_perplexity"] for card in cards] == [None, None]
    assert last["plot"] is None
    assert len(Path(last["csv"]).read_text(encoding="utf-8").splitlines()) == 3


def test_runs_compare_on_equal_text(run, twin, capsys):
    *cards, last = evaluate(capsys, run, "--compare", twin, *QUICK)
    assert (last["event"], last["run"], last["other"]) == ("eval_compare", "twin", run.name)
    assert last["difference"] == pytest.approx(cards[1]["bits_per_byte"] - cards[0]["bits_per_byte"])
    assert last["difference_low"] <= last["difference"] <= last["difference_high"]
    assert last["text_sha256"] == cards[0]["text_sha256"] == cards[1]["text_sha256"]


def test_other_text_is_refused_before_anything_is_scored(run, twin, capsys):
    config = RunDir.open(twin).config_file
    usual = config.read_text(encoding="utf-8")
    config.write_text(usual.replace('split = "valid"', 'split = "train"'), encoding="utf-8")
    try:
        assert main(["eval", "perplexity", str(run), "--compare", str(twin)]) == 2
    finally:
        config.write_text(usual, encoding="utf-8")
    captured = capsys.readouterr()
    assert "twin would be scored on another text than tiny" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("more", [[], ["--all-checkpoints"]])
def test_other_protocols_are_refused_before_anything_is_scored(run, twin, capsys, more):
    config = RunDir.open(twin).config_file
    usual = config.read_text(encoding="utf-8")
    config.write_text(usual.replace('protocol = "strided"', 'protocol = "chunked"'), encoding="utf-8")
    assert config.read_text(encoding="utf-8") != usual
    try:
        assert main(["eval", "perplexity", str(run), "--compare", str(twin), *more]) == 2
        captured = capsys.readouterr()
        assert evaluate(capsys, run, "--compare", twin, "--protocol", "chunked", *QUICK)
    finally:
        config.write_text(usual, encoding="utf-8")
    assert "protocols differ: eval.protocol is strided for" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--all-checkpoints", "--csv", "absent/x.csv"], "--csv absent/x.csv: expected the name of a file in a folder"),
        (["--plot", "x.svg"], "--plot is of --all-checkpoints"),
        (["--all-checkpoints", "--best"], "leave one of them out"),
        (["--all-checkpoints", "--plot", "x.gif"], "expected a name that ends in .svg"),
        (["--protocol", "last-token"], "batches of 64"),
        (["--protocol", "exact", "--stride", "2"], 'stride = 2 has no effect with protocol = "exact"'),
        (["--level", "1"], "eval.bootstrap.level"),
    ],
)
def test_refusals_say_what_to_do(run, capsys, arguments, message):
    assert main(["eval", "perplexity", str(run), "--max-tokens", "100", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("setting", ['protocol="exact"', "reset_documents=true", "bootstrap.level=0.9"])
def test_no_other_measure_has_a_protocol(run, capsys, setting):
    assert main(["eval", "bound", str(run), "--set", f"eval.{setting}"]) == 2
    assert "has an effect only in `hornbook eval perplexity`" in capsys.readouterr().err


def test_all_checkpoints_are_those_of_a_run(run, tmp_path, capsys):
    alone = tmp_path / "alone"
    shutil.copytree(resolve_checkpoint(run), alone)
    data = run.parents[1] / "data"
    assert main(["eval", "perplexity", str(alone), "--all-checkpoints", "--data", str(data)]) == 2
    assert "name a run's directory" in capsys.readouterr().err


def test_text_files_are_one_text_whatever_the_tokenizers(run, capsys, tmp_path):
    """A checkpoint whose tokenizer knows bytes alone."""
    text = tmp_path / "text.txt"
    text.write_text("the cat sees a bird, and the bird sees a cat. " * 5, encoding="utf-8")
    model, _, _ = load_model(resolve_checkpoint(run))
    tokenizer = Tokenizer.train(["the"], TokenizerConfig(vocab_size=272))
    other = save(tmp_path / "bytes", 1, Transformer(model.config.model_copy(update={"vocab_size": 272})), tokenizer)
    *cards, last = evaluate(capsys, run, "--compare", other, "--text", text, "--resamples", 100)
    assert last["text_bytes"] == len(text.read_bytes())
    assert cards[0]["tokens_scored"] < cards[1]["tokens_scored"] == len(text.read_bytes())
    assert {card["text_words"] for card in cards} == {55}

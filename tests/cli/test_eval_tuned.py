"""`hornbook eval answers` and `eval preference` in this process: cards, comparisons, plots, refusals."""

import json

import pytest

from hornbook.cli.main import main
from hornbook.config.chat import TEMPLATES
from hornbook.storage.run_dir import RunDir
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_run import STEP, make_run
from tuning_set import word_rows, write_tuning_set

ROWS = word_rows(9)
CONTEXT = {"model__context_length": 64, "train__tokens_per_step": 256}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("tuned"), **CONTEXT)


@pytest.fixture(scope="module")
def sets(tmp_path_factory, run):
    tokenizer = Tokenizer.load(run / "checkpoints" / f"step-{STEP:08d}" / "tokenizer")
    tokenizer = tokenizer.with_chat_template(TEMPLATES["hornbook"])
    root = tmp_path_factory.mktemp("sets")
    answers = [(row.prompt, row.answer) for row in ROWS]
    pairs = [(row.prompt, row.answer, row.wrong) for row in ROWS]
    write_tuning_set(root / "sft", tokenizer, "sft", {"train": answers[:4], "valid": answers[4:]})
    write_tuning_set(root / "dpo", tokenizer, "dpo", {"train": pairs[:4], "test": pairs[4:]})
    return root


def evaluate(capsys, name, *arguments) -> dict:
    assert main(["eval", name, *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_answers(run, sets, capsys):
    arguments = (run, "--data", sets / "sft", "--exact-match", 3, "--base", run, "--batch-size", 2)
    result = evaluate(capsys, "answers", *arguments)
    assert (result["event"], result["measure"], result["step"]) == ("eval", "answers", STEP)
    assert (result["conversations"], result["exact_match_prompts"], result["prompts_in_train"]) == (5, 3, 0)
    assert result["lower_than_base_percent"] == 0.0
    [card] = RunDir.open(run).evals.glob("answers-step-00000012-*.json")
    assert result["file"] == str(card)
    assert len(json.loads(card.read_text(encoding="utf-8"))["wrong_answers"]) == 3
    event = json.loads(RunDir.open(run).metrics_file.read_text(encoding="utf-8").splitlines()[-1])
    assert (event["event"], event["nats_per_token"]) == ("eval", result["nats_per_token"])
    assert "wrong_answers" not in event


@pytest.mark.parametrize("measure", ["answers", "preference"])
def test_readings_of_a_bound_are_not_asked_of_an_exact_likelihood(run, sets, capsys, measure):
    assert main(["eval", measure, str(run), "--data", str(sets / "sft"), "--draws", "64"]) == 2
    assert "--draws: of a diffusion model's bound" in capsys.readouterr().err


def test_wrong_answers_are_shown_on_stderr(run, sets, capsys):
    arguments = ["--data", str(sets / "sft"), "--exact-match", "1", "--max-new-tokens", "1"]
    assert main(["eval", "answers", str(run), *arguments]) == 0
    assert f"not {ROWS[4].answer!r}" in capsys.readouterr().err


def test_a_diffusion_model_is_measured_at_most(tmp_path, sets, capsys):
    run = make_run(tmp_path / "diffusion", {"kind": "masked_diffusion"}, **CONTEXT)
    result = evaluate(capsys, "answers", run, "--data", sets / "sft", "--draws", 2, "--seed", 3)
    assert "nats_per_token_at_most" in result
    assert "2 readings, seed 3" in result["protocol"]


def test_preference(run, sets, capsys, tmp_path):
    plot = tmp_path / "margins.svg"
    arguments = (run, "--reference", run, "--data", sets / "dpo", "--split", "test", "--plot", plot)
    result = evaluate(capsys, "preference", *arguments)
    assert (result["measure"], result["pairs"], result["ties"]) == ("preference", 5, 5)
    assert (result["accuracy"], result["prompts_in_train"]) == (0.5, 0)
    assert "2.5 of 5 margins are positive" in plot.read_text(encoding="utf-8")
    [card] = RunDir.open(run).evals.glob("preference-step-00000012-*.json")
    assert json.loads(card.read_text(encoding="utf-8"))["margins"] == [0.0] * 5


def test_the_reference_is_what_the_run_began_from(tmp_path, run, sets, capsys):
    tuned = make_run(tmp_path / "tuned", model__init_from=str(run), **CONTEXT)
    result = evaluate(capsys, "preference", tuned, "--data", sets / "dpo", "--split", "test")
    assert result["reference"].startswith(str(run))


@pytest.mark.parametrize(
    ("measure", "arguments", "message"),
    [
        ("answers", ["--data", "dpo"], "stage dpo, `hornbook eval answers` measures stage sft"),
        ("answers", ["--data", "sft", "--split", "test"], "'test'"),
        ("answers", ["--data", "nowhere"], "nowhere"),
        ("answers", ["--data", "sft", "--exact-match", "-1"], "eval.exact_match"),
        ("answers", ["--data", "sft", "--base", "nowhere"], "nowhere: no such run"),
        ("preference", ["--data", "dpo", "--split", "test"], "--reference CHECKPOINT"),
        ("preference", ["--data", "dpo", "--plot", "margins.pdf"], "ends in .svg, .html or .png"),
        ("answers", ["--data", "sft", "--max-new-tokens", "3"], "answers that --exact-match N asks for"),
        ("preference", ["--data", "dpo", "--plot", "nowhere/m.svg"], "--plot nowhere/m.svg: nowhere is no folder"),
        ("preference", ["--data", "sft", "--reference", "RUN"], "measures stage dpo"),
    ],
)
def test_refusals_say_what_to_do(run, sets, capsys, measure, arguments, message):
    places = {"RUN": str(run), "sft": str(sets / "sft"), "dpo": str(sets / "dpo")}
    assert main(["eval", measure, str(run), *[places.get(part, part) for part in arguments]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error

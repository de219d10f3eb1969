"""`hornbook eval bound` in this process: what a diffusion run is told, and what it is refused."""

import json
import math

import pytest

from hornbook import api
from hornbook.cli.main import main
from hornbook.errors import ConfigError
from hornbook.storage.run_dir import RunDir
from tiny_run import STEP, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("bound"), {"kind": "masked_diffusion"})


@pytest.fixture(scope="module")
def joint_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("joint"), {"kind": "joint"})


def measure(capsys, name, *arguments) -> dict:
    assert main(["eval", name, *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_the_runs_own_validation_split(run, capsys):
    result = measure(capsys, "bound", run, "--draws", 2, "--max-tokens", 100)
    assert (result["event"], result["measure"], result["step"]) == ("eval", "bound", STEP)
    assert (result["window"], result["stride"], result["draws"], result["tokens_scored"]) == (16, 16, 2, 100)
    assert result["perplexity_at_most"] == pytest.approx(math.exp(result["nats"] / 100))
    assert result["bits_per_byte_at_most"] == pytest.approx(result["nats"] / math.log(2) / result["bytes_scored"])
    [card] = RunDir.open(run).evals.glob("bound-step-00000012-16-16-*.json")
    assert json.loads(card.read_text(encoding="utf-8"))["perplexity_at_most"] == result["perplexity_at_most"]
    event = json.loads(RunDir.open(run).metrics_file.read_text(encoding="utf-8").splitlines()[-1])
    assert (event["event"], event["measure"], event["objective"]) == ("eval", "bound", "masked_diffusion")


def test_other_draws_have_a_card_of_their_own(run, capsys):
    settings = ["--max-tokens", 50, "--draws", 3]
    first = measure(capsys, "bound", run, *settings)
    again = measure(capsys, "bound", run, *settings)
    other = measure(capsys, "bound", run, *settings, "--seed", 1)
    assert (first["file"], first["nats"]) == (again["file"], again["nats"])
    assert other["file"] != first["file"]
    assert other["nats"] != first["nats"]


def test_the_runs_own_windows_do_not_stand_in_the_way(tmp_path, capsys):
    own = make_run(tmp_path, {"kind": "masked_diffusion"}, eval__stride=12, eval__max_tokens=40)
    assert measure(capsys, "bound", own, "--draws", 2)["stride"] == 12
    assert measure(capsys, "bound", own, "--draws", 2, "--window", 8)["stride"] == 8
    assert measure(capsys, "bound", own, "--prompt", "the", "--answer", " cat")["measure"] == "bound"


def test_enumeration(run, capsys):
    arguments = [run, "--window", 4, "--max-tokens", 8, "--estimator", "exact"]
    result = measure(capsys, "bound", *arguments)
    assert (result["estimator"], result["draws"], result["seed"]) == ("exact", None, None)


def test_an_answer_after_a_prompt(run, capsys):
    result = measure(capsys, "bound", run, "--prompt", "the cat", "--answer", " sees")
    assert result["bytes_scored"] == 5
    assert "' sees' after 'the cat'" in result["data"]


def test_a_joint_model_is_measured_both_ways(joint_run, capsys):
    bound = measure(capsys, "bound", joint_run, "--max-tokens", 50)
    assert "of the joint model, its diffusion side" in bound["protocol"]
    assert "perplexity" in measure(capsys, "perplexity", joint_run, "--max-tokens", 50)


def test_python_takes_the_measure_that_fits(run, joint_run):
    settings = {"data": str(run.parents[1] / "data"), "max_tokens": 40}
    assert api.evaluate(run, **settings, **{"bound.draws": 1}).measure == "bound"
    assert api.evaluate(joint_run, **settings).measure == "perplexity"
    assert api.evaluate(joint_run, **settings, **{"bound.draws": 1}).draws == 1
    answer = {"bound.prompt": "the cat", "bound.answer": " sees"}
    assert [api.evaluate(each, **answer).bytes_scored for each in (run, joint_run)] == [5, 5]


def test_a_next_token_model_has_no_bound(tmp_path_factory, capsys):
    run = make_run(tmp_path_factory.mktemp("plain"))
    assert main(["eval", "bound", str(run)]) == 2
    assert "use `hornbook eval perplexity`" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="use `hornbook eval perplexity`"):
        api.evaluate(run, data=str(run.parents[1] / "data"), **{"bound.draws": 1})


@pytest.mark.parametrize(
    ("measure", "arguments", "message"),
    [
        ("perplexity", [], "use `hornbook eval bound`"),
        ("bound", ["--window", "17"], "context_length = 16"),
        ("bound", ["--estimator", "exact"], "at most 12 tokens"),
        ("bound", ["--estimator", "exact", "--draws", "2"], "draws = 2 has no effect"),
        ("bound", ["--prompt", "the"], "prompt has no effect without answer"),
        ("bound", ["--answer", "the", "--window", "4"], "window has no effect"),
        ("bound", ["--answer", "the cat " * 30], "shorten them"),
    ],
)
def test_refusals_say_what_to_do(run, capsys, measure, arguments, message):
    assert main(["eval", measure, str(run), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error

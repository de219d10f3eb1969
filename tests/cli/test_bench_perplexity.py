"""`hornbook bench decode --perplexity`: the numbers of `hornbook eval`, beside the speeds."""

import json

import pytest

from hornbook.cli import bench_decode
from hornbook.cli.main import main
from tiny_run import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("bench"))


@pytest.fixture
def no_cases(monkeypatch):
    """Only the perplexity is measured."""
    monkeypatch.setattr("hornbook.benchmarks.decoding.decode_cases", lambda *_, **__: [])
    monkeypatch.setattr("hornbook.benchmarks.denoising.denoise_cases", lambda *_, **__: [])


def bench(capsys, *arguments) -> list[dict]:
    assert main(["bench", "decode", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def evaluate(capsys, *arguments) -> dict:
    assert main(["eval", *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_every_precision_has_the_perplexity_that_eval_gives(run, capsys, no_cases, tmp_path):
    rows = tmp_path / "rows.json"
    told = bench(capsys, "--perplexity", run, "--perplexity-tokens", 200, "--json", rows)
    assert [each["event"] for each in told] == ["bench_perplexity"] * 3
    assert [each["precision"] for each in told] == ["float32", "bfloat16", "int8"]
    for each in told:
        card = evaluate(capsys, "perplexity", run, "--max-tokens", 200, "--precision", each["precision"])
        assert each["perplexity"] == card["perplexity"]
        assert each["tokens_scored"] == 199
        assert each["tokens_per_second"] == pytest.approx(199 / each["seconds"])
    content = json.loads(rows.read_text(encoding="utf-8"))
    assert [each["perplexity"] for each in content["summary"]["perplexity"]] == [each["perplexity"] for each in told]
    assert content["rows"] == []


def test_a_diffusion_model_has_a_bound(capsys, no_cases, tmp_path):
    run = make_run(tmp_path, {"kind": "masked_diffusion"})
    (told,) = bench(capsys, "--diffusion", "--perplexity", run, "--perplexity-tokens", 100)
    assert told["perplexity_at_most"] == evaluate(capsys, "bound", run, "--max-tokens", 100)["perplexity_at_most"]


def test_another_data_set_is_taken_where_it_is_named(run, capsys, no_cases, tmp_path):
    make_run(tmp_path, data__valid_fraction=0.5)
    named = ("--perplexity-data", tmp_path / "data", "--precision", "fp32")
    (told,) = bench(capsys, "--perplexity", run, *named)
    assert told["data"].startswith(f"{tmp_path / 'data'} [valid]")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--perplexity", "/no/such"), "/no/such: no such run or checkpoint directory"),
        (("--perplexity-tokens", "9"), "--perplexity-tokens has an effect only with --perplexity RUN"),
        (("--perplexity", "{run}", "--perplexity-data", "/no/such"), "/no/such"),
        (("--perplexity", "{run}/checkpoints/alone"), "no run, whose data could be taken"),
    ],
)
def test_mistakes_are_told_before_anything_is_measured(arguments, message, run, capsys, monkeypatch):
    alone = run.parent.parent / "alone"
    if not alone.exists():
        alone.symlink_to(next((run / "checkpoints").glob("step-*")))
    monkeypatch.setattr(bench_decode, "precisions_of", lambda _: pytest.fail("it went on"))
    given = [each.replace("{run}/checkpoints/alone", str(alone)).replace("{run}", str(run)) for each in arguments]
    assert main(["bench", "decode", *given]) == 2
    assert message in capsys.readouterr().err

"""The verb: what it prints and what it refuses."""

import json

import pytest

from hornbook.cli.main import main
from hornbook.cli.plan import amount


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def events(capsys):
    captured = capsys.readouterr()
    return [json.loads(line) for line in captured.out.splitlines()], captured.err


@pytest.mark.parametrize(("text", "number"), [("170M", 170e6), ("2e19", 2e19), ("1.5b", 1.5e9), ("20", 20.0)])
def test_amounts(text, number):
    assert amount(text) == number


@pytest.mark.parametrize(
    "arguments",
    [
        ["--parameters", "-3"],
        ["--flops", "many"],
        ["--mfu", "1.5"],
        ["--experts", "2,8"],
        ["--orders", "--flops", "1e9"],
    ],
)
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["plan", *arguments])
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--orders", "--set", "train.steps=3"], "leave out CONFIG and --set"),
        (["--vocab-size", "9"], "with a CONFIG use --set"),
        (["--parameters", "1M", "--print-config"], "--print-config prints a CONFIG"),
        (["--parameters", "1M", "--price", "2", "--no-probe"], "--price, --no-probe has no effect with --parameters"),
        (["--flops", "1e18", "--world-sizes", "4"], "--world-sizes has no effect with --flops"),
        (["--orders", "--experts", "8,2"], "--experts has no effect with --orders"),
        (["--accelerator", "abacus", "--no-probe"], "no accelerator 'abacus'"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message, capsys):
    assert main(["plan", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_configuration(capsys):
    settings = ["model.preset='cpu-nano'", "train.compile='off'", "model.vocab_size=512"]
    sets = [word for each in settings for word in ("--set", each.replace("'", '"'))]
    assert main(["plan", *sets, "--no-probe", "--accelerator", "H100", "--experts", "4,1", "--world-sizes", "1,2"]) == 0
    (plan,), told = events(capsys)
    assert plan["event"] == "plan"
    assert sum(plan["parameters"].values()) < plan["experts_total"]
    assert plan["step_seconds"] is None
    assert [each["accelerator"] for each in plan["elsewhere"]] == ["H100"]
    assert len(plan["memory"]) == 4
    assert 110e6 < plan["process_bytes"] <= plan["kept_bytes"]
    for title in ("PARAMETERS", "FLOPS", "MEMORY", "TIME", "COMPUTE-OPTIMAL"):
        assert title in told


def test_shapes_and_orders(capsys):
    assert main(["plan", "--flops", "2e19", "--vocab-size", "8192"]) == 0
    found, told = events(capsys)
    assert [each["event"] for each in found] == ["plan_optimum"] * 3 + ["plan_shape"] * 3
    assert told.count("vocab_size = 8192") == 3
    assert main(["plan", "--orders"]) == 0
    found, told = events(capsys)
    assert {each["event"] for each in found} == {"plan_order"}
    assert "4.74" in told

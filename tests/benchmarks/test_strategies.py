"""Two processes train by every strategy to the same losses; how fast is never a test."""

import pytest

from hornbook.benchmarks.comparison import rows_of
from hornbook.benchmarks.harness import run_case
from hornbook.benchmarks.strategies import strategy_cases
from hornbook.benchmarks.training import QUICK, SHAPES
from hornbook.cli.main import main


@pytest.mark.medium
def test_all_strategies_learn_the_same(monkeypatch):
    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")  # compiling takes longer than all the rest
    (case,) = strategy_cases({"quick": QUICK})
    ours, sharded, theirs = rows_of(case, run_case(case, blocks=1))
    assert [row.failure for row in (ours, sharded, theirs)] == [None] * 3
    assert sharded.same == theirs.same == ("loss", "learns")
    assert ours.checks["learns"]
    assert "1.00 of the whole" in ours.checks["said"]
    assert sharded.checks["state"] <= 0.6


def test_the_floor_is_against_torch():
    (case,) = strategy_cases({"c": SHAPES["c"]})
    assert [(bar.peer, round(1 / bar.value, 2)) for bar in case.bars] == [("torch DDP", 1.05)]
    assert {side.threads for side in case.sides} == {1}


def test_shape_c_is_meant_and_what_has_no_effect_is_refused(monkeypatch, tmp_path, capsys):
    seen = []
    monkeypatch.setattr("hornbook.cli.bench._measure", lambda _, cases: seen.extend(cases) or 0)
    assert main(["bench", "train", "--strategies"]) == 0
    assert [case.name for case in seen] == ["train c on two processes"]
    (tmp_path / "model.py").touch()
    assert main(["bench", "train", "--strategies", "--nanogpt", str(tmp_path)]) == 2
    assert "--nanogpt has no effect with --strategies" in capsys.readouterr().err

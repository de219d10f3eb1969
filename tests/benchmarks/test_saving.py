"""Every form of a checkpoint gives back what was saved; how fast is never a test."""

import json
import runpy
from pathlib import Path

import pytest
import torch

from hornbook.benchmarks.saving import PEERS, QUICK, SHAPES, saving_cases
from hornbook.benchmarks.side import _HERE
from hornbook.cli.main import main
from hornbook.models.accounting import parameter_counts

SIDES = ("hornbook", *PEERS)
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # one process is what is meant


@pytest.fixture
def cases(tmp_path):
    return {case.name: {side.name: side for side in case.sides} for case in saving_cases({"quick": QUICK}, tmp_path)}


def set_up(side):
    return runpy.run_path(str(_HERE / "sides" / side.file))["setup"](dict(side.settings))


def total(side) -> float:
    """Of all numbers, drawn as every side draws them."""
    rng = torch.Generator().manual_seed(1)
    drawn = [torch.randn(shape, generator=rng) for shape in side.settings["tensors"].values()]
    return sum(tensor.sum(dtype=torch.float64).item() for tensor in drawn)


@pytest.mark.parametrize("name", SIDES)
def test_what_was_saved_is_read_back_and_removed(name, cases):
    side = cases["save checkpoint quick"][name]
    block, checks = set_up(side)
    for _ in range(2):
        result = block()
        written = sum(file.stat().st_size for file in Path(side.settings["folder"]).rglob("*") if file.is_file())
        assert written >= 3 * 4 * sum(parameter_counts(QUICK).values())
        assert checks(result) == {"total": total(side)}
        assert not list(Path(side.settings["folder"]).rglob("*.safetensors"))


@pytest.mark.parametrize("name", SIDES)
def test_what_was_saved_before_is_loaded(name, cases):
    side = cases["load checkpoint quick"][name]
    block, checks = set_up(side)
    for _ in range(2):
        assert checks(block()) == {"total": total(side)}


def test_a_checkpoint_has_the_weights_and_two_moments_of_each(cases):
    tensors = cases["save checkpoint quick"]["hornbook"].settings["tensors"]
    weights = {name.removeprefix("model/") for name in tensors if name.startswith("model/")}
    state = {name.removeprefix("optimizer/") for name in tensors if name.startswith("optimizer/")}
    assert state == {f"{name}/{key}" for name in weights for key in ("exp_avg", "exp_avg_sq")}
    assert len(tensors) == 3 * len(weights)


def test_sizes_are_what_they_are_called():
    millions = {name: sum(parameter_counts(config).values()) / 1e6 for name, config in SHAPES.items()}
    assert millions["25M"] == pytest.approx(23.2, abs=0.1)
    assert millions["124M"] == pytest.approx(123.6, abs=0.1)


@pytest.mark.medium
def test_the_command_measures_both_and_leaves_nothing(tmp_path):
    rows = tmp_path / "rows.json"
    (tmp_path / "disk").mkdir()
    told = ["--quick", "--blocks", "1", "--folder", str(tmp_path / "disk"), "--json", str(rows)]
    assert main(["bench", "checkpoint", *told]) == 0
    found = json.loads(rows.read_text(encoding="utf-8"))["rows"]
    assert [row["side"] for row in found] == [*SIDES] * 2
    assert [row["failure"] for row in found] == [None] * len(found)
    assert all(row["same"] == ["total"] for row in found if row["side"] != "hornbook")
    assert list((tmp_path / "disk").iterdir()) == []

"""Every way of reading an epoch gives each window once; how fast is never a test."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from hornbook.benchmarks import loading
from hornbook.benchmarks.loading import QUICK, SHAPES, Shape, loading_cases
from hornbook.benchmarks.side import _HERE
from hornbook.cli.main import main

SHAPE = Shape(context=8, rows=4, batches=60)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    (made,) = loading_cases({"own": SHAPE}, tmp_path_factory.mktemp("loading"))
    return made


@pytest.mark.parametrize("name", ["hornbook", "numpy memmap", "DataLoader, no workers", "datasets"])
def test_every_side_reads_every_window_once_in_every_epoch(case, name):
    """Against sums of the file itself: all tokens, and once more those that two windows share."""
    sides = {side.name: side for side in case.sides}
    if name not in sides:
        pytest.skip("datasets is not installed")
    tokens = np.fromfile(sides[name].settings["file"], dtype="<u2").astype(np.int64)
    shared = tokens[SHAPE.context : -1 : SHAPE.context]
    assert len(tokens) == case.amount + 1 > 1000
    block, checks = runpy.run_path(str(_HERE / "sides" / sides[name].file))["setup"](dict(sides[name].settings))
    for _ in range(2):
        found = checks(block())
        assert found["windows"] == SHAPE.rows * SHAPE.batches == len(shared) + 1
        assert found["total"] == tokens.sum() + shared.sum()


def test_without_datasets_the_others_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "peer_python", lambda _: None)
    (case,) = loading_cases({"quick": QUICK}, tmp_path)
    names = ["hornbook", "numpy memmap", "DataLoader, no workers", "DataLoader, 1 worker"]
    assert [side.name for side in case.sides] == names
    assert case.amount == QUICK.context * QUICK.rows * QUICK.batches


def test_batches_are_of_one_size():
    assert {shape.context * shape.rows for shape in SHAPES.values()} == {8192}
    assert [shape.context for shape in SHAPES.values()] == [int(name) for name in SHAPES]


@pytest.mark.medium
def test_the_command_writes_one_form_and_leaves_nothing(tmp_path, capsys):
    rows = tmp_path / "rows.json"
    (tmp_path / "disk").mkdir()
    told = ["--quick", "--blocks", "1", "--folder", str(tmp_path / "disk"), "--json", str(rows)]
    assert main(["bench", "data", *told]) == 0
    content = json.loads(rows.read_text(encoding="utf-8"))
    assert list(content) == ["bench", "machine", "rows", "summary"]
    assert (content["bench"], content["summary"]) == ("data", {})
    assert {"processor", "cores", "versions", "command"} <= set(content["machine"])
    assert [row["failure"] for row in content["rows"]] == [None] * len(content["rows"])
    assert all(row["same"] == ["windows", "total"] for row in content["rows"][1:])
    assert list((tmp_path / "disk").iterdir()) == []
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["side"] for event in events] == [row["side"] for row in content["rows"]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("data", "--context", "64,65"), "--context 64,65: 65 is none of 64, 256, 1024"),
        (("data", "--context", "64", "--quick"), "--context has no effect with --quick"),
        (("data", "--folder", "/no/such"), "--folder /no/such: there is no such folder; make it first"),
        (("checkpoint", "--size", "1B"), "--size 1B: 1B is none of 25M, 124M"),
        (("checkpoint", "--only", "keep"), "--only keep: keep is none of save, load"),
        (("checkpoint", "--size", "25M", "--quick"), "--size has no effect with --quick"),
    ],
)
def test_mistakes_are_one_message(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path))
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path, capsys, monkeypatch):
    Path(tmp_path / "file").touch()
    monkeypatch.setenv("HORNBOOK_CACHE", str(tmp_path / "file"))
    assert main(["bench", "data", "--quick"]) == 2
    assert "name another with --folder DIR" in capsys.readouterr().err

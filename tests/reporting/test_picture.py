"""Figures as files: what is drawn, by which axis, in which formats."""

import argparse
import json

import pytest

from hornbook.cli.main import main
from hornbook.cli.report import add_arguments
from hornbook.reporting.picture import save_main_figure, save_pictures
from hornbook.reporting.plot import AXES
from hornbook.reporting.record import read_run
from reporting.run_text import start, train, val, write_run

pytestmark = pytest.mark.medium


@pytest.fixture
def run(tmp_path):
    norms = {"event": "norms", "step": 2, "time": 2.0, "norms/grad/head": 1.5, "norms/grad/norm": 0.0}
    events = [start(flops_per_token=100.0), train(1, 3.0), train(2, 2.0), train(3, None), val(3, 2.5), norms]
    return write_run(tmp_path, "one", events)


def test_every_figure_is_written_in_every_format(run, tmp_path, capsys):
    plots = tmp_path / "a/plots"
    assert main(["report", str(run.root), "--plots", str(plots), "--by", "flops"]) == 0
    told = json.loads(capsys.readouterr().out)["plots"]
    names = {f"{key}.{ending}" for key in ("losses", "norms-grad") for ending in ("png", "svg", "pdf")}
    assert {path.name for path in plots.iterdir()} == {path.rpartition("/")[2] for path in told} == names
    losses = (plots / "losses.svg").read_text(encoding="utf-8")
    assert "floating-point operations of training" in losses
    assert ">training</text>" in losses, "text stays text"
    assert (plots / "losses.pdf").read_bytes().startswith(b"%PDF")
    assert (plots / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_an_axis_for_no_picture_is_refused(run, capsys):
    assert main(["report", str(run.root), "--by", "tokens"]) == 2
    assert "--by has no effect without --plots" in capsys.readouterr().err


def test_the_command_knows_every_axis():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert [action.choices for action in parser._actions if action.dest == "by"] == [tuple(AXES)]


def test_equal_numbers_give_equal_files_and_an_unknown_axis_is_steps(run, tmp_path):
    record = read_run(run.root)
    for name in "ab":
        save_main_figure([record], tmp_path / f"{name}.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert text == (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert ">step</text>" in text


def test_a_run_without_numbers_has_no_figures(tmp_path):
    record = read_run(write_run(tmp_path, "none", [start()]).root)
    assert save_pictures([record], tmp_path / "plots", axis="step") == []
    save_main_figure([record], tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()

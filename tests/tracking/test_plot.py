import sys

import pytest

from hornbook.tracking.plot import LossCurves, plot_text, save_plot

EVENTS = [
    {"event": "start", "step": 0},
    *({"event": "train", "step": step, "train/loss": 5.0 - step / 25} for step in range(1, 101)),
    {"event": "train", "step": 101, "train/loss": None},
    {"event": "val", "step": 0, "val/loss": 5.0},
    {"event": "val", "step": 100, "val/loss": 1.5},
]


def test_curves_are_the_finite_losses():
    curves = LossCurves.of(EVENTS)
    assert len(curves.train) == 100
    assert curves.valid == ((0, 5.0), (100, 1.5))


def test_the_plot_falls_from_the_top_left_to_the_bottom_right():
    lines = plot_text(LossCurves.of(EVENTS), width=40, height=10).splitlines()
    rows = lines[:10]
    assert rows[0].startswith("   5.000 │o")
    assert rows[-1].startswith("   1.000 │")
    assert rows[-1].endswith("·")
    assert lines[-2].split() == ["0", "100"]
    assert max(map(len, lines)) <= 10 + 40


@pytest.mark.parametrize("train", [(), ((1, 2.0),), ((1, 2.0), (2, 2.0))])
def test_few_or_equal_points_are_no_trouble(train):
    assert bool(plot_text(LossCurves(train=train, valid=()))) == bool(train)


def test_pictures_are_written_where_matplotlib_is(tmp_path):
    pytest.importorskip("matplotlib")
    png, svg = save_plot(LossCurves.of(EVENTS), tmp_path / "plots", title="tiny")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()


def test_without_matplotlib_there_is_no_picture_and_no_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert save_plot(LossCurves.of(EVENTS), tmp_path / "plots", title="tiny") == []
    assert not (tmp_path / "plots").exists()


def test_the_loss_of_preferences_is_of_a_pair():
    event = {"event": "val", "step": 1, "val/loss": 0.7}
    assert LossCurves.of([event]).unit == "nats per token"
    assert LossCurves.of([{**event, "val/rewards/margin": 0.1}]).unit == "of a pair"

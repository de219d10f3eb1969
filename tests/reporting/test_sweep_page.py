"""A sweep's part of the page: runs by rank, and a dot for each run against each setting that varies."""

import re

import pytest

from hornbook.reporting.page import page
from hornbook.reporting.sweep import read_sweep
from hornbook.reporting.sweep_page import Scatter, scatters, sweep_section
from hornbook.sweeps.sweep import Sweep
from reporting.run_text import start, train, val, write_run

FILE = """
[run]
out_dir = "{root}/runs"
[train]
steps = 10
[sweep]
name = "rates"
[sweep.grid]
optim.learning_rate = [1e-2, 1e-3, 1e-4]
model.feed_forward = ["swiglu", "gelu"]
"""


@pytest.fixture
def sweep(tmp_path):
    """Four of the six points have begun; the third one is the best."""
    path = tmp_path / "rates.toml"
    path.write_text(FILE.format(root=tmp_path.as_posix()), encoding="utf-8")
    sweep = Sweep.load(path)
    for point, loss in zip(sweep.points, (3.0, 2.5, 1.5, 2.0), strict=False):
        write_run(sweep.root, point.id, [start(), train(5, loss + 1), val(5, loss), val(10, loss + 0.25)], steps=10)
    sweep.prepare()
    return sweep


def test_runs_stand_by_rank_and_those_without_a_value_at_the_end(sweep):
    text = "".join(sweep_section(sweep))
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]
    assert [row[:4] for row in rows[1:5]] == [
        ["1", "1.5", "5", "1.75"],
        ["2", "2", "5", "2.25"],
        ["3", "2.5", "5", "2.75"],
        ["4", "3", "5", "3.25"],
    ]
    assert rows[1][7:] == ["0.001", "swiglu", sweep.points[2].id]
    assert [(row[0], row[4]) for row in rows[5:]] == [("", "waiting")] * 2


def test_every_setting_that_varies_has_its_dots_and_the_best_is_filled(sweep):
    text = "".join(sweep_section(sweep))
    figures = re.findall(r"<figure.*?</figure>", text, re.S)
    assert len(figures) == 2
    for drawn in figures:
        assert drawn.count("<circle") == 4
        (best,) = re.findall(r'class="best".*?<title>([^<]*)</title>', drawn)
        assert best.endswith(": 1.5")
    assert ">gelu</text>" in figures[1]


def test_a_wide_range_is_logarithmic_and_names_stand_in_their_order():
    dots = [(10.0**-power, 1.0, str(power)) for power in (4, 3, 2)]
    _, scale, ticks = Scatter(setting="s", metric="m", dots=dots, best="4").places()
    assert scale.log
    assert [tick for tick, _ in ticks] == [1e-4, 1e-3, 1e-2]
    places, _, named = Scatter(setting="s", metric="m", dots=[("b", 1.0, ""), (True, 2.0, "")], best="").places()
    assert (places, named) == ([0.0, 1.0], [(0, "b"), (1, "true")])


def test_nothing_is_drawn_of_runs_that_measured_nothing(sweep):
    assert scatters(sweep, []) == []


def test_the_page_of_a_sweep_is_called_by_it(sweep):
    text = page(read_sweep(sweep), sweep)
    assert "<title>rates: report</title>" in text
    assert text.index("The sweep") < text.index("Curves")

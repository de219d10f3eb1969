"""Thinning, axes, lines and heat maps."""

import json
import math
import re

import pytest

from hornbook.reporting.figure import axis_choice, figure, script_json
from hornbook.reporting.heat_map import MOST_COLUMNS, HeatMap, heat_map
from hornbook.reporting.plot import Figure, Line, Mark
from hornbook.reporting.record import Curve
from hornbook.reporting.scale import Scale, scale_of, short
from hornbook.reporting.work import Work
from hornbook.tracking.thinning import smoothed, thinned

NAN = math.nan


def curve(values):
    return Curve(steps=tuple(range(len(values))), minutes=tuple(map(float, range(len(values)))), values=tuple(values))


def test_thinning_keeps_ends_extremes_and_gaps():
    values = [math.sin(i / 50) for i in range(100_000)]
    values[40_000], values[70_001], values[90_000] = 50.0, -50.0, NAN
    kept = thinned(values)
    assert len(kept) <= 1300
    assert {0, 40_000, 70_001, 90_000, 99_999} <= set(kept)
    assert kept == sorted(kept)
    assert thinned([1.0, NAN, 2.0]) == [0, 1, 2]
    assert len(thinned([NAN] * 5000)) <= 1300


def test_smoothing_keeps_lines_and_gaps():
    line = [3.0 - 0.5 * i for i in range(50)]
    assert smoothed(line, 5) == pytest.approx(line)
    noisy = smoothed([1.0, 5.0, 1.0, NAN, 1.0], 1)
    assert noisy[0] == 1.0
    assert noisy[1] == pytest.approx(7 / 3)
    assert noisy[2] == pytest.approx(3.0)  # of the two that are there
    assert math.isnan(noisy[3])


@pytest.mark.parametrize(
    "values", [[1.0, 2.0], [5.0], [0.0], [-3.0, 4e7], [1e-9, 2e-9], [1e290], [1e-12, 1e12], [3.0, 3.0000001]]
)
@pytest.mark.parametrize("log", [False, True])
def test_axes_hold_their_values_and_have_round_numbers(values, log):
    scale = scale_of(values, log=log)
    if scale is None:
        assert log
        assert min(values) <= 0.0
        return
    places = [scale.share(value) for value in values if value > 0 or not log]
    assert all(0.0 <= place <= 1.0 for place in places)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 14
    slack = 1e-6 * (scale.high - scale.low)
    assert all(scale.low - slack <= tick <= scale.high + slack for tick in ticks)


def test_a_logarithmic_axis_has_powers_of_ten():
    assert Scale(low=0.9, high=1.1e6, log=True).ticks() == [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6]
    assert Scale(low=0.9, high=11.0, log=True).ticks() == [1.0, 2.0, 5.0, 10.0]
    assert scale_of([NAN, math.inf]) is None
    assert math.isnan(Scale(low=0.5, high=2.0, log=True).share(-1.0))


def test_numbers_are_short():
    cases = {0.0: "0", 1500.0: "1,500", 45_000.0: "45k", 2.5e6: "2.5M", 3e9: "3G", 1.25: "1.25", 1.2e-7: "1.2e-07"}
    assert {value: short(value) for value in cases} == cases
    assert short(NAN) == "not finite"


def drawn(values, **more):
    line = Line(label="a <b>", curve=curve(values), colour=0, **more)
    return figure(Figure(key="k", title="T", unit="u", lines=[line]))


def test_a_gap_breaks_the_line_and_a_lone_point_is_a_dot():
    text = drawn([1.0, 2.0, NAN, 3.0, NAN, 2.0, 1.0])
    (path, *_) = re.findall(r'<path d="([^"]*)"', text)
    assert path.count("M") == 3
    assert path.count("L") == 2
    assert "<circle" in text


def test_labels_are_escaped_and_data_cannot_end_its_script():
    text = drawn([1.0, 2.0])
    assert "a &lt;b&gt;" in text
    assert "a <b>" not in text
    assert "</script><b>" not in script_json({"a": "</script><b>&"})
    assert json.loads(script_json({"a": "</script><b>&"})) == {"a": "</script><b>&"}


def test_both_vertical_axes_are_drawn_where_both_exist():
    assert len(re.findall("<svg", drawn([1.0, 2.0]))) == 2
    only = drawn([-1.0, -2.0])
    assert len(re.findall("<svg", only)) == 1
    assert "checkbox" not in only


def test_nothing_finite_is_no_figure():
    assert drawn([NAN, NAN]) == drawn([]) == ""


def sized(size):
    """A line of a run that reads so many tokens a step, at 100 operations a token; of one that does not say, for 0."""
    work = Work(steps=(0, 1), tokens=(0.0, float(size)), flops_per_token=100.0) if size else Work()
    return Line(label=str(size), curve=curve([1.0, 2.0, 1.5]), colour=0, work=work)


def of_axes(*lines, axes=("step", "tokens", "flops")):
    return Figure(key="k", title="T", unit="u", lines=lines, axes=axes)


def test_tokens_and_operations_are_axes_only_where_their_number_is_known():
    assert of_axes(sized(64), sized(0)).known_axes == ["step"]
    assert of_axes(sized(64), sized(32)).known_axes == ["step", "tokens", "flops"]
    assert of_axes(sized(64)).lines[0].across("flops") == [0.0, 6400.0, 12800.0]


def test_axes_that_look_the_same_share_a_drawing():
    """Of one run steps, tokens and operations; of two with other batches, steps look different."""
    text = figure(of_axes(sized(64)))
    assert re.findall(r'class="drawing ([^"]*)"', text) == [
        f"on-step on-tokens on-flops {k}" for k in ("linear", "log")
    ]
    assert text.count('class="grid ticks on-flops"') == 2
    assert json.loads(re.search(r'json">(.*)</script>', text)[1])["lines"][0]["x"]["flops"] == 6400.0
    text = figure(of_axes(sized(64), sized(32)))
    drawn = re.findall(r'class="drawing ([^"]*)"', text)
    assert drawn == [f"{axes} {kind}" for axes in ("on-step", "on-tokens on-flops") for kind in ("linear", "log")]


def test_work_is_counted_between_and_beyond_what_was_told():
    work = Work(steps=(0, 10, 20), tokens=(0.0, 100.0, 400.0), flops_per_token=2.0)
    assert [work.tokens_by(step) for step in (0, 5, 10, 15, 20, 30)] == [0, 50, 100, 250, 400, 700]
    assert work.flops_by(15) == 500.0
    assert Work().tokens_by(3) is None
    assert Work(steps=(0, 1), tokens=(0.0, 8.0)).flops_by(3) is None


def test_the_choice_of_axes_starts_with_the_first_and_needs_two():
    assert axis_choice(["step"]) == ""
    boxes = re.findall(r'value="(\w+)" class="by-(\w+)"( checked)?', axis_choice(["step", "flops"]))
    assert boxes == [("step", "step", " checked"), ("flops", "flops", "")]


def test_marks_stand_where_they_happened_and_only_inside():
    marks = [Mark(step=1, label="bad & worse", kind="skipped"), Mark(step=99, label="outside", kind="skipped")]
    text = figure(
        Figure(key="k", title="T", unit="u", lines=[Line(label="a", curve=curve([1, 2, 3]), colour=0)], marks=marks)
    )
    assert "bad &amp; worse" in text
    assert "outside" not in text


def test_a_huge_curve_is_a_small_figure():
    assert len(drawn([math.sin(i) for i in range(200_000)])) < 150_000


def test_a_heat_map_has_a_cell_for_each_module_and_step():
    rows = {"layers.0 <x>": [0.1, 1.0, 10.0], "layers.1": [NAN, 0.0, 100.0], "layers.2": [None, None, 1.0]}
    text = heat_map(HeatMap(key="k", title="T", unit="u", steps=[5, 10, 15], rows=rows))
    cells = dict(re.findall(r'<path class="(h\w+)" d="([^"]*)"', text))
    assert sum(path.count("M") for path in cells.values()) == 7  # none where nothing was measured
    assert cells["hx"].count("M") == 1  # NaN
    assert cells["h11"].count("M") == 1  # the largest
    assert cells["h0"].count("M") == 2  # the smallest, and zero
    assert "layers.0 &lt;x&gt;" in text


def test_a_long_heat_map_is_thinned_to_its_last_step():
    steps = list(range(1, 10_001))
    text = heat_map(HeatMap(key="k", title="T", unit="u", steps=steps, rows={"m": [1.0 + s for s in steps]}))
    data = json.loads(re.search(r'<script type="application/json">(.*)</script>', text)[1])
    assert len(data["steps"]) == MOST_COLUMNS
    assert data["steps"][-1] == 10_000


def test_a_heat_map_of_nothing_is_none():
    assert heat_map(HeatMap(key="k", title="T", unit="u", steps=[], rows={})) == ""
    assert heat_map(HeatMap(key="k", title="T", unit="u", steps=[1], rows={"m": [NAN]})) == ""

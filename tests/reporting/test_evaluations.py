"""Cards on the page: numbers with their intervals, beside one another, and over steps."""

import json
import re

from hornbook.reporting.evaluations import MOST_COLUMNS, evaluation_figures, evaluations, evaluations_of
from hornbook.reporting.record import read_run
from reporting.run_text import start, write_run


def card(step, perplexity, **more):
    """An event of an evaluation as `hornbook eval` tells it."""
    numbers = {"perplexity": perplexity, "perplexity_low": perplexity - 0.5, "perplexity_high": perplexity + 0.5}
    facts = {
        "bits_per_byte": perplexity / 8,
        "tokens_scored": 1000,
        "seconds": 0.5,
        "data": "data/x [valid]",
        "protocol": "stride 8",
    }
    return {"event": "eval", "step": step, "time": 9.0, "measure": "perplexity", **numbers, **facts, **more}


def record_of(tmp_path, events, name="one"):
    return read_run(write_run(tmp_path, name, [start(), *events]).root)


def cells(text):
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", text)]


def test_a_number_stands_with_its_interval_its_text_and_its_protocol(tmp_path):
    text = "".join(evaluations(record_of(tmp_path, [card(10, 8.0), card(20, 4.0)])))
    heads, *lines = cells(text.partition("<details")[0])
    assert heads == ["eval perplexity", "step 10", "step 20"]
    assert lines == [
        ["perplexity", "8 (7.5 to 8.5)", "4 (3.5 to 4.5)"],
        ["bits per byte", "1", "0.5"],
    ]
    assert '<p class="facts">Data: data/x [valid]. Protocol: stride 8.</p>' in text, "once, where they are equal"
    assert '<th scope="row">tokens_scored</th><td>1000</td>' in text, "the whole card"


def test_what_differs_stands_in_the_table(tmp_path):
    text = "".join(evaluations(record_of(tmp_path, [card(10, 8.0), card(10, 8.0, protocol="exact")])))
    assert ["protocol", "stride 8", "exact"] in cells(text)


def test_each_measure_has_a_table_and_the_newest_stand_beside_one_another(tmp_path):
    many = [card(step, 9.0 - step / 10) for step in range(1, 10)]
    other = {"event": "eval", "step": 9, "time": 9.0, "measure": "answers", "exact_match": 0.5, "data": "y"}
    heads = [row for row in cells("".join(evaluations(record_of(tmp_path, [*many, other])))) if row[0][:5] == "eval "]
    assert [len(row) - 1 for row in heads] == [MOST_COLUMNS, 1]
    assert heads[0][-1] == "step 9"


def test_a_card_that_no_event_tells_of_is_read_from_its_file_once(tmp_path):
    record = record_of(tmp_path, [card(10, 8.0)])
    record.run.evals.mkdir(exist_ok=True)
    same = {name: value for name, value in card(10, 8.0).items() if name not in ("event", "time", "measure")}
    for name, content in (
        ("perplexity-step-00000010-x", same),
        ("preference-step-00000020-y", {"step": 20, "accuracy": 0.75, "data": "y", "margins": [1.0, 2.0]}),
        ("perplexity-step-00000030-z", "no card"),
    ):
        (record.run.evals / f"{name}.json").write_text(json.dumps(content))
    (record.run.evals / "perplexity-step-00000040-z.json").write_text("{")
    found = evaluations_of(record)
    assert [(each.measure, each.step) for each in found] == [("perplexity", 10), ("preference", 20)]
    assert found[1].values == {"accuracy": 0.75, "data": "y"}


def test_several_steps_are_a_curve_and_other_protocols_are_other_lines(tmp_path):
    again = [card(10, 16.0), card(20, 4.0), card(10, 8.0)]
    others = [card(10, 6.0, protocol="exact"), card(20, 2.0, protocol="exact"), card(20, 2.0, data="z")]
    (drawn,) = evaluation_figures([record_of(tmp_path, [*again, *others])])
    assert (drawn.key, drawn.unit) == ("eval-perplexity", "bits per byte")
    assert [(line.curve.steps, line.curve.values) for line in drawn.lines] == [
        ((10, 20), (1.0, 0.5)),  # the newest of step 10
        ((10, 20), (0.75, 0.25)),
    ]
    assert evaluation_figures([record_of(tmp_path / "other", [card(10, 8.0)])]) == []


def test_runs_are_drawn_over_one_another(tmp_path):
    records = [record_of(tmp_path, [card(1, 8.0), card(2, 4.0)], name) for name in "ab"]
    (drawn,) = evaluation_figures(records)
    assert [line.label for line in drawn.lines] == ["a: data/x [valid]", "b: data/x [valid]"]

import json
import math
from dataclasses import replace

import pytest

from hornbook.benchmarks.comparison import failed, rows_of
from hornbook.benchmarks.harness import Bar, Case, Measured
from hornbook.benchmarks.report import machine, table
from hornbook.benchmarks.side import Side

CASE = Case(
    name="encode",
    unit="MB",
    amount=100.0,
    sides=[Side(name=name, file="", settings={}) for name in ("hornbook", "peer")],
    equal={"ids": 0},
)


def measured(name, seconds, **more):
    return Measured(name=name, threads=2, seconds={"": seconds}, setup_seconds=[0.5], memory=2_000_000, **more)


def test_ratios_are_of_paired_blocks_and_above_one_is_ours():
    ours, theirs = measured("hornbook", [1.0, 1.0, 9.0]), measured("peer", [2.0, 3.0, 9.0])
    first, second = rows_of(CASE, [ours, theirs])
    assert first.ratio is None
    assert (first.seconds, first.throughput) == (1.0, 100.0)
    assert (second.ratio.median, second.ratio.low, second.ratio.high) == (2.0, 1.0, 3.0)
    assert not failed([first, second])


def test_mean_and_standard_deviation_stand_in_the_line():
    ours, once = rows_of(CASE, [measured("hornbook", [1.0, 3.0]), measured("peer", [2.0])])
    assert (ours.mean, ours.standard_deviation) == (2.0, math.sqrt(2))
    assert "mean 2.000 s, deviation 1.414" in list(table([ours, once]))[1]
    assert (once.mean, once.standard_deviation) == (2.0, None)
    assert "deviation" not in list(table([once]))[1]


@pytest.mark.parametrize(("floor", "met"), [(2.9, True), (3.0, True), (3.1, False)])
def test_a_floor_is_met_when_the_interval_reaches_it(floor, met):
    case = replace(CASE, bars=[Bar(kind="ratio", peer="peer", value=floor, aim=5)])
    rows = rows_of(case, [measured("hornbook", [1.0] * 3), measured("peer", [2.0, 2.5, 3.0])])
    ((verdict,),) = [row.verdicts for row in rows if row.verdicts]
    assert (verdict.met, verdict.measured) == (met, 2.5)
    assert f"floor {floor:g} x {'met' if met else 'MISSED'}, aim 5" in "\n".join(table(rows))


def test_bars_of_memory_and_of_seconds_more():
    bars = [Bar(kind="memory", value=1e6), Bar(kind="seconds", peer="peer", value=1.5)]
    rows = rows_of(replace(CASE, bars=bars), [measured("hornbook", [2.0, 2.2]), measured("peer", [1.0, 1.0])])
    assert [(v.bar.kind, v.met) for row in rows for v in row.verdicts] == [("memory", False), ("seconds", True)]
    text = "\n".join(table(rows))
    assert "at most 1 MB: MISSED" in text
    assert "1.10 s more than peer, at most 1.5 s: met" in text


def test_no_bar_is_asked_of_what_failed():
    case = replace(CASE, bars=[Bar(kind="seconds", peer="peer", value=1.5)])
    for seconds in ({}, {"": [1.0]}):
        ours = replace(measured("hornbook", []), seconds=seconds, failure="no memory")
        rows = rows_of(case, [ours, measured("peer", [1.0, 1.0])])
        assert not [row for row in rows if row.verdicts]
        assert failed(rows)


def test_a_bar_of_one_pass_is_not_asked_of_another():
    bars = [Bar(kind="ratio", peer="peer", value=1, for_pass="cold")]
    case = replace(CASE, passes=("cold", "warm"), bars=bars)
    both = [
        Measured(name=name, threads=1, seconds={"cold": [1.0], "warm": [1.0, 1.0]}) for name in ("hornbook", "peer")
    ]
    both[1].seconds["cold"].append(1.0)
    both[0].seconds["cold"].append(1.0)
    assert [(row.pass_name, len(row.verdicts)) for row in rows_of(case, both) if row.side == "peer"] == [
        ("cold", 1),
        ("warm", 0),
    ]


def test_other_answers_are_told_and_make_the_run_fail():
    ours, theirs = measured("hornbook", [1.0], checks={"ids": "a"}), measured("peer", [1.0], checks={"ids": "b"})
    rows = rows_of(CASE, [ours, theirs])
    assert [row.differs for row in rows] == [(), ("ids",)]
    assert "ids DIFFER" in "\n".join(table(rows))
    assert failed(rows)
    theirs.checks["ids"] = "a"
    rows = rows_of(CASE, [ours, theirs])
    assert "ids equal" in "\n".join(table(rows))
    assert not failed(rows)


def test_two_that_learn_nothing_are_no_success():
    case = replace(CASE, equal={"learns": 0})
    for learns in (True, False):
        both = [measured(name, [1.0], checks={"learns": learns}) for name in ("hornbook", "peer")]
        assert failed(rows_of(case, both)) is not learns


def test_numbers_may_differ_by_the_tolerance():
    case = replace(CASE, equal={"loss": 1e-4})
    ours = measured("hornbook", [1.0], checks={"loss": 2.0})
    near, far = (measured("peer", [1.0], checks={"loss": loss}) for loss in (2.00005, 2.001))
    assert rows_of(case, [ours, near])[1].differs == ()
    assert rows_of(case, [ours, far])[1].differs == ("loss",)


def test_a_peer_that_failed_is_a_line_and_ours_that_failed_is_an_error():
    ours, theirs = measured("hornbook", [1.0]), Measured(name="peer", threads=1, failure="ended with status 3")
    rows = rows_of(CASE, [ours, theirs])
    assert "failed: ended with status 3" in list(table(rows))[-1]
    assert not failed(rows)
    rows = rows_of(CASE, [replace(ours, failure="out of memory", seconds={}), theirs])
    assert failed(rows)
    assert "failed: out of memory" in "\n".join(table(rows))


def test_a_side_that_ran_once_has_no_ratio():
    rows = rows_of(CASE, [measured("hornbook", [1.0, 1.0]), measured("peer", [2.0])])
    assert rows[1].ratio is None
    assert list(table(rows))[-1].endswith("one run")


def test_the_title_says_what_our_checks_show_and_who_waited_busily_is_told():
    ours = measured("hornbook", [1.0], checks={"shown": {"tokens": "7"}}, idle=0.5)
    title, note, line = table(rows_of(replace(CASE, note="file to file"), [ours]))
    assert title == "encode; tokens 7"
    assert note == "  (file to file)"
    assert "used 50% of a core while waiting" in line


def test_rows_and_the_machine_are_json():
    rows = rows_of(CASE, [measured("hornbook", [1.0, 2.0]), measured("peer", [2.0, 2.0])])
    text = json.dumps({"machine": machine(), "rows": [row.as_json() for row in rows]})
    read = json.loads(text)
    assert read["machine"]["cores"] >= 1
    assert {"processor", "commit", "started", "versions", "peers"} <= set(read["machine"])
    assert read["rows"][1]["ratio"]["coverage"] == 0.5

"""The page of a profile: bars as long as the times, everything escaped; and the same as lines."""

import re
from pathlib import Path

import pytest

from hornbook.profiling.profile import Profile
from hornbook.profiling.step_clock import PARTS, Breakdown
from hornbook.profiling.trace import Operator
from hornbook.reporting.profile_page import WIDTH, bars, profile_page
from html_outline import Outline

ONE = Breakdown(
    seconds={"data/wait": 0.001, "data/prepare": 0.002, "forward": 0.003, "backward": 0.0039, "other": 0.0001},
    steps=10,
    fastest=0.009,
    slowest=0.02,
)


def profile(*ranks: Breakdown, device: float = 0.0) -> Profile:
    return Profile(
        kind="train",
        subject="2 layers <b>",
        unit="step",
        parts=PARTS,
        ranks=ranks,
        operators=(Operator(name="aten::mm <&>", calls=1200, host=0.5, device=device),),
        tokens_per_second=12345.0,
        mfu=0.25,
        peaks={"host_peak_bytes": 2**30},
        facts={"device": "cpu"},
        files=(Path("trace.json.gz"),),
    )


def test_the_bar_is_as_long_as_its_times():
    drawn = bars(profile(ONE))
    Outline(drawn)
    widths = [float(each) for each in re.findall(r'<rect [^>]* width="([\d.]+)"', drawn)]
    assert widths == pytest.approx([WIDTH * share for share in (0.3, 0.3, 0.39, 0.01)], abs=0.01)
    lefts = [float(each) for each in re.findall(r'<rect x="([\d.]+)"', drawn)]
    assert lefts == pytest.approx([0.0, *(sum(widths[: i + 1]) for i in range(3))], abs=0.02)
    assert re.findall(r"<title>(\w+): ([\d.]+) ms, ([\d.]+)%", drawn)[0] == ("data", "3.000", "30.0")


def test_processes_have_a_bar_each_against_the_slowest():
    half = Breakdown(seconds={"forward": 0.005}, steps=10, fastest=0.005, slowest=0.005)
    drawn = bars(profile(ONE, half))
    widths = [float(each) for each in re.findall(r'<rect [^>]* width="([\d.]+)"', drawn)]
    assert widths[-1] == pytest.approx(sum(widths[:-1]) / 2, abs=0.05)
    assert drawn.count(">rank ") == 2


@pytest.mark.parametrize("device", [0.0, 0.25])
def test_the_page_stands_alone_and_escapes(device):
    text = profile_page(profile(ONE, device=device))
    Outline(text)
    assert not re.search(r"https?://|@import|<script", text)
    assert "2 layers &lt;b&gt;" in text
    assert "aten::mm &lt;&amp;&gt;" in text
    assert ("device, ms" in text) == bool(device)
    for said in ("10.0 ms", "12,345", "25.0%", "1,024 MiB", "prepare"):
        assert said in text


def test_the_lines_say_the_same():
    lines = list(profile(ONE).lines())
    [whole] = [line for line in lines if line.startswith("the whole step")]
    assert whole.split() == ["the", "whole", "step", "10.000"]
    assert [line.split() for line in lines if line.startswith("data")] == [["data", "3.000", "30.0%"]]
    assert [line.split() for line in lines if line.startswith("  wait")] == [["wait", "1.000", "10.0%"]]
    assert "device, ms" not in "".join(lines)
    assert "device, ms" in "".join(profile(ONE, device=0.25).lines())


def test_a_name_that_is_long_is_cut():
    long = Operator(name="x" * 80, calls=1, host=0.0, device=0.0)
    [line] = [line for line in Profile(**{**vars(profile(ONE)), "operators": (long,)}).lines() if "xxx" in line]
    assert len(line.split()[0]) == 50

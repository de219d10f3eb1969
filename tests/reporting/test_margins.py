"""A bar a pair, in order, above or below zero; three kinds of file and no other."""

import re
import xml.etree.ElementTree as ET

import pytest

from hornbook.errors import ConfigError
from hornbook.reporting.margins import ABOVE, BELOW, margins_svg, save_margins

MARGINS = [2.0, -1.0, 0.5, 0.0]


def bars(svg: str) -> list[tuple[float, float, str]]:
    """(top, height, colour) from left to right."""
    found = re.findall(r'<rect x="([\d.]+)".*? y="([\d.]+)" height="([\d.]+)" fill="(#\w+)"', svg)
    return [(float(top), float(height), colour) for _, top, height, colour in sorted(found, key=lambda f: float(f[0]))]


def test_bars_are_in_order_and_as_high_as_their_margins():
    drawn = bars(margins_svg(MARGINS, "a < b"))
    assert [colour for *_, colour in drawn] == [BELOW, BELOW, ABOVE, ABOVE]
    heights = [height for _, height, _ in drawn]
    assert heights[1] == 0.0
    assert heights[0] / heights[3] == pytest.approx(0.5, rel=0.01)
    assert heights[2] / heights[3] == pytest.approx(0.25, rel=0.01)
    zero = drawn[0][0]
    assert all(top + height == pytest.approx(zero, abs=0.02) for top, height, _ in drawn[2:])


def test_it_is_valid_xml_and_says_its_title():
    root = ET.fromstring(margins_svg(MARGINS, "a < b"))
    assert root.attrib["aria-label"] == "a < b"
    assert any("4 pairs" in (text.text or "") for text in root.iter() if text.tag.endswith("text"))


@pytest.mark.parametrize("margins", [[0.0, 0.0], [1.0], [-3.0, -2.0]])
def test_any_margins_can_be_drawn(margins):
    ET.fromstring(margins_svg(margins, "t"))


@pytest.mark.parametrize("ending", [".svg", ".html", ".png"])
def test_files(tmp_path, ending):
    if ending == ".png":
        pytest.importorskip("matplotlib")
    path = tmp_path / f"margins{ending}"
    save_margins(MARGINS, "title", path)
    start = {".svg": b"<svg", ".html": b"<!doctype html>", ".png": b"\x89PNG"}[ending]
    assert path.read_bytes().startswith(start)


def test_another_kind_of_file(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.svg, \.html or \.png"):
        save_margins(MARGINS, "title", tmp_path / "margins.pdf")

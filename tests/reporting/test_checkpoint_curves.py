"""The picture of all checkpoints: places that keep the order of the numbers, bands, and each form of file."""

import re

import pytest

from hornbook.errors import ConfigError
from hornbook.reporting.checkpoint_curves import CheckpointLine, checkpoint_curves_svg, save_checkpoint_curves

FALLING = CheckpointLine(label="a & b", steps=[100, 200, 400], values=[300.0, 60.0, 30.0])
BANDED = CheckpointLine(label="other", steps=[100, 400], values=[3.0, 2.0], lows=[2.5, 1.5], highs=[3.5, 2.5])


def circles(svg: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_a_point_a_checkpoint_the_smaller_the_lower():
    svg = checkpoint_curves_svg([FALLING], title="title", unit="perplexity")
    (x1, y1), (x2, y2), (x3, y3) = circles(svg)
    assert x3 - x2 == pytest.approx(2 * (x2 - x1), abs=0.2)
    assert y1 < y2 < y3  # down is more in a drawing
    assert "a &amp; b, step 200: 60" in svg
    assert "<polygon" not in svg


def test_far_apart_values_have_a_logarithmic_axis():
    """300 to 60 is 2.3 times as far as 60 to 30: log 5 / log 2; near ones have a linear axis."""
    (_, y1), (_, y2), (_, y3) = circles(checkpoint_curves_svg([FALLING], title="", unit=""))
    assert (y2 - y1) / (y3 - y2) == pytest.approx(2.32, rel=0.01)
    near = CheckpointLine(label="near", steps=[1, 2, 3], values=[3.0, 2.0, 1.5])
    (_, y1), (_, y2), (_, y3) = circles(checkpoint_curves_svg([near], title="", unit=""))
    assert (y2 - y1) / (y3 - y2) == pytest.approx(2.0, rel=0.01)


def test_an_interval_is_a_band_around_its_line():
    svg = checkpoint_curves_svg([BANDED], title="", unit="")
    [points] = re.findall(r'<polygon points="([^"]+)"', svg)
    heights = [float(point.split(",")[1]) for point in points.split()]
    (_, first), (_, last) = circles(svg)
    assert heights[0] < first < heights[3]
    assert heights[1] < last < heights[2]


@pytest.mark.parametrize("name", ["all.svg", "all.html", "all.png"])
def test_every_form_of_file(tmp_path, name):
    if name.endswith("png"):
        pytest.importorskip("matplotlib")
    path = tmp_path / name
    save_checkpoint_curves([FALLING, BANDED], path, title="x < y", unit="nats")
    data = path.read_bytes()
    assert data.startswith({"svg": b"<svg", "html": b"<!doctype html>", "png": b"\x89PNG"}[name.rpartition(".")[2]])
    assert b"x < y" not in data


def test_another_ending_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"ends in \.svg, \.html or \.png"):
        save_checkpoint_curves([FALLING], tmp_path / "all.pdf", title="", unit="")

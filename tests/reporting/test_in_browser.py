"""The page in a real browser, opened as a file without a network: axes, the pointer, a narrow window."""

import pytest

from hornbook.reporting.page import page
from hornbook.reporting.record import read_run
from reporting.run_text import start, train, val, write_run
from serving.browser import chromium

pytestmark = [pytest.mark.browser, pytest.mark.medium]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two runs, of which the second reads twice as much a step."""
    root = tmp_path_factory.mktemp("browser")
    records = []
    for name, size in (("a", 64), ("b", 128)):
        steps = (train(step, 4.0 - step / 10, tokens=size * step, grad_norm=1.0) for step in range(1, 21))
        events = [start(flops_per_token=10.0), *steps, val(20, 2.25)]
        records.append(read_run(write_run(root, name, events).root))
    file = root / "report.html"
    file.write_text(page(records), encoding="utf-8")
    return file


def test_one_choice_turns_all_curves_and_the_pointer_reads_them(report):
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1180, "height": 800}, offline=True)
        opened, asked, errors = context.new_page(), [], []
        opened.on("request", lambda request: asked.append(request.url))
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.goto(report.as_uri())
        drawn = opened.locator(".plot .drawing >> visible=true")
        figures = opened.locator(".plot").count()
        assert figures >= 2
        for axis, last in (("step", "20"), ("tokens", "2,560"), ("flops", "25,600")):
            opened.locator(f".across .by-{axis}").check()
            assert drawn.count() == figures, "one drawing of each figure"
            box = drawn.first.bounding_box()
            opened.mouse.move(box["x"] + box["width"] * (1 - 16 / 1200), box["y"] + box["height"] / 2)
            told = opened.locator("#tip").inner_text()
            assert last in told
            assert ("a: validation" in told) == (axis == "step"), "by tokens the first run ended half-way"
        opened.locator("#losses .by-log").check()
        assert drawn.first.get_attribute("class").endswith(" log")
        opened.set_viewport_size({"width": 360, "height": 700})
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360, "nothing sticks out of a telephone"
        assert asked == [report.as_uri()]
        assert errors == []

import io
import math
import time

import pytest
from rich.cells import cell_len
from rich.console import Console

from hornbook.tracking.live import DRAWS_PER_SECOND, LiveView
from hornbook.tracking.tracker import RunInfo

DETAILS = {
    "device": "cpu",
    "n_parameters": 803_456,
    "architecture": "4 layers, d_model 128, rotary, relu2",
    "dataset": "data/shakespeare",
    "choices": "bf16 products (762 GFLOP/s) · compiled · micro-batch 32",
}


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def make(width=120, height=40):
    """A view whose own output goes nowhere and whose thread would draw once in a long while."""
    clock = Clock()
    view = LiveView(Console(file=io.StringIO(), force_terminal=True, width=width, height=height), clock=clock)
    view._live.refresh_per_second = 1e-3
    return view, clock


@pytest.fixture
def view():
    view, _ = make()
    yield view
    view.finish("finished")


def shown(view, width=120, height=40):
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(view)
    return console.file.getvalue()


def test_adapters_are_told_beside_the_whole():
    view, _ = make()
    view.start(RunInfo(name="tiny", total_steps=9, details={**DETAILS, "trained_parameters": 12_288}))
    assert "803k parameters, 12.3k of them trained" in shown(view)
    view.finish("finished")


def train(view, steps, **more):
    for step in steps:
        values = {"loss": 5 - step / 25, "learning_rate": 1e-3, "grad_norm": 0.5, "tokens_per_second": 12_345.0}
        values |= {"mfu": 0.25, "peak_memory_bytes": 1.5e9, "seconds_left": 90.0, **more}
        view.log("train", step, {f"train/{name}": value for name, value in values.items()})


def full(view):
    """A run of which there is everything to show."""
    view.start(RunInfo(name="tiny", total_steps=1_000, details=DETAILS))
    train(view, range(1, 51), skipped=2)
    view.log("val", 20, {"val/loss": 2.5, "val/perplexity": 12.18})
    view.log("val", 50, {"val/loss": 3.5, "val/perplexity": 33.12})
    view.text("sample/0", 40, "first")
    view.text("sample/0", 50, "Once [bold]upon[/bold]\n" + "more and more " * 50)
    view.text("sample/1", 50, "\x1b[2J日本語" + "日本語" * 80 + "\n\ttabs\tand\n" * 3)
    view.log("norms", 50, {"norms/grad/head": 0.5, "norms/grad/norm": 2.0, "norms/update_ratio/head": 1e-3})
    view.log("checkpoint", 50, {"checkpoint/kind": "full", "checkpoint/best": True, "checkpoint/path": "x"})
    view.progress("validation", 12, 64)


def test_diffusion_has_a_row_by_how_much_is_masked(view):
    view.start(RunInfo(name="tiny", total_steps=10))
    train(view, [1])
    assert "masked up to" not in shown(view)
    train(view, [2], nll_p0_25=0.8123, nll_p75_100=2.5)
    line = next(line for line in shown(view).splitlines() if "masked up to" in line)
    assert "nll" in line
    assert "masked up to 25% 0.812 · 100% 2.500" in line
    assert "loss" not in line


def test_it_shows_all_that_people_look_for():
    view, clock = make()
    full(view)
    clock.now += 31
    text = shown(view)
    view.finish("finished")
    for part in (
        "tiny",
        "step 50/1,000 · 0:31 · 1:30 left",
        "loss 3.0000 · lr 1.00e-03",
        "loss 3.5000 · best 2.5000 at step 20 · ppl 33.12",
        "norm 0.5 · 2 steps skipped",
        "12.3k tok/s · MFU 25.0% · peak 1.5GB",
        "validation",
        "12/64",
        "norms at step 50 · largest gradient 2 in norm · largest update ratio 0.001 in head",
        "checkpoint at step 50 · full · the best so far",
        "bf16 products (762 GFLOP/s) · compiled · micro-batch 32",
        "cpu · 4 layers, d_model 128, rotary, relu2 · data/shakespeare · 803k parameters",
        "sample/0 at step 50",
        "Once [bold]upon[/bold]",  # a sample is text, not markup
        "sample/1 at step 50",
        "█",
    ):
        assert part in text
    assert "first" not in text
    assert "\x1b" not in text
    for label in ("train ", "valid ", "gradient ", "speed "):
        assert any(line.startswith(label) for line in text.splitlines()), label


@pytest.mark.parametrize("width", [60, 61, 80, 99, 120, 157, 200])
@pytest.mark.parametrize("height", [1, 2, 5, 8, 12, 24, 50])
def test_it_fits_any_terminal(width, height):
    view, _ = make(width, height)
    full(view)
    lines = shown(view, width, height).splitlines()
    view.finish("finished")
    assert 1 <= len(lines) <= max(1, height - 1)
    assert max(map(cell_len, lines)) <= width
    assert "50/1,000" in lines[0]  # the most important first
    if height >= 8:
        assert lines[1 if height < 31 else 3].startswith("train")


def test_numbers_that_no_row_has_room_for_give_way_to_an_ellipsis():
    view, _ = make(60)
    full(view)
    (row,) = [line for line in shown(view, 60).splitlines() if line.startswith("speed")]
    view.finish("finished")
    assert "12.3k tok/s" in row
    assert row.endswith("…")


def test_a_drawn_view_stays_in_place(view):
    """Every drawing begins by going back over the last: nothing scrolls, the screen is never cleared."""
    full(view)
    file = view._live.console.file
    view._live.refresh()
    mark = len(file.getvalue())
    view._live.refresh()
    drawing = file.getvalue()[mark:]
    n_lines = len(shown(view).splitlines())
    assert drawing.startswith("\r\x1b[2K" + "\x1b[1A\x1b[2K" * (n_lines - 1))
    assert drawing.count("\n") == n_lines - 1
    assert "\x1b[2J" not in drawing
    assert "\x1b[H" not in drawing


def test_a_resumed_run_says_so(view):
    view.start(RunInfo(name="tiny", total_steps=20, first_step=10, resumed=True))
    assert "resumed after step 10" in shown(view)


def test_a_run_without_events_or_total_has_a_view(view):
    view.start(RunInfo(name="tiny"))
    assert "step 0 · 0:00 · first step" in shown(view)


def test_losses_that_are_not_numbers_do_not_stop_it(view):
    view.start(RunInfo(name="tiny", total_steps=2))
    view.log("train", 1, {"train/loss": math.nan})
    view.log("val", 1, {"val/loss": math.inf})
    assert "loss nan" in shown(view)
    assert "best" not in shown(view)


def test_a_task_is_shown_until_it_is_done(view):
    view.start(RunInfo(name="tiny", total_steps=2))
    view.progress("validation", 3, 4)
    assert "3/4" in shown(view)
    view.progress("validation", 4, 4)
    assert "validation" not in shown(view)


def test_the_clock_goes_on_while_the_loop_is_busy():
    """What a long compilation looks like from outside: no event, and yet the view is drawn again."""
    file = io.StringIO()
    view = LiveView(Console(file=file, force_terminal=True, width=80, height=20))
    view.start(RunInfo(name="tiny", total_steps=2))
    mark, until = len(file.getvalue()), time.monotonic() + 20 / DRAWS_PER_SECOND
    while len(file.getvalue()) == mark and time.monotonic() < until:
        time.sleep(0.02)
    view.finish("finished")
    assert "tiny" in file.getvalue()[mark:]


def test_taking_numbers_down_is_cheap(view):
    """The budget is 0.5 ms a step, and it takes some microseconds. The best of several rounds, as load varies."""
    view.start(RunInfo(name="tiny", total_steps=10**6))

    def seconds():
        start = time.perf_counter()
        train(view, range(200))
        return (time.perf_counter() - start) / 200

    assert min(seconds() for _ in range(5)) < 0.5e-3


def test_finish_leaves_the_last_view_and_the_cursor():
    view, _ = make()
    view.start(RunInfo(name="tiny", total_steps=2))
    view.finish("failed")
    output = view._live.console.file.getvalue()
    assert "run failed" in output
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")

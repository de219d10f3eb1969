import io
import math

import pytest
from rich.console import Console

from hornbook.tracking.live import LiveView
from hornbook.tracking.tracker import RunInfo


@pytest.fixture
def view():
    view = LiveView(Console(file=io.StringIO(), force_terminal=True, width=120))
    yield view
    view.finish("finished")


def shown(view):
    console = Console(file=io.StringIO(), width=120)
    console.print(view.render())
    return console.file.getvalue()


def test_it_shows_progress_numbers_validation_and_the_last_sample(view):
    view.start(RunInfo(name="tiny", total_steps=100))
    for step in range(1, 51):
        view.log(
            "train",
            step,
            {
                "train/loss": 5 - step / 25,
                "train/learning_rate": 1e-3,
                "train/grad_norm": 0.5,
                "train/tokens_per_second": 12_345.0,
                "train/mfu": 0.25,
                "train/peak_memory_bytes": 1.5e9,
                "train/seconds_left": 90.0,
            },
        )
    view.log("val", 20, {"val/loss": 2.5})
    view.log("val", 50, {"val/loss": 3.5})
    view.text("0", 40, "first")
    view.text("0", 50, "Once [bold]upon[/bold]\n" + "more\n" * 50)
    view.log("checkpoint", 50, {"kind": "full"})
    text = shown(view)
    for part in (
        "tiny",
        "step 50/100",
        "loss 3.0000 · lr 1.00e-03 · grad norm 0.5 · 12.3k tok/s · MFU 25.0% · peak 1.5GB · 1:30 left",
        "█",
        "loss 3.5000 · at step 50 · best 2.5000 at step 20",
        "Once [bold]upon[/bold]",  # a sample is text, not markup
        "checkpoint at step 50",
    ):
        assert part in text
    assert "first" not in text
    assert len(text.splitlines()) < 20


def test_a_run_without_events_or_total_has_a_view(view):
    view.start(RunInfo(name="tiny"))
    assert "step 0" in shown(view)


def test_losses_that_are_not_numbers_do_not_stop_it(view):
    view.start(RunInfo(name="tiny", total_steps=2))
    view.log("train", 1, {"train/loss": math.nan})
    view.log("val", 1, {"val/loss": math.inf})
    assert "loss nan" in shown(view)

import warnings
from pathlib import Path

import pytest

from hornbook.tracking.composite import CompositeTracker
from hornbook.tracking.tracker import Histogram, RunInfo


class Recorder:
    def __init__(self, fail_on=()):
        self.calls, self.fail_on = [], fail_on

    def _note(self, name):
        self.calls.append(name)
        if name in self.fail_on:
            raise OSError(f"{name} is down")

    def start(self, run):
        self._note("start")

    def log(self, event, step, values):
        self._note("log")

    def text(self, name, step, text):
        self._note("text")

    def histogram(self, name, step, histogram):
        self._note("histogram")

    def progress(self, task, done, total):
        self._note("progress")

    def artifact(self, path, name, kind):
        self._note("artifact")

    def finish(self, status):
        self._note("finish")


def play(tracker):
    tracker.start(RunInfo(name="r"))
    tracker.log("train", 1, {})
    tracker.text("0", 1, "x")
    tracker.histogram("h", 1, Histogram(edges=(0.0, 1.0), counts=(3,)))
    tracker.progress("validation", 1, 2)
    tracker.artifact(Path("p"), "n", "best")
    tracker.finish("finished")


ALL = ["start", "log", "text", "histogram", "progress", "artifact", "finish"]


def test_everybody_hears_everything():
    record, guests = Recorder(), [Recorder(), Recorder()]
    play(CompositeTracker(record=record, guests=guests))
    assert [tracker.calls for tracker in (record, *guests)] == [ALL] * 3


@pytest.mark.parametrize("call", ALL[1:])
def test_a_failing_guest_is_warned_about_once_and_dropped(call):
    record, ill, well = Recorder(), Recorder(fail_on=ALL[1:] if call == "log" else (call,)), Recorder()
    with pytest.warns(UserWarning, match=f"Recorder failed.*{call} is down") as caught:
        play(CompositeTracker(record=record, guests=[ill, well]))
    assert len(caught) == 1
    assert ill.calls == ALL[: ALL.index(call) + 1]
    assert record.calls == well.calls == ALL


def test_a_guest_that_cannot_start_is_an_error():
    with pytest.raises(OSError, match="start is down"):
        play(CompositeTracker(record=None, guests=[Recorder(fail_on=("start",))]))


def test_a_failing_record_ends_the_run():
    with warnings.catch_warnings(), pytest.raises(OSError, match="log is down"):
        play(CompositeTracker(record=Recorder(fail_on=("log",)), guests=[]))

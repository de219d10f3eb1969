import errno
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from hornbook.errors import CheckpointError
from hornbook.storage.disk import StorageError
from hornbook.tracking.jsonl import JsonLines, MetricsFile, drop_torn_line, json_line, read_metrics
from hornbook.tracking.tracker import Histogram, RunInfo


def strict(line):
    def reject(constant):
        raise AssertionError(f"{constant} is not JSON: {line}")

    return json.loads(line, parse_constant=reject)


def session(path, first_step, last_step, *, offset=0.0):
    file = MetricsFile(path)
    tracker = JsonLines(file)
    tracker.start(RunInfo(name="r", first_step=first_step, resumed=first_step > 0, total_steps=10))
    for step in range(first_step + 1, last_step + 1):
        tracker.log("train", step, {"train/loss": step + offset})
    file.close()


def test_a_line_is_strict_json_whatever_the_floats_are():
    line = json_line({"a": math.nan, "b": [math.inf, -math.inf, 1.5], "c": {"d": math.nan}})
    assert strict(line) == {"a": None, "b": [None, None, 1.5], "c": {"d": None}}


def test_numbers_of_numpy_and_paths_are_plain():
    assert strict(json_line({"a": np.float32(0.5), "b": np.int64(3), "p": Path("x/y"), "t": True})) == {
        "a": 0.5,
        "b": 3,
        "p": str(Path("x/y")),
        "t": True,
    }


def test_a_line_is_one_ascii_line_even_for_newlines_and_stray_surrogates():
    text = "tea\nfor\u2028two ☕ \udc80"
    line = json_line({"text": text})
    assert line.isascii()
    assert "\n" not in line
    assert strict(line)["text"] == text


def test_a_value_that_json_cannot_hold_is_a_type_error():
    with pytest.raises(TypeError, match="object"):
        json_line({"a": object()})


def test_every_event_has_its_own_step(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonLines(MetricsFile(path))
    tracker.start(RunInfo(name="r"))
    tracker.log("train", 1, {"train/loss": 1.0})
    tracker.log("val", 1, {"val/loss": math.nan})
    tracker.text("0", 1, "Once")
    tracker.progress("validation", 1, 2)
    tracker.histogram("histograms/grad/head", 1, Histogram(edges=(0.0, 1.0), counts=(3,)))
    tracker.artifact(tmp_path / "step-1", "r-best", "best")
    tracker.finish("finished")
    events = [strict(line) for line in path.read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "train", "val", "sample", "artifact", "finish"]
    assert [event["step"] for event in events] == [0, 1, 1, 1, 1, 1]
    assert events[2]["val/loss"] is None
    assert all(event["time"] > 1.7e9 for event in events)


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    sink = MetricsFile(tmp_path / "m")
    sink.write("one")
    assert (tmp_path / "m").read_bytes() == b"one\n"
    sink.close()
    sink.close()


@pytest.mark.parametrize("tail", [b"", b'{"event": "tr', b"x" * 200_000])
@pytest.mark.parametrize("head", [b"", b'{"a": 1}\n', b'{"a": 1}\n{"b": 2}\n'])
def test_only_a_torn_last_line_is_dropped(tmp_path, head, tail):
    path = tmp_path / "m"
    path.write_bytes(head + tail)
    assert drop_torn_line(path) == len(tail)
    assert path.read_bytes() == head


def test_a_missing_file_has_no_torn_line(tmp_path):
    assert drop_torn_line(tmp_path / "absent") == 0


def test_a_resumed_run_supersedes_what_the_killed_one_wrote_beyond_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    session(path, 0, 7)
    with path.open("ab") as file:
        file.write(b'{"event": "train", "st')  # killed in the middle of a write
    session(path, 4, 10, offset=0.5)
    events = read_metrics(path)
    losses = {event["step"]: event["train/loss"] for event in events if event["event"] == "train"}
    assert losses == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5.5, 6: 6.5, 7: 7.5, 8: 8.5, 9: 9.5, 10: 10.5}
    assert sum(event["event"] == "train" for event in events) == 10
    assert [event["step"] for event in events if event["event"] == "start"] == [0, 4]


def test_reading_ignores_a_torn_last_line_and_leaves_it(tmp_path):
    path = tmp_path / "m"
    path.write_bytes(b'{"event": "train", "step": 1}\n{"event"')
    assert read_metrics(path) == [{"event": "train", "step": 1}]
    assert path.read_bytes().endswith(b'{"event"')


@pytest.mark.parametrize("line", [b"{", b"[1]", b"\x00\x00", b"\xff"])
def test_a_broken_line_in_the_middle_is_named(tmp_path, line):
    path = tmp_path / "m"
    path.write_bytes(b'{"event": "train", "step": 1}\n' + line + b"\n{}\n")
    with pytest.raises(CheckpointError, match="m:2: "):
        read_metrics(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="absent"):
        read_metrics(tmp_path / "absent")


def test_a_disk_that_refuses_is_named_and_the_file_closed(tmp_path, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    file = MetricsFile(tmp_path / "metrics.jsonl")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=r"metrics\.jsonl.*disk is full"):
        file.close()
    file.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_line_that_cannot_be_written_names_its_file():
    file = MetricsFile(Path("/dev/full"))
    with pytest.raises(StorageError, match=r"/dev/full.*disk is full"):
        file.write("{}")
    file._file.close()  # a device cannot be synced


def test_a_last_line_that_is_refused_closes_the_file_all_the_same():
    class Full:
        closed = False

        def write(self, line):
            raise StorageError("the disk is full")

        def close(self):
            self.closed = True

    sink = Full()
    with pytest.raises(StorageError, match="full"):
        JsonLines(sink).finish("failed")
    assert sink.closed

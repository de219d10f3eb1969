import json

import pytest

from hornbook.tracking import progress as progress_file
from hornbook.tracking.progress import Progress


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_json_lines_are_rare_and_the_last_is_always_written(capsys):
    with Progress("prepare") as progress:
        for done in range(1, 101):
            progress.update(done, 100, tokens=done * 10)
    written = lines(capsys)
    assert [line["done"] for line in written] == [1, 100]
    assert written[-1] | {"time": 0} == {
        "event": "progress",
        "task": "prepare",
        "time": 0,
        "done": 100,
        "total": 100,
        "tokens": 1000,
    }


def test_a_second_later_the_next_line_follows(capsys, monkeypatch):
    now = iter([100.0, 100.0, 100.5, 101.0, 101.0, 101.0])
    monkeypatch.setattr(progress_file.time, "monotonic", lambda: next(now))
    progress = Progress("count").start()
    for done in (1, 2, 3):
        progress.update(done)
    assert [line["done"] for line in lines(capsys)] == [1, 3]


def test_work_that_reports_nothing_writes_nothing(capsys):
    with Progress("nothing") as progress:
        progress.finish()
    assert lines(capsys) == []


@pytest.mark.parametrize("total", [None, 10])
def test_the_bar_goes_to_stderr(capsys, total):
    with Progress("prepare", unit="documents", console="rich") as progress:
        progress.update(5, total, tokens=12_000, file="a.txt")
    captured = capsys.readouterr()
    assert "tokens 12k · file a.txt" in captured.err
    assert captured.err.endswith(("\x1b[?25h", "\x1b[?25h\n", "\n\x1b[?25h"))  # the cursor is back
    assert [json.loads(line)["done"] for line in captured.out.splitlines()] == [5]

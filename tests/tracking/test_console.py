import json
import os
import pty
import subprocess
import sys
from itertools import product

import pytest

from hornbook.tracking.console import LineOutput, Outlets, PlainLines, choose_outlets, emit, speaks_to_people
from hornbook.tracking.tracker import RunInfo

TABLE = {  # (console, stdout is a terminal, stderr is a terminal): what is on
    ("auto", False, True): Outlets(json=True, live=True),
    ("auto", False, False): Outlets(json=True),
    ("auto", True, True): Outlets(live=True),
    ("auto", True, False): Outlets(plain=True),
    ("rich", False, True): Outlets(json=True, live=True),
    ("rich", False, False): Outlets(json=True, live=True),
    ("rich", True, True): Outlets(live=True),
    ("rich", True, False): Outlets(live=True),
}
TABLE |= {("json", *terminals): Outlets(json=True) for terminals in product([False, True], repeat=2)}
TABLE |= {("none", *terminals): Outlets() for terminals in product([False, True], repeat=2)}


@pytest.mark.parametrize(("case", "expected"), TABLE.items(), ids=str)
def test_outlets(case, expected):
    console, stdout, stderr = case
    assert choose_outlets(console, stdout_is_terminal=stdout, stderr_is_terminal=stderr) == expected


# A run of five steps with every kind of event, in a process of its own: only there are stdout and stderr real.
RUN = """
import math, sys
from pathlib import Path
from hornbook.config.tracking import TrackingConfig
from hornbook.tracking.console import emit
from hornbook.tracking.open import open_tracker
from hornbook.tracking.progress import Progress
from hornbook.tracking.tracker import RunInfo
console = sys.argv[1]
with Progress("prepare", unit="documents", console=console) as progress:
    for done in range(5):
        progress.update(done, 5, tokens=10 * done)
tracker = open_tracker(TrackingConfig(console=console), None)
tracker.start(RunInfo(name="tiny", total_steps=5))
for step in range(1, 6):
    tracker.log("train", step, {"train/loss": math.nan if step == 2 else 1 / step})
tracker.log("val", 5, {"val/loss": 0.5})
tracker.text("0", 5, "line one\\n\\x1b[31mline two")
tracker.artifact(Path("runs/x"), "checkpoint", "best")
tracker.finish("finished")
emit("done", console=console, loss=0.5)
sys.exit(7)
"""


def run(console, *, stdout, stderr):
    process = subprocess.Popen([sys.executable, "-c", RUN, console], stdout=stdout, stderr=stderr, text=True)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 7, err
    return out, err


@pytest.mark.parametrize("console", ["auto", "json", "rich"])
def test_stdout_that_is_no_terminal_carries_json_lines_and_nothing_else(console):
    out, err = run(console, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    events = [json.loads(line, parse_constant=pytest.fail) for line in out.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "progress"
    assert names[-11:] == ["start", *["train"] * 5, "val", "sample", "artifact", "finish", "done"]
    assert bool(err) == (console == "rich")


def test_none_is_silence():
    assert run("none", stdout=subprocess.PIPE, stderr=subprocess.PIPE) == ("", "")


def read_all(terminal):
    pieces = []
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # Linux says EIO when the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces).decode()


@pytest.mark.parametrize("stdout_is_terminal", [False, True])
def test_a_terminal_on_stderr_gets_the_live_view(stdout_is_terminal, tmp_path):
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("w") as file:
        run("auto", stdout=theirs if stdout_is_terminal else file, stderr=theirs)
    os.close(theirs)
    view = read_all(ours)
    assert "tiny" in view
    assert "loss" in view
    assert "line two" in view
    assert "\x1b[31mline two" not in view  # a sample cannot steer the terminal
    assert '"event"' not in view
    assert bool((tmp_path / "out").read_text()) != stdout_is_terminal


def test_stdout_terminal_without_stderr_terminal_gets_plain_lines():
    ours, theirs = pty.openpty()
    _, err = run("auto", stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    lines = read_all(ours).splitlines()
    assert lines[0] == "run tiny"
    assert lines[1] == "train step 1/5 | loss 1.0000"
    assert "    �[31mline two" in lines
    assert lines[-1] == "run finished"
    assert err == ""


def test_a_reader_that_goes_away_does_not_end_the_run():
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "auto"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.close()  # as `| head -0` does
    assert process.wait(timeout=60) == 7
    assert process.stderr.read() == ""
    process.stderr.close()


def test_line_output_falls_silent_for_good(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        output = LineOutput(stream)
        output.write("lost")
        output.write("also lost")
        stream.write("the stream itself now leads nowhere")
        stream.flush()


def test_emit_speaks_json_when_stdout_is_captured(capsys):
    emit("eval", perplexity=3.5, tokens=[1, 2])
    emit("eval", console="none", perplexity=3.5)
    (line,) = capsys.readouterr().out.splitlines()
    fields = json.loads(line)
    assert fields.pop("time") > 0
    assert fields == {"event": "eval", "perplexity": 3.5, "tokens": [1, 2]}
    assert not speaks_to_people()


def test_people_are_spoken_to_at_a_terminal_only(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert [speaks_to_people(choice) for choice in ("auto", "rich", "json", "none")] == [True, True, False, False]


def test_plain_lines_say_how_much_is_trained(capsys):
    details = {"n_parameters": 17_000_000, "trained_parameters": 73_728}
    PlainLines(LineOutput(sys.stdout)).start(RunInfo(name="r", details=details))
    assert capsys.readouterr().out.splitlines() == ["run r", "trains 73,728 of 17,000,000 parameters"]


def test_plain_lines_name_what_they_do_not_know(capsys):
    tracker = PlainLines(LineOutput(sys.stdout))
    tracker.start(RunInfo(name="r", first_step=5, resumed=True))
    tracker.log("checkpoint", 6, {"kind": "full"})
    assert capsys.readouterr().out.splitlines() == [
        "run r, resumed after step 5",
        "checkpoint step 6 | kind=full",
    ]

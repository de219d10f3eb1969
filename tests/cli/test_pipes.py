"""Every long verb in a process of its own with a pipe for stdout: JSON lines and nothing else, nothing on stderr."""

import json
import subprocess
import sys

import pytest

from tiny_project import write_project


def refuse(word):
    raise AssertionError(f"{word} is no JSON")


@pytest.mark.medium
def test_long_verbs_write_json_lines_into_a_pipe(tmp_path):
    project = write_project(tmp_path)
    project.write_text(project.read_text(encoding="utf-8").replace('console = "none"', ""), encoding="utf-8")
    run = tmp_path / "runs" / "tiny"
    for command, last in (
        (["tokenizer", "train", project], "tokenizer"),
        (["data", "prepare", project], "prepare"),
        (["train", project, "--set", "train.sample_every=6"], "finish"),
        (["train", "--resume", run, "--set", "train.steps=14"], "finish"),
        (["generate", run, "--prompt", "the cat"], None),
        (["eval", "perplexity", run], "eval"),
        (["checkpoint", "verify", run], None),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "hornbook", *map(str, command)], capture_output=True, stdin=subprocess.DEVNULL
        )
        assert (done.returncode, done.stderr) == (0, b""), command
        lines = [json.loads(line, parse_constant=refuse) for line in done.stdout.decode("ascii").splitlines()]
        assert lines, command
        assert all(isinstance(line, dict) for line in lines), command
        if last is not None:
            assert lines[-1]["event"] == last, command


@pytest.mark.medium
def test_closed_streams_do_no_harm(tmp_path):
    project = write_project(tmp_path)
    text = tmp_path / "a.txt"
    text.write_text("the cat", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "hornbook", "tokenizer", "train", project], capture_output=True, check=True)
    for action in (["data", "count", text], ["tokenizer", "inspect", tmp_path / "tokenizer"]):
        command = [sys.executable, "-m", "hornbook", *map(str, action)]
        shell = ["sh", "-c", 'exec "$@" >&- <&-', "sh", *command]
        done = subprocess.run(shell, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, b"")

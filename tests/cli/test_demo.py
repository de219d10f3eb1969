"""`hornbook demo` as a user runs it: in a process of its own, then the commands that it suggests."""

import argparse
import io
import json
import shlex
import subprocess
import sys
from types import SimpleNamespace

import pytest

from hornbook.cli import demo, generate
from hornbook.cli.main import main
from hornbook.storage.run_dir import RunDir
from tiny_demo import shrink_demo, shrink_full_demo
from tiny_project import text


def hornbook(*arguments, cwd, text_in=""):
    command = [sys.executable, "-m", "hornbook", *arguments]
    return subprocess.run(command, cwd=cwd, input=text_in, capture_output=True, text=True, timeout=550, check=False)


@pytest.mark.parametrize("minutes", ["0", "-1", "inf", "nan", "soon"])
def test_minutes_are_positive(minutes, capsys):
    with pytest.raises(SystemExit) as error:
        main(["demo", f"--minutes={minutes}"])
    assert error.value.code == 2
    assert "minutes" in capsys.readouterr().err


def test_a_small_corpus_is_one_line(tmp_path, capsys):
    (tmp_path / "small.txt").write_text("Not enough.\n")
    assert main(["demo", "--corpus", str(tmp_path / "small.txt"), "--out", str(tmp_path / "runs")]) == 2
    message = capsys.readouterr().err
    assert "12 bytes" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_program_is_what_can_be_pasted(monkeypatch, tmp_path):
    script = tmp_path / "bin dir" / "hornbook"
    script.parent.mkdir()
    script.write_text("")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", [str(script)])
    assert shlex.split(demo.program()) == [str(script)]
    monkeypatch.setenv("PATH", str(script.parent))
    assert demo.program() == "hornbook"
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert shlex.split(demo.program()) == [sys.executable, "-m", "hornbook"]


def strict_events(stdout):
    return [json.loads(line, parse_constant=pytest.fail) for line in stdout.splitlines()]


@pytest.mark.medium
def test_stdout_is_json_lines_and_the_suggested_commands_work(tmp_path, monkeypatch, capsys):
    shrink_demo(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text(text(1500), encoding="utf-8")
    assert main(["demo", "--minutes", "0.03", "--corpus", "own.txt", "--out", "my runs"]) == 0
    captured = capsys.readouterr()
    events = strict_events(captured.out)
    assert captured.err == ""
    stages = {event["stage"]: event for event in events if event["event"] == "demo"}
    assert list(stages) == ["tokenizer", "data", "probe", "before", "after", "generate", "plot", "next"]
    assert stages["after"]["perplexity"] < stages["before"]["perplexity"]
    for command in stages["next"]["commands"]:
        words = shlex.split(command)[3:]  # after `python -m hornbook`
        monkeypatch.setattr(sys, "stdin", io.StringIO("the cat\n/quit\n"))
        assert main([*words, *(["--set", "train.steps=2"] if words[0] == "train" else [])]) == 0, command
        assert strict_events(capsys.readouterr().out)


@pytest.mark.medium
def test_masked_diffusion_ends_with_the_steps_of_a_text_and_its_commands_work(tmp_path, monkeypatch, capsys):
    shrink_demo(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text(text(1500), encoding="utf-8")
    assert main(["demo", "--diffusion", "--minutes", "0.03", "--corpus", "own.txt", "--out", "my runs"]) == 0
    events = strict_events(capsys.readouterr().out)
    *_, shown, last = (event for event in events if event["event"] in ("demo", "generate"))
    assert shown["event"] == "generate"
    places = sorted(place for step in shown["denoising"] for place in step["positions"])
    assert len(places) == len(set(places)) >= shown["tokens"]
    assert len(last["commands"]) == 3
    for command in last["commands"]:
        words = shlex.split(command)[3:]
        shorter = ["--set", "train.steps=2", "--set", "objective.curriculum_steps=1"] if words[0] == "train" else []
        assert main([*words, *shorter]) == 0, command
        told = strict_events(capsys.readouterr().out)
        if "--show-denoising" in words:
            assert told[-1]["output"] == shown["output"], "the command shows again what the demo showed"
        assert told


@pytest.mark.medium
def test_the_whole_life_of_a_chat_model_and_its_commands(tmp_path, monkeypatch, capsys):
    shrink_full_demo(monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.txt").write_text(text(1500), encoding="utf-8")
    assert main(["demo", "--full", "--minutes", "0.1", "--corpus", "own.txt", "--out", "my runs"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    *_, last = strict_events(captured.out)
    assert last["stage"] == "next"
    assert len(last["commands"]) == 3
    for command in last["commands"]:
        words = shlex.split(command)[3:]
        monkeypatch.setattr(sys, "stdin", io.StringIO("Copy: a b c\n/quit\n"))
        assert main([*words, *(["--set", "train.steps=2"] if words[0] == "train" else [])]) == 0, command
        assert strict_events(capsys.readouterr().out)


def test_a_chat_model_by_masked_diffusion_is_no_part_of_the_demo(capsys):
    with pytest.raises(SystemExit) as error:
        main(["demo", "--full", "--diffusion"])
    assert error.value.code == 2
    assert "not allowed with" in capsys.readouterr().err


def test_after_an_interruption_of_tuning_the_way_on_is_shown(tmp_path):
    runs = (RunDir(tmp_path / "run"), RunDir(tmp_path / "sft"))
    result = SimpleNamespace(base=SimpleNamespace(root=tmp_path), runs=runs, is_finished=False)
    assert demo.full_commands(result, "hornbook") == [f"hornbook train --resume {tmp_path / 'sft'}"]


def test_after_an_interruption_the_way_on_is_shown(tmp_path):
    result = SimpleNamespace(run_dir=RunDir(tmp_path / "a run"), root=tmp_path, is_finished=False)
    assert demo.next_commands(result, "hornbook") == [f"hornbook train --resume '{tmp_path / 'a run'}'"]


@pytest.mark.parametrize("kind", ["next_token", "masked_diffusion"])
def test_a_prompt_that_looks_like_an_option_can_be_pasted(tmp_path, kind):
    config = SimpleNamespace(
        objective=SimpleNamespace(kind=kind),
        train=SimpleNamespace(steps=10, max_minutes=1.0),
        generate=SimpleNamespace(prompts=("--verbose", "-x")),
    )
    result = SimpleNamespace(run_dir=RunDir(tmp_path / "a run"), root=tmp_path, is_finished=True, config=config)
    command = demo.next_commands(result, "hornbook")[0]
    parser = argparse.ArgumentParser()
    generate.add_arguments(parser)
    assert parser.parse_args(shlex.split(command)[2:]).prompts == ["--verbose"]


@pytest.mark.slow
@pytest.mark.parametrize("own_text", [False, True])
def test_the_demo_and_the_commands_that_it_suggests(tmp_path, own_text):
    (tmp_path / "own.txt").write_text(text(2000), encoding="utf-8")
    done = hornbook("demo", "--minutes", "0.2", *(["--corpus", "own.txt"] if own_text else []), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    events = strict_events(done.stdout)
    stages = {event["stage"]: event for event in events if event["event"] == "demo"}
    assert stages["after"]["perplexity"] < stages["before"]["perplexity"]
    commands = stages["next"]["commands"]
    assert len(commands) == 3
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == [sys.executable, "-m", "hornbook"]
        shorter = ["--set", "train.steps=12"] if words[3] == "train" else []
        pasted = hornbook(*words[3:], *shorter, cwd=tmp_path, text_in="the cat\n/quit\n")
        assert pasted.returncode == 0, (command, pasted.stderr)
        assert pasted.stdout

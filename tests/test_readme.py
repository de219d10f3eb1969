"""The README's commands and programs, run in order as they stand, in one empty directory."""

import io
import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from hornbook.cli.main import VERBS, main

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+) (run|file=\S+)\n(.*?)^```$", re.M | re.S)


def commands(script):
    """The `hornbook` command lines of a shell fence, without the program's name."""
    for line in script.splitlines():
        words = shlex.split(line, comments=True)
        assert words[:1] == ["hornbook"], f"a fence that runs holds only hornbook commands, got: {line}"
        yield words[1:]


@pytest.mark.medium
def test_every_fence_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    ran = {"toml": 0, "bash": 0, "python": 0}
    for language, what, text in FENCE.findall(README):
        ran[language] += 1
        if language == "toml":
            Path(what.removeprefix("file=")).write_text(text, encoding="utf-8")
        elif language == "bash":
            for command in commands(text):
                monkeypatch.setattr(sys, "stdin", io.StringIO("Return the\n/quit\n"))
                assert main(command) == 0, (command, capsys.readouterr().err)
        else:
            exec(compile(text, "README.md", "exec"), {"__name__": "readme"})
    assert min(ran.values()) >= 1
    output = capsys.readouterr().out
    assert "from-python" in output


def test_the_table_of_verbs_is_the_programs():
    table = README.partition("| verb | does |")[2].partition("\n\n")[0]
    named = {
        verb
        for row in table.splitlines()
        for verb in re.findall(r"`([\w-]+)`", row.split("|")[1] if "|" in row else "")
    }
    assert named == set(VERBS)


def test_every_command_of_the_readme_names_a_verb():
    for verb in re.findall(r"^hornbook ([\w-]+)", README, re.M):
        assert verb in VERBS


def test_extras_are_those_of_the_project():
    project = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    for extra in re.findall(r"hornbook\[(\w+)\]", README):
        assert re.search(rf"^{extra} = \[", project, re.M), extra


def test_the_two_commands_come_first_and_exist():
    first = re.search(r"^```bash\n(.*?)^```$", README, re.M | re.S)
    assert first is not None
    commands = [line.partition("#")[0].strip() for line in first[1].splitlines()]
    assert commands == ["make demo", "make test"]
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)\b(?=`|  | [A-Z])", README):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_no_package_index_is_named():
    assert not re.search(r"index-url|find-links|/whl/|/simple/", README)


def test_the_readme_needs_nothing_of_this_machine():
    assert os.fspath(Path.home()) not in README

import argparse
import errno
import os
import subprocess
import sys
import types

import pytest

from hornbook.cli import main as cli
from hornbook.errors import DataError


@pytest.fixture
def verb(monkeypatch):
    """A verb `act` that does what it is given."""

    def install(action):
        module = types.SimpleNamespace(
            add_arguments=lambda parser: parser.add_argument("--n", type=int, default=0), run=action
        )
        monkeypatch.setitem(sys.modules, "a_verb_of_the_tests", module)
        monkeypatch.setitem(cli.VERBS, "act", ("a_verb_of_the_tests", "act as told"))

    return install


def raising(error):
    def action(args):
        raise error

    return action


def test_a_verb_gets_its_arguments_and_gives_the_status(verb):
    verb(lambda args: args.n)
    assert cli.main(["act", "--n", "3"]) == 3
    assert cli.main(["act"]) == 0


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("stories.txt:3: no text"), 2, "hornbook act: stories.txt:3: no text\n"),
        (KeyboardInterrupt(), 130, "hornbook act: interrupted\n"),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), 2, "hornbook act: /x/y: Permission denied\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.bin"),
            2,
            "hornbook act: a.bin: No space left on device; free some space and try again\n",
        ),
        (OSError("odd"), 2, "hornbook act: odd\n"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_errors_become_a_line_and_a_status(verb, capsys, error, status, message):
    verb(raising(error))
    assert cli.main(["act"]) == status
    assert capsys.readouterr() == ("", message)


def test_a_fault_of_ours_stays_a_traceback(verb):
    verb(raising(RuntimeError("ours")))
    with pytest.raises(RuntimeError, match="ours"):
        cli.main(["act"])


def test_the_traceback_is_there_for_those_who_ask(verb, capsys, monkeypatch):
    monkeypatch.setenv("HORNBOOK_TRACEBACK", "1")
    verb(raising(DataError("wrong")))
    assert cli.main(["act"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "unknown verb 'trian'; did you mean `hornbook train`?"),
        (["xyzzy"], "unknown verb 'xyzzy'; one of demo, doctor, tokenizer"),
        (["--wat"], "unrecognized arguments: --wat"),
        (["config", "show", "--wat"], "unrecognized arguments: --wat"),
        (["config"], "required: ACTION"),
    ],
)
def test_wrong_command_lines(capsys, arguments, expected):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert expected in capsys.readouterr().err


def test_nothing_asked_prints_the_help_to_stderr(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert all(f"  {verb} " in err for verb in cli.VERBS)


def test_version(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("hornbook 0.")


def test_every_verb_has_the_two_functions():
    for name in cli.VERBS:
        assert isinstance(cli.verb_parser(name), argparse.ArgumentParser)
        assert callable(cli._verb(name).run)


def test_a_reader_that_goes_away_is_no_error():
    writer = subprocess.Popen(
        [sys.executable, "-m", "hornbook", "config", "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.close()
    error = writer.stderr.read()
    writer.stderr.close()
    assert (writer.wait(), error) == (141, b"")


def test_letters_that_the_terminal_lacks_are_escaped():
    code = "import sys; from hornbook.cli.main import main; main([]); print('\\u00e9\\u4e00')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )
    assert done.stdout == b"\\xe9\\u4e00\n"


@pytest.mark.medium
def test_help_takes_less_than_150_ms():
    """Of processor time, which on an idle machine is the time that a user waits."""

    def seconds():
        before = os.times()
        subprocess.run([sys.executable, "-m", "hornbook", "--help"], capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    assert min(seconds() for _ in range(5)) < 0.15

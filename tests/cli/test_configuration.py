import argparse
import json
import tomllib

import pytest

from hornbook.cli.configuration import add_config_arguments, load, maybe_print
from hornbook.cli.main import VERBS, verb_parser
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.errors import ConfigError


def parse(*arguments, required=False):
    parser = argparse.ArgumentParser()
    add_config_arguments(parser, required=required)
    return parser.parse_args(arguments)


def test_a_file_and_overrides(tmp_path):
    (tmp_path / "a.toml").write_text("[train]\nsteps = 5\nlog_every = 5\n")
    config = load(parse(str(tmp_path / "a.toml"), "--set", "train.log_every=2", "--set", 'run.name="x"'))
    assert (config.train.steps, config.train.log_every, config.run.name) == (5, 2, "x")


def test_without_a_file_the_defaults():
    assert load(parse()) == Config()
    with pytest.raises(SystemExit):
        parse(required=True)


def test_errors_pass_through():
    with pytest.raises(ConfigError, match="unknown key"):
        load(parse("--set", "train.stepz=3"))


def test_nothing_is_printed_unasked(capsys):
    assert not maybe_print(parse(), Config())
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("arguments", [["--print-config", "a.toml"], ["a.toml", "--print-config"]])
def test_print_config_takes_no_file_for_its_format(arguments):
    args = parse(*arguments)
    assert (args.config, args.print_config) == ("a.toml", "toml")


def test_the_printed_toml_is_the_configuration(capsys, tmp_path):
    config = load(parse("--set", "train.steps=3"))
    assert maybe_print(parse("--print-config"), config)
    text = capsys.readouterr().out
    assert tomllib.loads(text)["train"]["steps"] == 3
    (tmp_path / "again.toml").write_text(text)
    assert load_config(tmp_path / "again.toml").config == config


def test_the_printed_json_is_one_line(capsys):
    assert maybe_print(parse("--print-config=json"), Config())
    (line,) = capsys.readouterr().out.splitlines()
    assert Config.model_validate_json(line) == Config()
    assert json.loads(line)["run"]["name"] is None


def test_another_format_is_refused():
    with pytest.raises(SystemExit):
        parse("--print-config=yaml")


def leaves(parser, words):
    """(command words, parser) of every command without sub-commands."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not inner:
        yield words, parser
    for action in inner:
        for name, child in action.choices.items():
            yield from leaves(child, [*words, name])


def test_every_command_that_takes_settings_prints_them():
    options = {
        " ".join(words): set(parser._option_string_actions)
        for verb in VERBS
        for words, parser in leaves(verb_parser(verb), [verb])
    }
    takes_settings = {command for command, names in options.items() if "--set" in names}
    assert len(takes_settings) >= 8
    lacking = {command for command in takes_settings if "--print-config" not in options[command]}
    assert lacking == {"config show"}, "which does nothing but print them"

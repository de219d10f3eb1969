"""Variables of the environment in the paths of input files."""

from pathlib import Path

import pytest

from hornbook.config.load import load_config
from hornbook.config.paths import expanded
from hornbook.errors import ConfigError

PATH = "${TEXTS:-../shared}/a.txt"


@pytest.mark.parametrize(
    ("variable", "path", "meant"),
    [
        (None, PATH, "../shared/a.txt"),
        ("", PATH, "../shared/a.txt"),
        ("/texts", PATH, "/texts/a.txt"),
        ("/texts", "${TEXTS}/${TEXTS:-b}", "/texts//texts"),
        ("/texts", "$TEXTS/a", "$TEXTS/a"),
        ("/texts", "a/{TEXTS}", "a/{TEXTS}"),
        (None, "${TEXTS:-}a", "a"),
    ],
)
def test_a_variable_stands_for_its_value(variable, path, meant, monkeypatch):
    monkeypatch.delenv("TEXTS", raising=False)
    if variable is not None:
        monkeypatch.setenv("TEXTS", variable)
    assert expanded(Path(path)) == Path(meant)


def test_the_configuration_holds_the_path_that_was_meant(monkeypatch, tmp_path):
    monkeypatch.setenv("TEXTS", "/texts")
    file = tmp_path / "run.toml"
    file.write_text(f'[data.source]\nkind = "text"\npaths = ["{PATH}"]\n')
    assert load_config(file).config.data.source.paths == (Path("/texts/a.txt"),)


def test_a_variable_that_is_not_set(monkeypatch, tmp_path):
    monkeypatch.delenv("TEXTS", raising=False)
    file = tmp_path / "run.toml"
    file.write_text('[data.source]\nkind = "text"\npaths = ["b", "${TEXTS}/a"]\n')
    with pytest.raises(ConfigError, match=r"run.toml:3: .*the environment variable TEXTS is not set"):
        load_config(file)
    file.write_text('[data.source]\nkind = "text"\npaths = ["${TEXTS}/a"]\n')
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    told = 'run.toml:3: data.source.paths[0] = "${TEXTS}/a": the environment variable TEXTS is not set'
    assert str(caught.value).endswith(f"{told}; set it, or write ${{TEXTS:-another/path}}")
    assert "\n" not in str(caught.value)  # and not that the list is too short

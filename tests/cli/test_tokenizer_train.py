"""`hornbook tokenizer train` on text that is worth keeping the counts of: going on, and refusing before the work."""

import os
import signal
import subprocess
import sys
import time

import pytest

from hornbook.cli import training_text
from hornbook.cli.main import main
from hornbook.config.load import load_config
from hornbook.tokenizer import kept_counts
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_project import text, write_project


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A configuration of which all counts are kept."""
    monkeypatch.setattr(kept_counts, "KEPT_FROM", 1)
    return write_project(tmp_path)


@pytest.fixture
def train(project, capsys):
    """Trains; gives the status and what was said."""

    def train(*settings, force=True):
        arguments = [part for setting in settings for part in ("--set", setting)]
        status = main(["tokenizer", "train", str(project), *arguments, *(["--force"] if force else [])])
        return status, capsys.readouterr().err

    return train


@pytest.fixture
def reading_is_an_error(monkeypatch):
    def documents(self):
        raise AssertionError("the text is read")

    monkeypatch.setattr(training_text.TrainingText, "documents", documents)


def test_words_are_counted_once(train, project, request):
    status, said = train()
    assert status == 0
    assert "the counted words are kept in" in said
    assert (project.parent / "tokenizer.counts").is_file()
    request.getfixturevalue("reading_is_an_error")
    for setting in ("tokenizer.vocab_size=290", 'tokenizer.tie_order="lexicographic"', "tokenizer.threads=1"):
        status, said = train(setting)
        assert status == 0
        assert "goes on from the words that were counted before" in said
        config = load_config(project, [setting]).config.tokenizer
        expected = Tokenizer.train(text().splitlines(), config)
        assert Tokenizer.load(project.parent / "tokenizer").fingerprint == expected.fingerprint


@pytest.mark.parametrize("setting", ['tokenizer.pattern="cl100k"', 'tokenizer.special_tokens="none"'])
def test_other_settings_count_again(train, setting):
    assert train()[0] == 0
    assert "goes on" not in train(setting)[1]


def test_other_text_counts_again_and_is_refused_before_the_work(train, project, request):
    assert train()[0] == 0
    [source] = [path for path in project.parent.iterdir() if path.suffix == ".txt"]
    source.write_text(source.read_text() + "more\n")
    assert "goes on" not in train()[1]
    source.write_text(source.read_text() + "and more\n")
    request.getfixturevalue("reading_is_an_error")
    status, said = train(force=False)
    assert status == 2
    assert "holds another tokenizer already (learnt from other text or settings" in said
    (project.parent / "tokenizer.counts").unlink()
    status, said = train(force=False)
    assert status == 2
    assert "nobody knows from which text" in said


def test_the_same_command_again_changes_nothing(train, project):
    assert train()[0] == 0
    before = Tokenizer.load(project.parent / "tokenizer").fingerprint
    assert train(force=False)[0] == 0
    assert Tokenizer.load(project.parent / "tokenizer").fingerprint == before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nothing", None])
def test_damaged_counts_are_counted_again(train, project, damage):
    assert train()[0] == 0
    counts = project.parent / "tokenizer.counts"
    data = bytearray(counts.read_bytes())
    data[len(data) // 3] ^= 1
    counts.write_bytes(data if damage is None else damage)
    status, said = train()
    assert status == 0
    assert "goes on" not in said
    assert "goes on" in train()[1]


def test_a_little_text_is_not_kept(tmp_path):
    config = write_project(tmp_path)
    assert main(["tokenizer", "train", str(config)]) == 0
    assert not (tmp_path / "tokenizer.counts").exists()


def test_an_interrupted_merge_keeps_the_counts(train, project, monkeypatch):
    from hornbook.tokenizer import train as training

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setenv("HORNBOOK_KERNELS", "off")
    with monkeypatch.context() as patch:
        patch.setattr(training, "learn_merges", interrupted)
        status, said = train()
    assert status == 130
    assert said.endswith("hornbook tokenizer: interrupted\n")
    assert not (project.parent / "tokenizer").exists()
    assert "goes on" in train()[1]


@pytest.mark.medium
@pytest.mark.parametrize("kernels", ["on", "off"])
def test_control_c_ends_it_at_once_with_one_line(tmp_path, kernels):
    """Wherever it is: in the kernels, between them, or in pure Python."""
    config = write_project(tmp_path)
    [source] = [path for path in tmp_path.iterdir() if path.suffix == ".txt"]
    source.write_bytes(b"".join(b"word%d " % i for i in range(3_000_000)))
    settings = ["--set", "tokenizer.vocab_size=9999", "--set", 'tracking.console="json"']
    command = [sys.executable, "-m", "hornbook", "tokenizer", "train", str(config), *settings]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "HORNBOOK_KERNELS": kernels}
    )
    assert process.stdout is not None
    line = process.stdout.readline()  # the first progress
    assert b"tokenizer count" in line
    process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "hornbook tokenizer: interrupted"
    assert b"Traceback" not in err
    assert time.monotonic() - asked < 5
    assert not (tmp_path / "tokenizer").exists()
    assert not list(tmp_path.glob(".tmp-*"))

import importlib.metadata
import os
import sys
from pathlib import Path

import pytest

from hornbook.benchmarks import peers
from hornbook.benchmarks.peers import PeerError, install, peer_python, pins
from hornbook.benchmarks.tokenizer_sides import PEERS

SIDES = Path(peers.__file__).parent / "sides"


def test_every_peer_is_pinned():
    assert set(pins()) == {*PEERS, "litgpt", "xllamacpp"}
    assert all("==" in requirement for requirements in pins().values() for requirement in requirements)


def test_sides_of_peers_import_nothing_of_ours():
    for peer in (*PEERS, "transformers"):
        files = list(SIDES.glob(f"{peer}_*.py"))
        assert files, peer
    files = [file for file in SIDES.glob("*.py") if not file.name.startswith("hornbook_")]
    assert not [file.name for file in files if "hornbook" in file.read_text(encoding="utf-8")]


def test_a_peer_gets_the_torch_that_we_run_with():
    assert f"torch=={importlib.metadata.version('torch')}" in pins()["litgpt"]


def test_a_peers_own_environment_comes_first_then_this_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBOOK_PEERS", str(tmp_path))
    assert peer_python("no_such_package") is None
    assert peer_python("numpy") == sys.executable
    python = tmp_path / "numpy" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python.parent.mkdir(parents=True)
    python.touch()
    assert peer_python("numpy") == sys.executable  # pip was interrupted there
    (tmp_path / "numpy" / "installed.txt").touch()
    assert peer_python("numpy") == str(python)


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """Environments are empty folders, and pip is a table of what it answers."""
    answers, asked = {}, []

    def run(command, **_):
        asked.append(command[-1])
        return type("Done", (), {"returncode": answers.get(command[-1], 0), "stderr": "log\nno such version\n"})

    def create(directory, **_):
        directory.mkdir(parents=True, exist_ok=True)

    monkeypatch.setenv("HORNBOOK_PEERS", str(tmp_path))
    monkeypatch.setattr(peers, "pins", lambda: {"a": ["a==1"], "b": ["b==2"]})
    monkeypatch.setattr(peers.subprocess, "run", run)
    monkeypatch.setattr(peers.venv, "create", create)
    return answers, asked


def test_installing_is_done_once_for_each_pin(no_network, monkeypatch):
    _, asked = no_network
    said = []
    install(["a", "b"], said.append)
    install(["a", "b"], said.append)
    assert asked == ["a==1", "b==2"]
    assert said[-1] == "b: b==2 is there"
    monkeypatch.setattr(peers, "pins", lambda: {"a": ["a==9"], "b": ["b==2"]})
    install(["a", "b"], said.append)
    assert asked == ["a==1", "b==2", "a==9"]


def test_one_that_cannot_be_installed_is_told_after_the_others(no_network):
    answers, asked = no_network
    answers["a==1"] = 1
    with pytest.raises(PeerError, match=r"a \(no such version\); bench goes on without them"):
        install(["a", "b"], lambda _: None)
    assert asked == ["a==1", "b==2"]
    with pytest.raises(PeerError):
        install(["a"], lambda _: None)
    assert asked[-1] == "a==1", "a failure is tried again"

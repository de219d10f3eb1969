import json
import platform
import subprocess
from pathlib import Path

from hornbook.storage.provenance import provenance


def test_says_what_and_where(monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["hornbook", "train", "my run.toml"])
    values = provenance(config_hash="abc", devices=["cpu"], world_size=2)
    assert values["command"] == "hornbook train 'my run.toml'"
    assert values["config_hash"] == "abc"
    assert values["devices"] == ["cpu"]
    assert values["world_size"] == 2
    assert values["host"] == platform.node()
    assert {"python", "hornbook", "torch"} <= values["versions"].keys()
    assert json.loads(json.dumps(values)) == values


def test_commit_and_changes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance(config_hash="")["commit"] is None

    def git(*arguments: str) -> str:
        settings = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        return subprocess.check_output(["git", *settings, *arguments], text=True, stderr=subprocess.DEVNULL).strip()

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD")
    assert provenance(config_hash="")["commit"] == commit
    (tmp_path / "a").write_text("2")
    assert provenance(config_hash="")["commit"] == f"{commit}+changes"


def test_without_git(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance(config_hash="")["commit"] is None

"""`hornbook checkpoint`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hornbook.checkpoint.save import mark_best
from hornbook.cli.main import main
from hornbook.storage.run_dir import RunDir
from tiny_checkpoint import save, weights_of


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.setattr("os.fsync", lambda _: None)  # slow on a busy disk, and no power cut is tested here
    run = RunDir.create(tmp_path, "tiny")
    save(run.checkpoints, 1)
    save(run.checkpoints, 2, "light")
    save(run.checkpoints, 3)
    mark_best(run.checkpoints, 2)
    return run


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def as_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def test_inspect_run(run: RunDir, capsys) -> None:
    assert main(["checkpoint", "inspect", str(run.root)]) == 0
    found = lines(capsys)
    assert [(line["step"], line["kind"], line["marks"]) for line in found] == [
        (1, "full", []),
        (2, "light", ["best"]),
        (3, "full", ["latest"]),
    ]
    for line in found:
        assert line["event"] == "checkpoint"
        assert line["parameters"] == sum(tensor.numel() for tensor in weights_of(1).values())
        assert line["model"]["d_model"] == 16
        assert line["bytes"] == sum(line["files"].values())


def test_inspect_one(run: RunDir, capsys, monkeypatch) -> None:
    path = run.checkpoints / "step-00000003"
    assert main(["checkpoint", "inspect", str(path)]) == 0
    (line,) = lines(capsys)
    assert line["state"] == {"step": 3, "best": None}
    assert line["files"].keys() == {"model.json", "model.safetensors", "optimizer.safetensors", "state.json"}
    monkeypatch.chdir(path)
    assert main(["checkpoint", "inspect", "."]) == 0
    assert lines(capsys)[0]["marks"] == ["latest"]


@pytest.mark.parametrize("place", ["", "checkpoints/step-00000003"])
def test_inspect_for_people(run: RunDir, capsys, monkeypatch, place: str) -> None:
    as_terminal(monkeypatch)
    assert main(["checkpoint", "inspect", str(run.root / place)]) == 0
    shown = capsys.readouterr().out
    for part in ("latest", "full", "kB"):
        assert part in shown
    assert "{" not in shown


def test_square_brackets_are_no_markup(tmp_path: Path, capsys, monkeypatch) -> None:
    path = save(tmp_path, 1).rename(tmp_path / "[red]name")
    as_terminal(monkeypatch)
    assert main(["checkpoint", "inspect", str(path)]) == 0
    assert "[red]name" in capsys.readouterr().out.replace("\n", "")


def test_verify_whole_run(run: RunDir, capsys) -> None:
    assert main(["checkpoint", "verify", str(run.root)]) == 0
    assert [line["whole"] for line in lines(capsys)] == [True, True, True]


def test_verify_names_each_broken_one(run: RunDir, capsys) -> None:
    flip(run.checkpoints / "step-00000001" / "model.safetensors")
    (run.checkpoints / "step-00000003" / "manifest.json").unlink()
    assert main(["checkpoint", "verify", str(run.root)]) == 2
    captured = capsys.readouterr()
    assert [json.loads(line)["whole"] for line in captured.out.splitlines()] == [False, True, False, False]
    for part in (
        "3 of 4 broken",
        "step-00000001",
        "model.safetensors: its sha256",
        "no manifest.json",
        "LATEST: names",
    ):
        assert part in captured.err


def test_verify_one(run: RunDir, capsys, monkeypatch) -> None:
    path = run.checkpoints / "step-00000001"
    as_terminal(monkeypatch)
    assert main(["checkpoint", "verify", str(path)]) == 0
    assert "whole" in capsys.readouterr().out
    flip(path / "state.json")
    assert main(["checkpoint", "verify", str(path)]) == 2
    assert "state.json" in capsys.readouterr().err


def test_prune(run: RunDir, capsys) -> None:
    arguments = ["checkpoint", "prune", str(run.root), "--keep-light", "0", "--keep-full", "1"]
    assert main([*arguments, "--dry-run"]) == 0
    (planned,) = lines(capsys)
    assert planned["removed"] == [str(run.checkpoints / "step-00000001")]
    assert planned["bytes"] > 1000
    assert (run.checkpoints / "step-00000001").exists()
    assert main(arguments) == 0
    (done,) = lines(capsys)
    assert done["removed"] == planned["removed"]
    assert sorted(path.name for path in run.checkpoints.glob("step-*")) == ["step-00000002", "step-00000003"]


def test_prune_keeps_what_the_run_was_told(run: RunDir, capsys, monkeypatch) -> None:
    as_terminal(monkeypatch)
    run.config_file.write_text("[checkpoint]\nlight_keep = 1\nfull_keep = 2\n")
    assert main(["checkpoint", "prune", str(run.root)]) == 0
    assert "deleted 0 checkpoints" in capsys.readouterr().out
    run.config_file.write_text("[checkpoint]\nlight_keep = 1\nfull_keep = 1\n")
    assert main(["checkpoint", "prune", str(run.checkpoints)]) == 0
    assert "step-00000001" in capsys.readouterr().out
    run.config_file.write_text("[checkpoint]\nfull_keep = 'many'\n")
    assert main(["checkpoint", "prune", str(run.root)]) == 2
    assert "config.toml" in capsys.readouterr().err


def test_prune_refuses_to_delete_the_last_full_one(run: RunDir, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["checkpoint", "prune", str(run.root), "--keep-full", "0"])
    assert "below 1" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["inspect", "verify", "prune"])
def test_nothing_there(tmp_path: Path, capsys, action: str) -> None:
    assert main(["checkpoint", action, str(tmp_path / "nowhere")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "nowhere" in captured.err
    assert "expected" in captured.err


@pytest.mark.parametrize("action", ["inspect", "verify", "prune"])
def test_works_without_torch(run: RunDir, action: str) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['numpy'] = None\n"  # importing either now fails
        f"from hornbook.cli.main import main; sys.exit(main(['checkpoint', '{action}', {str(run.root)!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(json.loads(line) for line in result.stdout.splitlines())

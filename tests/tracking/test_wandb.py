from pathlib import Path

import pytest

from hornbook.config.tracking import WandbConfig
from hornbook.tracking.tracker import RunInfo
from hornbook.tracking.wandb import WeightsAndBiases
from tracking.wandb_file import records

pytest.importorskip("wandb")


@pytest.mark.medium
def test_offline_run_keeps_name_steps_samples_and_identity(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "part").write_text("y")
    tracker = WeightsAndBiases(WandbConfig(project="p", group="g"), tmp_path)
    tracker.start(RunInfo(name="tiny", config={"train": {"steps": 2}}, tags=("a",), notes="why"))
    run = tracker._run
    assert (run.name, run.tags, run.notes, run.group, run.project) == ("tiny", ("a",), "why", "g", "p")
    assert run.config["train"] == {"steps": 2}
    tracker.log("train", 2, {"train/loss": 2.0})
    tracker.log("val", 1, {"val/loss": 1.5})
    assert {name: run.summary[name] for name in ("train/loss", "train/step", "val/loss", "val/step")} == {
        "train/loss": 2.0,
        "train/step": 2,
        "val/loss": 1.5,
        "val/step": 1,
    }
    tracker.text("0", 2, "a <b> & c")
    tracker.artifact(folder, "step 2/weights", "best")
    tracker.artifact(Path("folder"), "folder", "samples")
    tracker.finish("finished")
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    sent = [r.artifact for r in records(file) if r.WhichOneof("record_type") == "artifact"]
    # `wandb sync` reads them later, from wherever it is started
    assert {entry.local_path for each in sent for entry in each.manifest.contents} == {str(folder / "part")}
    (page,) = tmp_path.rglob("*.html")
    assert "a &lt;b> &amp; c" in page.read_text()
    assert len(list((tmp_path / "wandb").glob(f"offline-run-*-{run.id}"))) == 1
    assert tracker._identity(resumed=True) == run.id
    assert tracker._identity(resumed=False) != run.id
    assert capfd.readouterr().out == ""  # stdout stays free for JSON lines

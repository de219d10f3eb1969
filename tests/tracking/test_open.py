import sys

import pytest

from hornbook.config.tracking import TrackingConfig, WandbConfig
from hornbook.errors import MissingExtraError
from hornbook.storage.run_dir import RunDir
from hornbook.tracking.jsonl import read_metrics
from hornbook.tracking.open import open_tracker
from hornbook.tracking.tracker import RunInfo

SILENT = TrackingConfig(console="none")


def test_a_run_always_has_its_metrics(tmp_path):
    run_dir = RunDir.create(tmp_path, "r")
    tracker = open_tracker(SILENT, run_dir)
    tracker.start(RunInfo(name="r"))
    tracker.log("train", 1, {"train/loss": 2.0})
    tracker.finish("finished")
    assert [event["event"] for event in read_metrics(run_dir.metrics_file)] == ["start", "train", "finish"]


def test_without_a_run_directory_trackers_that_need_one_are_named():
    with pytest.warns(UserWarning, match="need a run directory"):
        open_tracker(TrackingConfig(console="none", tensorboard=True), None)


@pytest.mark.parametrize(
    ("config", "package"),
    [
        (TrackingConfig(console="none", tensorboard=True), "torch.utils.tensorboard"),
        (TrackingConfig(console="none", wandb=WandbConfig()), "wandb"),
    ],
)
def test_a_missing_extra_is_named(tmp_path, monkeypatch, config, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match="pip install 'hornbook"):
        open_tracker(config, RunDir.create(tmp_path, "r"))

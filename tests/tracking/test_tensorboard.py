import math

import pytest

from hornbook.tracking.tensorboard import TensorBoard
from hornbook.tracking.tracker import RunInfo

pytest.importorskip("tensorboard")


def read(directory):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(directory))
    accumulator.Reload()
    return accumulator


def test_scalars_and_texts_keep_their_own_step(tmp_path):
    tracker = TensorBoard(tmp_path)
    tracker.start(RunInfo(name="r", config={"train": {"steps": 3}}, tags=("a",), notes="b"))
    tracker.log("val", 2, {"val/loss": 1.5, "protocol": "strided"})
    tracker.text("0", 2, "Once\nupon")
    tracker.log("train", 3, {"train/loss": 2.5, "train/grad_norm": math.inf, "ok": True})
    tracker.finish("finished")
    events = read(tmp_path)
    scalars = {tag: [(point.step, point.value) for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert scalars == {"train/loss": [(3, 2.5)], "train/grad_norm": [(3, math.inf)], "val/loss": [(2, 1.5)]}
    texts = {tag: events.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in events.Tags()["tensors"]}
    assert texts["0/text_summary"] == "    Once\n    upon"
    assert '"steps": 3' in texts["run/text_summary"]
    steps = {tag: events.Tensors(tag)[0].step for tag in events.Tags()["tensors"]}
    assert steps == {"run/text_summary": 0, "0/text_summary": 2, "status/text_summary": 3}


def test_a_resumed_run_hides_what_was_beyond_its_checkpoint(tmp_path):
    for first_step, last_step in ((0, 4), (2, 5)):
        tracker = TensorBoard(tmp_path)
        tracker.start(RunInfo(name="r", first_step=first_step, resumed=first_step > 0))
        for step in range(first_step + 1, last_step + 1):
            tracker.log("train", step, {"train/loss": 10.0 * first_step + step})
        tracker.finish("preempted")
    points = [(point.step, point.value) for point in read(tmp_path).Scalars("train/loss")]
    assert points == [(1, 1), (2, 2), (3, 23), (4, 24), (5, 25)]

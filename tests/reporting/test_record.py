import math

import pytest

from hornbook.errors import CheckpointError
from hornbook.reporting.facts import key_numbers, standing
from hornbook.reporting.record import read_run, read_runs
from reporting.run_text import start, train, val, write_run


def test_curves_have_their_own_steps_and_values(tmp_path):
    run = write_run(tmp_path, "a", [start(), train(7, 3.0), val(10, 2.5), train(14, 2.0), val(20, 2.75)])
    record = read_run(run.root)
    assert (record.curve("train/loss").steps, record.curve("train/loss").values) == ((7, 14), (3.0, 2.0))
    assert record.curve("val/loss").lowest == (10, 2.5)
    assert record.curve("val/loss").at(19) == 2.5
    assert record.curve("val/loss").at(9) is None
    assert (record.last_step, record.total_steps, record.tokens_per_step) == (20, 100, 64)


def test_a_run_that_fails_between_two_logs_stands_where_it_failed(tmp_path):
    skipped = {"event": "skipped", "step": 13, "time": 5, "skipped/reason": "gradient"}
    record = read_run(write_run(tmp_path, "a", [start(), train(10, 3.0), skipped], state="failed").root)
    assert standing(record) == "Failed at step 13 of 100."


def test_runs_are_read_once_and_told_apart_by_their_paths_where_names_do_not(tmp_path):
    roots = [write_run(tmp_path / folder, name, [start()]).root for folder, name in ("xa", "ya", "yb")]
    again = roots[0] / "checkpoints"
    records = read_runs([*roots, roots[0], again])
    assert [record.run.root for record in records] == roots
    assert [record.name for record in records] == [str(roots[0]), str(roots[1]), "b"]


def test_what_a_killed_session_did_beyond_the_checkpoint_counts_neither_as_points_nor_as_time(tmp_path):
    first = [start(time=1000), train(10, 3.0, 1060), train(20, 2.0, 1120)]
    second = [start(step=10, time=9000), train(20, 2.5, 9030)]
    record = read_run(write_run(tmp_path, "a", first + second).root)
    curve = record.curve("train/loss")
    assert (curve.steps, curve.values, curve.minutes) == ((10, 20), (3.0, 2.5), (1.0, 1.5))
    assert record.training_minutes == 1.5


def test_what_other_commands_add_later_is_no_time_of_training(tmp_path):
    first = [start(time=1000), train(20, 2.0, 1120)]
    later = [{"event": "eval", "step": 20, "time": 90_000}, {"event": "generate", "step": 20, "time": 90_050}]
    second = [start(step=20, time=90_100), train(30, 1.5, 90_160)]
    record = read_run(write_run(tmp_path, "a", first + later + second).root)
    assert record.curve("train/loss").minutes == (2.0, 3.0)
    assert record.training_minutes == 3.0


def test_a_clock_that_is_set_back_does_not_turn_time_back(tmp_path):
    record = read_run(write_run(tmp_path, "a", [start(time=100), train(1, 1.0, 160), train(2, 1.0, 40)]).root)
    assert record.curve("train/loss").minutes == (1.0, 1.0)


def test_numbers_that_are_none_are_missing(tmp_path):
    huge = '{"event": "train", "step": 4, "time": 4, "train/loss": 1' + "0" * 400 + "}"
    bad = ['{"event": "train", "step": 3, "time": 3, "train/loss": NaN}', huge, train(5, None), train(6, "text")]
    record = read_run(write_run(tmp_path, "a", [start(), train(1, 2.0), *bad, train(7, True)]).root)
    values = record.curve("train/loss").values
    assert values[0] == 2.0
    assert all(math.isnan(value) for value in values[1:])
    assert record.curve("train/loss").last == 2.0


def test_damaged_lines_are_left_out_and_told(tmp_path):
    run = write_run(tmp_path, "a", [start(), "not json", train(2, 2.0), "[1]", train(3, 1.0)])
    with run.metrics_file.open("a") as file:
        file.write('{"event": "tra')  # the run is writing
    record = read_run(run.root)
    assert record.curve("train/loss").steps == (2, 3)
    (problem,) = record.problems
    assert "metrics.jsonl:2" in problem
    assert "1 more line" in problem


def test_a_run_in_its_first_instant_has_nothing(tmp_path):
    run = write_run(tmp_path, "a", [], state="starting")
    run.metrics_file.unlink()
    run.config_file.unlink()
    record = read_run(run.root)
    assert not record.curve("train/loss")
    assert record.settings == {}
    assert key_numbers(record) == {"step": "0"}
    assert "Still starting when this page was written, before its first event" in standing(record)


def test_a_broken_configuration_is_told_and_shown_as_it_is(tmp_path):
    run = write_run(tmp_path, "a", [start()])
    run.config_file.write_text("[train\nsteps = 4")
    run.state_file.write_text("dancing")
    record = read_run(run.root)
    assert record.config_text.startswith("[train")
    assert len(record.problems) == 2
    assert record.state == "unknown"


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="not a run"):
        read_run(tmp_path)


def test_skipped_steps_come_from_their_events_or_else_from_the_counter(tmp_path):
    skipped = {"event": "skipped", "step": 3, "time": 3, "skipped/reason": "loss_spike"}
    told = read_run(write_run(tmp_path, "a", [start(), skipped, train(4, 1.0, skipped=1)]).root)
    assert told.skipped_steps == [(3, "loss_spike")]
    events = [start(), train(4, 1.0), train(8, 1.0, skipped=2), train(12, 1.0, skipped=2)]
    counted = read_run(write_run(tmp_path, "b", events).root)
    assert counted.skipped_steps == [(8, "2 skipped up to here")]


def test_key_numbers_are_those_of_the_events(tmp_path):
    events = [
        start(n_parameters=12345),
        *(train(s, 2.0, 60.0 * s, tokens=64 * s, tokens_per_second=100.0 * s, mfu=0.25) for s in range(1, 5)),
        {**val(4, 1.5, 240.0), "val/bits_per_byte": 0.75, "val/perplexity": math.exp(1.5)},
    ]
    numbers = key_numbers(read_run(write_run(tmp_path, "a", events, steps=4).root))
    assert numbers["parameters"] == "12.3k"
    assert numbers["tokens"] == "256"
    assert numbers["best validation loss"] == "1.5000 at step 4"
    assert numbers["bits per byte there"] == "0.75"
    assert numbers["tokens a second"] == "350"  # the median of the later half
    assert numbers["MFU"] == "25.0%"
    assert numbers["time"] == "4:00"


@pytest.mark.parametrize(
    ("state", "step", "said"),
    [
        ("finished", 100, "Finished at step 100 of 100."),
        ("finished", 50, "Ended early and well at step 50 of 100."),
        ("running", 50, "Still running when this page was written"),
        ("preempted", 50, "Interrupted at step 50 of 100, and saved."),
        ("failed", 50, "Failed at step 50 of 100."),
    ],
)
def test_how_a_run_stands(tmp_path, state, step, said):
    assert said in standing(read_run(write_run(tmp_path, "a", [start(), train(step, 1.0)], state=state).root))

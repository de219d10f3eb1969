"""The page: it stands alone, nests, escapes everything, and says what the runs did."""

import itertools
import json
import math
import re
import shutil

import pytest

from hornbook.reporting.family import families, trunk_of
from hornbook.reporting.page import page
from hornbook.reporting.record import read_run
from html_outline import Outline
from reporting.run_text import start, train, val, write_run

HOSTILE = '</pre></script><script>alert(1)</script><img src="x" onerror="y"> & "quoted" \x00\x1b[31m \ud800'


def one(tmp_path, events, **more):
    return read_run(write_run(tmp_path, "one", events, **more).root)


def checked(*records):
    text = page(records)
    outline = Outline(text)
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert text.count("<h1>") == 1
    assert not re.search(r"https?://|url\(|@import", text)
    text.encode("utf-8")
    levels = [int(level) for level in re.findall(r"<h(\d)", text)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for table in re.findall(r"<table.*?</table>", text, re.S):
        assert 'scope="' in table
    identifiers = re.findall(r' id="([^"]*)"', text)
    assert len(identifiers) == len(set(identifiers))
    for data in outline.scripts[:-1]:
        json.loads(data)
    return text


def test_one_run_has_its_numbers_curves_samples_and_configuration(tmp_path):
    events = [start(n_parameters=1000, architecture="2 layers", device="cpu", dataset="data/x")]
    for step in range(1, 101):
        events.append(train(step, 5.0 - step / 50, learning_rate=0.1, grad_norm=1.0, tokens_per_second=50.0))
        if step % 25 == 0:
            events.append(val(step, 4.0 - step / 100))
            events.append({"event": "sample", "step": step, "time": step, "name": "sample/0", "text": f"text {step}"})
        if step % 10 == 0:
            norms = {f"norms/grad/layers.{i}.attention": 0.1 * i + step for i in range(2)}
            events.append({"event": "norms", "step": step, "time": step, **norms})
    events.append({"event": "eval", "step": 100, "time": 999, "eval/perplexity": 7.5, "eval/protocol": "sliding"})
    text = checked(one(tmp_path, events, checkpoints={50: "full", 100: "full"}))
    for said in (
        "3.0000 at step 100",
        "training, smoothed",
        "text 25",
        "text 100",
        "layers.1.attention",
        "step-00000050",
        "tokens_per_step = 64",
        "2 layers, trained on data/x, on cpu",
        "sliding",
        "Learning rate",
    ):
        assert said in text, said
    assert text.index("text 100") < text.index("text 25")  # the newest first


def test_the_axes_of_all_curves_are_chosen_once(tmp_path):
    events = [start(flops_per_token=100.0), *(train(s, 3.0 - s / 9, tokens=64 * s, grad_norm=1.0) for s in (1, 2, 3))]
    text = checked(one(tmp_path, events))
    assert re.findall(r'name="axis" value="(\w+)"', text) == ["step", "minutes", "tokens", "flops"]
    assert text.count('class="drawing on-step on-minutes on-tokens on-flops') == 4, "of an even pace all look the same"
    assert "&quot;flops&quot;: [6400.0, 19200.0]" in text, "operations of the first step and of all three"


def test_numbers_about_samples_stand_beside_them_and_are_drawn(tmp_path):
    events = [start()]
    for step in (1, 2):
        events.append({"event": "sample", "step": step, "time": step, "name": "sample/0", "text": f"text {step}"})
        shares = {"samples/distinct_2": step / 4, "samples/loops": 0.0, "samples/length": 12.5}
        events.append({"event": "samples", "step": step, "time": step, **shares})
    text = checked(one(tmp_path, events))
    assert "<h3>Generated texts</h3>" in text
    assert re.search(r"step 2</summary>\n<p[^>]*>distinct-2 0.5, loops 0, length 12.5</p>\n<pre>text 2", text)


def test_what_the_run_kept_of_its_data_settings_and_machine_is_told(tmp_path):
    run = write_run(tmp_path, "one", [start()])
    splits = {"train": {"tokens": 1000, "documents": 3, "text_bytes": 4000}, "valid": {"tokens": 10, "documents": 1}}
    made = {"source": {"kind": "text", "paths": ["a.txt"]}, "split": "documents"}
    run.write_provenance(
        {
            "command": "hornbook train x.toml",
            "origins": {"train.steps": "x.toml:3", "run.name": "--set", "model.n_heads": "preset gpt"},
            "hardware": {"processor": "A Processor", "cores": 4, "memory_bytes": 8_000_000_000},
            "data": [{"path": "data/x", "splits": splits, "made_from": made, "share": 0.25, "vocab_size": 300}],
        }
    )
    text = checked(read_run(run.root))
    for row in (
        '<th scope="row">train.steps</th><td>100</td><td>x.toml:3</td>',
        '<th scope="row">run.name</th><td>one</td><td>--set</td>',
        '<th scope="row">model.n_heads</th><td>unset</td><td>preset gpt</td>',
        '<th scope="row">train</th><td>3</td><td>1,000</td><td>4,000</td><td>4</td>',
        '<th scope="row">source</th><td>kind text, paths a.txt</td>',
        '<th scope="row">share of the windows</th><td>0.25</td>',
        '<th scope="row">processor</th><td>A Processor</td>',
        '<th scope="row">memory</th><td>8GB</td>',
        '<th scope="row">command</th><td>hornbook train x.toml</td>',
    ):
        assert row in text, row


@pytest.mark.parametrize(
    "odd",
    [{"data": 3, "origins": [], "hardware": "x"}, {"data": [4, {"splits": 1}, {"splits": {"train": 3}, "share": "x"}]}],
)
def test_a_provenance_of_another_form_does_no_harm(tmp_path, odd):
    run = write_run(tmp_path, "one", [start()])
    run.write_provenance(odd)
    checked(read_run(run.root))


def test_a_mixture_has_its_validation_by_data_set(tmp_path):
    events = [{**val(step, 2.0), "val/loss/books": 3.0 - step / 10, "val/loss/web": 2.5} for step in (1, 2)]
    text = checked(one(tmp_path, [start(), *events]))
    assert "Validation by data set" in text
    assert "books</span>" in text


def test_losses_by_mask_probability_are_drawn_where_there_are_any(tmp_path):
    plain = checked(one(tmp_path / "plain", [start(), train(1, 5.0), train(2, 4.0)]))
    assert "Loss by mask probability" not in plain
    losses = [{"nll_p0_25": 2.0 - step, "nll_p25_50": 2.5, "nll_p50_75": 3.0, "nll_p75_100": 4.0} for step in (0, 1)]
    events = [start(), *(train(step + 1, 5.0, **losses[step]) for step in (0, 1))]
    noisy = checked(one(tmp_path / "noisy", events))
    assert "Loss by mask probability" in noisy
    assert "0 to 25 % masked" in noisy
    fixed = {"event": "val", "step": 2, "time": 2.0, "val/loss": 3.0, "val/nll_p0_25": 1.25}
    assert "1.25" in checked(one(tmp_path / "fixed", [*events, fixed]))


def test_everything_is_escaped(tmp_path):
    run = write_run(
        tmp_path,
        "one",
        [
            start(architecture=HOSTILE, dataset=HOSTILE),
            {"event": "sample", "step": 1, "time": 1, "text": HOSTILE},
            {"event": "skipped", "step": 2, "time": 2, "skipped/reason": HOSTILE},
            {"event": "norms", "step": 2, "time": 2, f"norms/grad/{HOSTILE}": 1.0},
            {"event": "eval", "step": 2, "time": 2, f"eval/{HOSTILE}": HOSTILE},
            {"event": "eval", "step": 1, "time": 3, "measure": f'"{HOSTILE}', "nats_per_token": 2.0},
            {"event": "eval", "step": 3, "time": 4, "measure": f'"{HOSTILE}', "nats_per_token": 1.0},
            train(1, 2.0),
            train(3, 1.0),
        ],
    )
    run.config_file.write_text(f"# {HOSTILE}\n[run]\nname = 'x'".replace("\ud800", ""), encoding="utf-8")
    run.write_provenance({"command": HOSTILE, "versions": {HOSTILE: HOSTILE}})
    (run.root / "choices.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    other = write_run(tmp_path, "<i>two", [start()])
    for text in (checked(read_run(run.root)), checked(read_run(run.root), read_run(other.root))):
        assert "<img" not in text
        assert "alert(1)</script>" not in text
        assert 'id="eval-&quot;' in text
        assert "<i>two" not in text
        assert not {"\x00", "\x1b", "\ud800"} & set(text)


@pytest.mark.parametrize("state", ["starting", "running", "failed", "preempted"])
@pytest.mark.parametrize(
    "events",
    [[], [start()], [start(), train(1, None)], [start(), train(1, 2.0)], ["{}", "[]", '{"event": 3}', '{"step": "x"}']],
    ids=["none", "started", "not a number", "one point", "odd lines"],
)
def test_any_state_of_a_run_has_a_page(tmp_path, state, events):
    text = checked(one(tmp_path, events, state=state))
    assert f'"state {state}"' in text


def test_huge_metrics_stay_a_page_that_opens(tmp_path):
    events = [start(), *(train(s, 2.0 + math.sin(s), grad_norm=1.0, learning_rate=0.1) for s in range(1, 20_001))]
    assert len(checked(one(tmp_path, events, steps=20_000))) < 600_000


def test_skipped_steps_are_marked(tmp_path):
    skipped = {"event": "skipped", "step": 2, "time": 2, "skipped/reason": "not_finite"}
    text = checked(one(tmp_path, [start(), train(1, 2.0), skipped, train(3, 1.0)]))
    assert "one, step 2: not_finite" in text
    assert "skipped steps" in text


def test_several_runs_are_laid_over_one_another_with_what_differs(tmp_path):
    runs = [
        write_run(tmp_path, name, [start(), train(1, 2.0), train(9, loss), val(9, loss)], steps=steps)
        for name, loss, steps in (("a", 1.25, 10), ("b", 1.5, 20))
    ]
    text = checked(*(read_run(run.root) for run in runs))
    assert "Settings that differ" in text
    assert re.search(r'<th scope="row">train.steps</th><td>10</td><td>20</td>', text)
    assert "run.name" not in text.partition("The runs")[0]
    assert "1.2500 at step 9" in text
    assert "1.5000 at step 9" in text
    assert "by-tokens" in text


def family(tmp_path):
    trunk = write_run(tmp_path, "trunk", [start(), *(val(s, 4.0 - s / 50) for s in range(10, 101, 10))])
    for name, step, steps, loss in (("late", 80, 90, 1.125), ("early", 40, 50, 2.25)):
        branch = trunk.checkpoints / f"step-{step:08d}"
        write_run(tmp_path, name, [start(step), val(steps, loss)], steps=steps, branch_from=branch)
    write_run(tmp_path, "stranger", [start()])
    return trunk


def test_a_trunk_is_drawn_with_the_branches_beside_it(tmp_path):
    trunk = family(tmp_path)
    text = checked(read_run(trunk.root))
    assert "Branches of trunk" in text
    assert "branched at step 40" in text
    assert re.search(r">early</th><td>40</td><td>10</td><td>3.2000</td><td>2.2500</td><td>-0.9500</td>", text)
    assert re.search(r"<text [^>]*>1.125</text>", text)  # its final loss at the end of its line
    assert "stranger" not in text


def test_any_member_leads_to_the_family_and_it_is_drawn_once(tmp_path):
    trunk = family(tmp_path)
    records = [read_run(tmp_path / name) for name in ("late", "trunk", "early")]
    assert [one.name for one in families(records[:1])[0].branches] == ["early", "late"]
    (found,) = families(records)
    assert found.trunk is records[1]
    assert found.branches[1] is records[0]
    assert families([read_run(tmp_path / "stranger")]) == []
    shutil.rmtree(trunk.root)
    assert families(records[:1]) == []
    assert "Branches" not in checked(records[0])


def test_a_trunk_is_found_where_training_was_started_and_after_a_move(tmp_path):
    trunk = write_run(tmp_path / "work" / "runs", "trunk", [start()])
    branch = write_run(tmp_path / "work" / "runs", "b", [start(4)], branch_from="runs/trunk/checkpoints/step-00000004")
    branch.write_provenance({"directory": str(tmp_path / "work")})
    assert trunk_of(read_run(branch.root)) == trunk.root.resolve()
    (tmp_path / "work").rename(tmp_path / "moved")
    moved = tmp_path / "moved" / "runs"
    assert trunk_of(read_run(moved / "b")) == (moved / "trunk").resolve()

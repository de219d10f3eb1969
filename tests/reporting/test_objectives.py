"""Runs of different objectives: the table that compares them, and the least loss that text of known entropy allows."""

import json

import pytest

from hornbook.config.data import SyntheticSource
from hornbook.data.synthetic import MarkovSource
from hornbook.models.accounting import training_flops_per_token
from hornbook.reporting.least_loss import least_loss
from hornbook.reporting.objectives import objectives
from hornbook.reporting.page import page
from hornbook.reporting.record import read_run
from reporting.run_text import start, train, val, write_run
from tiny_models import tiny_config

SETTINGS = {
    "data.source.kind": "synthetic",
    "data.source.order": 1,
    "data.source.n_symbols": 4,
    "data.source.document_length": 64,
    "data.split": "documents",
    "data.end_of_text": False,
    "tokenizer.kind": "characters",
    "model.context_length": 8,
}
SHAPE = tiny_config(context_length=8)
SOURCE = MarkovSource(SyntheticSource(order=1, n_symbols=4, document_length=64))


def test_a_window_costs_its_entropy_and_next_token_is_not_asked_for_the_first():
    rate, first = SOURCE.entropy_rate_nats, SOURCE.entropy_nats(1)
    assert first > rate
    assert least_loss({**SETTINGS, "objective.kind": "masked_diffusion"}) == pytest.approx((first + 7 * rate) / 8)
    assert least_loss({**SETTINGS, "objective.kind": "next_token"}) == pytest.approx(rate)
    assert least_loss({**SETTINGS, "objective.kind": "joint"}) == pytest.approx(rate)
    assert least_loss(SETTINGS) == pytest.approx(rate), "a run of before there was a choice"


@pytest.mark.parametrize(
    "other",
    [
        {"data.source.kind": "text"},
        {"tokenizer.kind": "bpe"},
        {"data.end_of_text": True},
        {"data.split": "position"},
        {"data.valid.kind": "text"},
        {"model.context_length": 7},
        {"model.context_length": "x"},
        {"data.source.order": 3, "data.source.n_symbols": 90},
        {"data.source.n_symbols": -1},
    ],
)
def test_otherwise_it_is_not_known(other):
    assert least_loss({**SETTINGS, **other}) is None


def run_of(tmp_path, name, objective, loss, *, synthetic=False):
    events = [start(n_parameters=1000), train(4, loss + 1, tokens=256), val(4, loss)]
    events.append({"event": "eval", "step": 4, "time": 9, "measure": "bound", "bits_per_byte_at_most": loss / 2})
    run = write_run(tmp_path, name, events, checkpoints={4: "full"})
    content = json.dumps({"model": SHAPE.model_dump(mode="json"), "objective": {"kind": objective}})
    (run.checkpoints / "step-00000004" / "model.json").write_text(content)
    text = run.config_file.read_text() + f'[objective]\nkind = "{objective}"\n'
    if synthetic:
        text += '[tokenizer]\nkind = "characters"\n[model]\ncontext_length = 8\n[data]\nend_of_text = false\n'
        text += (
            'split = "documents"\n[data.source]\nkind = "synthetic"\norder = 1\nn_symbols = 4\ndocument_length = 64\n'
        )
    run.config_file.write_text(text)
    return read_run(run.root)


def test_two_objectives_are_told_apart_with_what_must_be_equal(tmp_path):
    runs = [run_of(tmp_path, "ar", "next_token", 1.5), run_of(tmp_path, "diffusion", "masked_diffusion", 1.75)]
    text = page(runs)
    table = text.partition("Objectives compared")[2].partition("</section>")[0]
    for said in ("the loss itself", "an upper bound: at most", "1.5000", "1.7500", "≤ 0.875"):
        assert said in table, said
    once = training_flops_per_token(SHAPE, context=8) * 256
    assert table.count(f"<td>{once:.3g}</td>") == 2
    assert "least possible" not in text
    assert "eval bound" in table


def test_the_excess_stands_in_the_table_and_the_least_loss_in_the_figure(tmp_path):
    kinds = ("next_token", "masked_diffusion")
    runs = [run_of(tmp_path, kind, kind, 2.0, synthetic=True) for kind in kinds]
    table = "".join(objectives(runs))
    for kind in kinds:
        least = least_loss({**SETTINGS, "objective.kind": kind})
        assert f"<td>{least:.4f}</td><td>{2.0 - least:+.4f}</td>" in table
        assert f"{kind}: least possible" in page(runs)
    assert "least possible" in page(runs[:1]), "of one run too"


@pytest.mark.parametrize("kind", ["block_diffusion", "joint"])
def test_what_reads_every_token_twice_is_told_to_cost_twice(tmp_path, kind):
    table = "".join(objectives([run_of(tmp_path, "ar", "next_token", 1.5), run_of(tmp_path, "other", kind, 1.5)]))
    assert f"<td>{2 * 256 * training_flops_per_token(SHAPE, context=8):.3g}</td>" in table


def test_runs_of_one_objective_are_not_compared_so(tmp_path):
    runs = [run_of(tmp_path, name, "masked_diffusion", 1.5) for name in "ab"]
    assert "".join(objectives(runs)) == ""
    assert "Objectives compared" not in page(runs)

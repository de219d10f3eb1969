"""Runs of different objectives: the table that compares them, and the least loss that text of known entropy allows."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from hornbook.config.data import SyntheticSource
from hornbook.data.synthetic import MarkovSource
from hornbook.models.accounting import training_flops_per_token
from hornbook.reporting.least_loss import least_loss
from hornbook.reporting.objectives import COLUMNS, objectives
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


def evaluated(measure, nats, *, data="data/x [valid], 3 documents", stride=8):
    """An event as `hornbook eval` writes it."""
    suffix = "_at_most" if measure == "bound" else ""
    numbers = {f"nats_per_token{suffix}": nats, f"bits_per_byte{suffix}": nats / 2}
    return {
        "event": "eval",
        "step": 4,
        "time": 9,
        "measure": measure,
        "data": data,
        "window": 8,
        "stride": stride,
    } | numbers


def run_of(tmp_path, name, objective, loss, *evals, synthetic=False):
    events = [start(n_parameters=1000), train(4, loss + 1, tokens=256), val(4, loss), *evals]
    run = write_run(tmp_path, name, events, checkpoints={4: "full"})
    content = json.dumps({"model": SHAPE.model_dump(mode="json"), "objective": {"kind": objective}})
    (run.checkpoints / "step-00000004" / "model.json").write_text(content)
    text = run.config_file.read_text() + f'[objective]\nkind = "{objective}"\n[model]\ncontext_length = 8\n'
    text += '[data]\npath = "data/x"\nend_of_text = false\nsplit = "documents"\n'
    if synthetic:
        text += '[tokenizer]\nkind = "characters"\n'
        text += '[data.source]\nkind = "synthetic"\norder = 1\nn_symbols = 4\ndocument_length = 64\n'
    run.config_file.write_text(text)
    return read_run(run.root)


def rows_of(runs):
    """The cells of the table, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", "".join(objectives(runs)))
    return [re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", row) for row in rows]


def test_two_objectives_are_told_apart_with_what_must_be_equal(tmp_path):
    runs = [
        run_of(tmp_path, "ar", "next_token", 1.5, evaluated("perplexity", 1.25)),
        run_of(tmp_path, "diffusion", "masked_diffusion", 1.75, evaluated("bound", 1.9), evaluated("bound", 1.625)),
        run_of(tmp_path, "new", "masked_diffusion", 1.75),
    ]
    heads, *rows = rows_of(runs)
    assert tuple(heads) == COLUMNS
    flops = f"{256 * training_flops_per_token(SHAPE, context=8):.3g}"
    given = ["1k", "256", flops]
    assert rows == [
        ["ar", "next_token", *given, "eval perplexity, step 4", "1.2500", "0.625", "", ""],
        ["diffusion", "masked_diffusion", *given, "eval bound, step 4", "≤ 1.6250", "≤ 0.8125", "", ""],
        ["new", "masked_diffusion", *given, "last validation", "≤ 1.7500", "", "", ""],
    ]
    assert "least possible</th>" in page(runs)
    assert "≤ 1.7500 at step 4" in page(runs), "what is known of a run says so, too"


def test_protocols_and_parts_of_a_text_have_rows_of_their_own(tmp_path):
    whole = {**evaluated("perplexity", 1.25), "tokens_scored": 1999}
    part = {**evaluated("perplexity", 1.5), "tokens_scored": 199}
    last = {**evaluated("perplexity", 1.75), "protocol_name": "last-token", "tokens_scored": 64}
    again = {**whole, "nats_per_token": 1.0}
    runs = [run_of(tmp_path, "a", "next_token", 1.5, whole, part, last, again), run_of(tmp_path, "b", "joint", 1.5)]
    _, *rows = rows_of(runs)
    assert [tuple(row[5:7]) for row in rows[:3]] == [
        ("eval perplexity, 1,999 tokens, step 4", "1.0000"),
        ("eval perplexity, 199 tokens, step 4", "1.5000"),
        ("eval perplexity, last-token, 64 tokens, step 4", "1.7500"),
    ]


def test_the_page_of_documentation_has_the_columns_of_the_table():
    text = (Path(__file__).parents[2] / "docs" / "diffusion.md").read_text(encoding="utf-8")
    assert f"| {' | '.join(COLUMNS)} |" in text


def test_a_joint_run_has_a_row_for_each_of_its_measures(tmp_path):
    both = run_of(
        tmp_path, "joint", "joint", 1.5, evaluated("bound", 2.0), evaluated("perplexity", 1.5), synthetic=True
    )
    _, _, *rows = rows_of([run_of(tmp_path, "ar", "next_token", 1.5), both])
    least = [least_loss({**SETTINGS, "objective.kind": kind}) for kind in ("masked_diffusion", "next_token")]
    assert [row[5] for row in rows] == ["eval bound, step 4", "eval perplexity, step 4"]
    assert [row[8] for row in rows] == [f"{each:.4f}" for each in least]


@pytest.mark.parametrize(
    "other", [{"data": "answer of 5 tokens"}, {"data": "data/x [train], 9 documents"}, {"data": "book.txt"}]
)
def test_evaluations_of_another_text_do_not_compare(tmp_path, other):
    runs = [
        run_of(tmp_path, kind, kind, 2.0, evaluated("perplexity", 1.0, **other)) for kind in ("next_token", "joint")
    ]
    assert [row[5:7] for row in rows_of(runs)[1:]] == [["last validation", "2.0000"]] * 2


def test_the_excess_stands_in_the_table_and_the_least_loss_in_the_figure(tmp_path):
    kinds = ("next_token", "masked_diffusion")
    runs = [run_of(tmp_path, kind, kind, 2.0, synthetic=True) for kind in kinds]
    for kind, row in zip(kinds, rows_of(runs)[1:], strict=True):
        least = least_loss({**SETTINGS, "objective.kind": kind})
        sign = "≤ " if kind == "masked_diffusion" else ""
        assert row[-2:] == [f"{least:.4f}", f"{sign}{2.0 - least:+.4f}"]
        assert f"{kind}: least possible" in page(runs)
    assert "least possible" in page(runs[:1]), "of one run too"


def test_the_least_loss_is_of_windows_that_start_cold(tmp_path):
    runs = [
        run_of(tmp_path, kind, kind, 2.0, evaluated("perplexity", 1.0, stride=4), synthetic=True)
        for kind in ("next_token", "joint")
    ]
    assert [row[6:] for row in rows_of(runs)[1:]] == [["1.0000", "0.5", "", ""]] * 2


@pytest.mark.parametrize("kind", ["block_diffusion", "joint"])
def test_what_reads_every_token_twice_is_told_to_cost_twice(tmp_path, kind):
    runs = [run_of(tmp_path, "ar", "next_token", 1.5), run_of(tmp_path, "other", kind, 1.5)]
    assert rows_of(runs)[2][4] == f"{2 * 256 * training_flops_per_token(SHAPE, context=8):.3g}"


def test_frozen_weights_cost_less(tmp_path):
    tuned = run_of(tmp_path, "tuned", "joint", 1.5)
    tuned = replace(tuned, settings={**tuned.settings, "lora.rank": 8})
    flops = 2 * 256 * training_flops_per_token(SHAPE, context=8, frozen=True)
    assert rows_of([run_of(tmp_path, "ar", "next_token", 1.5), tuned])[2][4] == f"{flops:.3g}"


def test_what_a_pair_costs_is_no_surprise_at_text(tmp_path):
    runs = [run_of(tmp_path, kind, kind, 1.5) for kind in ("next_token", "preference", "joint")]
    assert [row[0] for row in rows_of(runs)] == ["run", "next_token", "joint"]
    assert rows_of(runs[:2]) == []
    units = ("nats a token", "a pair", "nats a token, of preferences a pair")
    for unit, drawn in zip(units, (runs[:1], runs[1:2], runs), strict=True):
        assert f"<h3>Loss</h3> <span>{unit}</span>" in page(drawn)


def test_runs_of_one_objective_are_not_compared_so(tmp_path):
    runs = [run_of(tmp_path, name, "masked_diffusion", 1.5) for name in "ab"]
    assert "".join(objectives(runs)) == ""
    assert "Objectives compared" not in page(runs)

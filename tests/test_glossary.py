"""docs/glossary.md has every metric that docs/formats.md lists and every number of a card, and nothing that is none."""

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import hornbook.evaluation
from hornbook.evaluation.card import Card
from test_docs import symbols
from tracking.test_documented_names import documented

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S))
LOGGED = {
    "Training": ["train"],
    "Validation": ["val"],
    "Inside the model, its texts and the data": ["samples", "norms", "histograms", "mixture", "skipped"],
    "Generation": ["generate_compare", "compare_cache"],
    "Several processes": ["verify_parallel", "scaling_measured", "scaling_simulated"],
    "Sweeps, benchmarks, exchange": ["sweep_result", "bench"],
}
"""Section -> the events whose values it explains."""
NO_NUMBERS = {
    *("skipped/reason", "skipped/checkpoint_path", "skipped/first_sample", "skipped/last_sample"),
    *("way", "prompt", "output", "finish_reason", "checkpoint"),
    *("case", "dtype", "verdict", "shard_optimizer", "model", "network"),
    *("index", "id", "settings", "run", "state", "step", "metric"),
    *("note", "pass_name", "side", "threads", "unit", "verdicts", "same", "differs", "checks", "failure"),
}
"""Values that are logged and measure nothing."""
NOT_LOGGED = {"largest_difference", "error"}
"""Of `export`, whose row in the table is one for each form."""
SETTINGS = {
    *("step", "window", "stride", "estimator", "seed", "block_length", "prompt_tokens", "trained_by_token"),
    *("block_tokens", "blocks", "resamples", "level", "reset_documents"),
    *("requests", "remembered", "contexts_cut"),
}
"""Fields of cards that say how something was measured, not what came of it."""


def rows(section):
    """(names, further cells) of each row of its table."""
    lines = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in SECTIONS[section].splitlines()]
    return [(re.findall(r"`([^`]+)`", cells[0]), cells[1:]) for cells in lines if cells and "`" in cells[0]]


def names(section):
    return {name for found, _ in rows(section) for name in found}


def test_every_row_says_what_a_number_means_and_where_it_is_computed():
    for section in SECTIONS:
        for found, cells in rows(section):
            assert len(cells) == 4, found
            assert cells[0], found
            (symbol, target) = re.fullmatch(r"\[`([^`]+)`\]\(([^)]+)\)", cells[3]).groups()
            assert symbol in symbols(ROOT / "docs" / target), (found, symbol)


@pytest.mark.parametrize("section", LOGGED)
def test_what_is_logged_is_explained_and_what_is_explained_is_logged(section):
    logged = {name for event in LOGGED[section] for name in documented()[event]} - NO_NUMBERS
    assert logged - names(section) == set()
    assert names(section) - NOT_LOGGED - logged == set()


def cards():
    """All kinds of cards."""
    for module in pkgutil.iter_modules(hornbook.evaluation.__path__, "hornbook.evaluation."):
        importlib.import_module(module.name)
    found = [Card]
    for card in found:
        found += [each for each in card.__subclasses__() if each not in found]
    return found


def test_the_numbers_of_cards_are_explained():
    known = names("Evaluations") | SETTINGS
    for card in cards():
        for field in dataclasses.fields(card):
            is_number = str(field.type).replace(" | None", "") in ("int", "float", "<class 'int'>", "<class 'float'>")
            if is_number and field.name not in card.whole:
                assert field.name in known, f"{card.__name__}.{field.name}"


def test_what_is_explained_of_evaluations_is_written_by_them():
    """Names are made of parts there (f"{name}_low"), so each part of a name must stand in the code."""
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "src/hornbook/evaluation").rglob("*.py"))
    for name in names("Evaluations"):
        stem = re.sub(r"^TASK_|_(TASK|chosen|rejected|per_token)$", "", name)
        assert re.search(rf"\b{stem}(_|\b)", code), name

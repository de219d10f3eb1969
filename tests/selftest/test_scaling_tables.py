"""What --simulate makes tables of."""

from pathlib import Path

import pytest

from hornbook.cli.main import main
from hornbook.config.load import load_config
from hornbook.planning.scaling import NETWORKS, WORLD_SIZES
from hornbook.selftest import scaling_tables
from hornbook.selftest.scaling_tables import SHAPE, bucket_sizes, simulated, works

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"


@pytest.fixture(scope="module")
def made():
    return list(simulated(None))


def test_without_a_configuration_two_known_models_on_each_network(made):
    assert len(made) == 2 * len(NETWORKS)
    assert {each.work.name for each in made} == {"gpt2", "llama-1b"}
    for each in made:
        assert [row.n for row in each.rows] == list(WORLD_SIZES)
        assert all(0.0 < row.efficiency <= 1.0 for row in each.rows)


def test_the_page_says_what_is_simulated(made):
    rows = [
        line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("| ") and "%" in line
    ]
    assert [row[0].strip() for row in rows] == ["8", "16", "64", "256", "1,024", "4,096"]
    for row in rows:
        n = int(row[0].replace(",", ""))
        found = [100 * each.rows[WORLD_SIZES.index(n)].efficiency for each in made]
        assert [f"{value:.1f} %" if value < 10 else f"{value:.0f} %" for value in found] == [
            cell.strip() for cell in row[1:]
        ]


def test_with_one_its_steps():
    values = {"model.context_length": 64, "train.tokens_per_step": 1024, "train.micro_batch_size": 4}
    (work,) = works(load_config(None, values=values).config)
    assert (work.tokens, work.micro_batches) == (256, 4)
    assert work.model.vocab_size == 4096  # the tokenizer's, before there is one


def test_buckets_are_many_few_and_one():
    sizes = bucket_sizes(load_config(None, values=SHAPE).config)
    assert sizes == [0.25, 1.0, 4.0, 0.0]


@pytest.mark.parametrize("config", [[], ["--set", "model.d_model=64"]], ids=["none", "own"])
def test_the_verb_prints_measured_and_simulated_apart(config, monkeypatch, capsys):
    asked = []

    def measured(config, n):
        asked.append((config and config.model.d_model, n))
        return None, []

    monkeypatch.setattr(scaling_tables, "measured", measured)
    monkeypatch.setattr("hornbook.planning.tables.measured_lines", lambda found: ["MEASURED"])
    assert main(["verify-parallel", "--simulate", *config]) == 0
    assert asked == [(64 if config else None, 2)]
    lines = capsys.readouterr().err.splitlines()
    (assumed,) = (line for line in lines if line.startswith("NOT MEASURED"))
    assert "396 TFLOP/s" in assumed
    simulated = next(line for line in lines if line.startswith("SIMULATED: "))
    assert lines.index("MEASURED") < lines.index(assumed) < lines.index(simulated)

"""Laws, shapes and mixtures against arithmetic that is done another way."""

import math

import pytest

from hornbook.config.model import ModelTable
from hornbook.errors import ConfigError
from hornbook.models.accounting import parameter_counts
from hornbook.planning.experts import expert_counts
from hornbook.planning.laws import LAWS, Law, optima
from hornbook.planning.orders import orders_of_magnitude
from hornbook.planning.shapes import proposals
from hornbook.profiling.accelerators import accelerator_named, accelerators
from tiny_models import tiny_config


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("flops", [1e15, 2e19, 5.76e23])
def test_no_other_size_has_a_lower_loss(law: Law, flops: float) -> None:
    best = law.parameters(flops)
    losses = [law.loss(best * factor, flops / 6 / best / factor) for factor in (0.5, 0.9, 1.0, 1.1, 2.0)]
    assert min(losses) == losses[2]
    assert law.flops(best) == pytest.approx(flops, rel=1e-9)


def test_the_budget_of_chinchilla_is_spent_about_as_it_was() -> None:
    """70B parameters and 1.4T tokens: the refitted law and the rule agree with it, the published constants do not."""
    by = {each.law: each for each in optima(flops=5.76e23)}
    assert by["twenty"].parameters == pytest.approx(70e9, rel=0.02)
    assert 50e9 < by["besiroglu"].parameters < 80e9
    assert by["hoffmann"].parameters < 45e9
    assert by["twenty"].tokens == pytest.approx(20 * by["twenty"].parameters)


def test_a_size_is_the_best_of_its_budget() -> None:
    for each in optima(parameters=170e6):
        assert each.parameters == pytest.approx(170e6)
        assert each.flops == pytest.approx(6 * each.parameters * each.tokens)


def test_the_documents_orders_of_magnitude() -> None:
    by = {each.quantity: each for each in orders_of_magnitude()}
    days = by["170M parameters, 17B tokens"]
    assert round(days.document, 2) == 0.83
    assert round(days.corrected, 1) == 4.7
    assert by["a day of it"].document == pytest.approx(2e19, rel=0.05)
    assert by["weights of 170M in 16 bits"].document == pytest.approx(0.32, abs=0.005)
    memory = by["weights, gradients and Adam"]
    assert 1.2 <= memory.document < 1.3
    assert round(memory.corrected * 2**30 / 1e9, 1) == 2.7


@pytest.mark.parametrize("parameters", [1e6, 25e6, 170e6, 1.3e9, 7e9])
def test_shapes_have_about_the_size_asked_for(parameters: float) -> None:
    made = proposals(parameters)
    assert [each.kind for each in made] == ["deep", "balanced", "wide"]
    for each in made:
        config = each.config
        assert each.parameters == pytest.approx(parameters, rel=0.1)
        assert config.d_model == config.n_heads * config.head_dim
        assert config.n_heads % config.n_kv_heads == 0
        assert config.d_ff % 64 == 0
    ratios = [each.config.d_model / each.config.n_layers for each in made]
    assert ratios == sorted(ratios)


def test_a_block_is_a_model_table() -> None:
    import tomllib

    (deep, *_) = proposals(25e6, vocab_size=5_000, context_length=256)
    table = ModelTable.model_validate(tomllib.loads(deep.block())["model"])
    assert table.complete(vocab_size=5_000) == deep.config


def test_sizes_out_of_reach_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected 200,000"):
        proposals(10)


def test_experts_are_counted() -> None:
    config = tiny_config()
    counts = parameter_counts(config)
    whole = sum(counts.values())
    one = expert_counts(config, experts=1, active=1, context=8)
    assert one.total == one.active == whole + config.n_layers * config.d_model
    eight = expert_counts(config, experts=8, active=2, context=8)
    router = config.n_layers * config.d_model * 8
    assert eight.total == whole + 7 * counts["feed_forward"] + router
    assert eight.active == whole + counts["feed_forward"] + router
    assert eight.flops_per_token - one.flops_per_token == pytest.approx(
        2 * counts["feed_forward"] + 2 * (router - one.router)
    )
    with pytest.raises(ConfigError, match="9 of 8"):
        expert_counts(config, experts=8, active=9, context=8)


def test_accelerators_are_dense_and_named() -> None:
    assert accelerator_named("l4").half == 121e12  # half of the 242 that the data sheet has for sparse matrices
    for each in accelerators():
        assert each.source
        assert each.half > each.fp32
        assert math.isfinite(each.memory * each.bandwidth * each.watts)
    with pytest.raises(ConfigError, match="known are B200, H200"):
        accelerator_named("abacus")

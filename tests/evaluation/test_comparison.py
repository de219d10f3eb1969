"""Two models on one text: the difference in bits per byte, and an interval in which what is hard for both cancels."""

import math

import numpy as np
import pytest

from hornbook.config.generate import EvalConfig
from hornbook.errors import ConfigError
from hornbook.evaluation.comparison import difference, refuse_other_text
from hornbook.evaluation.perplexity_card import PerplexityCard, ScoredText, card_of
from hornbook.evaluation.text_units import TextUnits
from hornbook.evaluation.windows import plan_of

N_BYTES = 6000
HARD = np.random.default_rng(0).normal(2.0, 1.0, size=N_BYTES // 100).clip(0.1).repeat(100)
"""Nats that a byte costs any model: passages of 100 bytes differ much."""


def make_card(bytes_per_token: int, factor: float, *, sha256="a" * 64, n_bytes=N_BYTES, **settings) -> PerplexityCard:
    """A model that pays `factor` times what a byte costs, with tokens of so many bytes."""
    n = n_bytes // bytes_per_token
    nats = factor * HARD[:n_bytes].reshape(n, bytes_per_token).sum(axis=1)
    units = TextUnits(np.full(n, bytes_per_token), np.ones(n, dtype=np.int64), sha256)
    scored = ScoredText(nats=nats[1:], places=np.arange(1, n), n_tokens=n, units=units)
    config = EvalConfig(bootstrap={"block_tokens": 100}, **settings)
    about = {"tokenizer_fingerprint": "x", "checkpoint": f"run-{factor}", "step": 1, "data": "text", "seconds": 1.0}
    return card_of(scored, plan_of(config, 64), config, **about)


def test_a_small_difference_is_seen_through_a_large_scatter():
    """A model that pays 1 % more everywhere, with tokens of two bytes and not one."""
    first, second = make_card(1, 1.0), make_card(2, 1.01)
    found = difference(second, first)
    assert found is not None
    assert found.interval is not None
    assert found.bits_per_byte == pytest.approx(second.bits_per_byte - first.bits_per_byte)
    low, high = found.interval
    assert 0 < low < found.bits_per_byte < high
    apart = first.intervals["byte"]
    assert high - low < 0.05 * (apart[1] - apart[0]) / math.log(2)
    assert found.blocks == 60


def test_a_model_less_itself_is_zero():
    found = difference(make_card(3, 1.0), make_card(3, 1.0))
    assert (found.bits_per_byte, found.interval) == (0.0, (0.0, 0.0))


def test_the_other_way_round_is_the_negative():
    first, second = make_card(1, 1.0), make_card(1, 1.2)
    assert difference(first, second).bits_per_byte == pytest.approx(-difference(second, first).bits_per_byte)


@pytest.mark.parametrize("other", [{"sha256": "b" * 64}, {"n_bytes": 3000}])
def test_other_text_is_refused(other):
    first, second = make_card(1, 1.0), make_card(1, 1.0, **other)
    with pytest.raises(ConfigError, match=r"another text than run-1.0: .* sha256 .* --text FILE"):
        difference(second, first)
    with pytest.raises(ConfigError, match="b would be scored on another text than a"):
        refuse_other_text("a", first.scored.units, "b", second.scored.units)


def test_another_protocol_is_refused():
    with pytest.raises(ConfigError, match="protocols differ: strided and chunked"):
        difference(make_card(1, 1.0, protocol="chunked"), make_card(1, 1.0))

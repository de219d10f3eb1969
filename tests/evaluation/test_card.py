"""The card carries its numbers, the protocol that made them, and survives JSON."""

import json
import math

import pytest
from rich.console import Console

from hornbook.evaluation.card import EvaluationCard


def make_card(**changes) -> EvaluationCard:
    values = {
        "window": 128,
        "stride": 64,
        "tokens_scored": 1000,
        "bytes_scored": 4000,
        "nats": 3000.0,
        "standard_error": 0.02,
        "tokenizer_fingerprint": "abc",
        "checkpoint": "runs/x/checkpoints/step-00000100",
        "step": 100,
        "data": "data/x [valid]",
        "seconds": 1.5,
    }
    return EvaluationCard(**{**values, **changes})


def test_numbers():
    card = make_card()
    assert card.perplexity == pytest.approx(math.exp(3))
    assert card.bits_per_byte == pytest.approx(3000 / math.log(2) / 4000)


def test_the_interval_of_every_number():
    """15 windows: 2.1448 standard errors on either side, Student's t of 14 degrees of freedom."""
    card = make_card()
    values = card.values()
    assert card.n_units == 15  # one of 128 tokens, and thirteen whole ones and a short one of 64
    for end, nats in (("_low", 3 - 2.1448 * 0.02), ("_high", 3 + 2.1448 * 0.02)):
        assert values[f"nats_per_token{end}"] == pytest.approx(nats, rel=1e-5)
        assert values[f"perplexity{end}"] == pytest.approx(math.exp(nats), rel=1e-5)
        assert values[f"bits_per_byte{end}"] == pytest.approx(nats / math.log(2) / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("windows", "t"), [(2, 12.7062), (3, 4.3027), (4, 3.1824), (6, 2.5706), (31, 2.0423), (10**6, 1.96)]
)
def test_few_windows_have_a_wide_interval(windows, t):
    """Quantiles of Student's t from tables."""
    card = make_card(window=10, stride=10, tokens_scored=10 * windows, nats=30.0 * windows)
    low, high = card.nats_interval
    assert (high - low) / 0.04 == pytest.approx(t, rel=0.01)
    assert make_card(window=1000, stride=1000).nats_interval is None


def test_protocol_says_window_stride_context_and_boundaries():
    words = make_card().protocol
    for part in ("window of 128", "stride 64", "65 to 128 tokens of context", "not reset between documents"):
        assert part in words


def test_json_holds_every_field_and_the_derived_numbers():
    values = json.loads(make_card().to_json())
    assert values["perplexity"] == make_card().perplexity
    assert values["bits_per_byte"] == make_card().bits_per_byte
    assert {"protocol", "window", "stride", "tokens_scored", "nats", "tokenizer_fingerprint", "step"} <= values.keys()


@pytest.mark.parametrize("missing", ["bytes_scored", "standard_error", "step", "tokenizer_fingerprint"])
def test_what_is_unknown_is_null_and_absent_from_the_table(missing):
    card = make_card(**{missing: None})
    assert json.loads(card.to_json())[missing] is None
    assert f" {missing} " not in _shown(card)


def test_table():
    shown = _shown(make_card())
    assert "20.086" in shown
    assert "1,000" in shown
    assert "data/x [valid]" in shown


def test_an_astronomical_loss_is_still_a_card():
    values = json.loads(make_card(nats=1e6, standard_error=1e3).to_json())
    assert values["perplexity"] is None


def _shown(card: EvaluationCard) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(card.table())
    return captured.get()

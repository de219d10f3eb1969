"""Cards carry their numbers, the protocol that made them, and survive JSON."""

import json
import math

import numpy as np
import pytest
from rich.console import Console

from hornbook.config.generate import EvalConfig
from hornbook.evaluation.bound_card import BoundCard
from hornbook.evaluation.card import EvaluationCard
from hornbook.evaluation.perplexity_card import PerplexityCard, ScoredText, card_of
from hornbook.evaluation.text_units import TextUnits
from hornbook.evaluation.windows import plan_of

ABOUT = {
    "tokenizer_fingerprint": "abc",
    "checkpoint": "runs/x/checkpoints/step-00000100",
    "step": 100,
    "data": "data/x [valid]",
    "seconds": 1.5,
}
N = 1000


def make_card(nats=None, *, units=True, about=None, **settings) -> PerplexityCard:
    """1,001 tokens of 4 bytes, of which every second begins a word; 3 nats on average."""
    nats = np.tile([2.0, 4.0], N // 2) if nats is None else nats
    text = TextUnits(np.full(N + 1, 4), np.arange(N + 1) % 2, "0123abcd" * 8)
    scored = ScoredText(nats=nats, places=np.arange(1, N + 1), n_tokens=N + 1, units=text if units else None)
    config = EvalConfig(stride=64, **settings)
    return card_of(scored, plan_of(config, 128), config, **{**ABOUT, **(about or {})})


def make_bound(**changes) -> BoundCard:
    values = {
        **ABOUT,
        "window": 128,
        "stride": 64,
        "tokens_scored": 1000,
        "bytes_scored": 4000,
        "nats": 3000.0,
        "standard_error": 0.02,
        "objective": "masked_diffusion",
        "block_length": None,
        "estimator": "fixed_count",
        "draws": 16,
        "seed": 0,
    }
    return BoundCard(**{**values, **changes})


def test_numbers():
    card = make_card()
    assert card.perplexity == pytest.approx(math.exp(3))
    assert card.bits_per_byte == pytest.approx(3 / math.log(2) / 4)
    assert card.word_perplexity == pytest.approx(math.exp(3 * 2))


def test_the_interval_is_of_blocks_of_the_text():
    """Blocks of 100 tokens that cost (100 + k) / 100 nats each: the error is the scatter of ten block means."""
    nats = 1 + np.arange(1, N + 1) // 100 / 100.0
    card = make_card(nats, bootstrap={"block_tokens": 100, "resamples": 20_000, "level": 0.9})
    assert card.blocks == 11  # one of 99 tokens, nine whole ones, and one of 1
    low, high = card.nats_interval
    assert (high - low) / 2 == pytest.approx(1.812 * card.standard_error, rel=0.05)
    assert low < card.nats_per_token < high
    values = card.values()
    assert values["perplexity_low"] == pytest.approx(math.exp(low))
    assert values["bits_per_byte_high"] == pytest.approx(high / math.log(2) / 4)  # every token has four bytes
    assert values["word_perplexity_low"] == pytest.approx(math.exp(2 * low), rel=1e-2)


def test_a_single_block_has_no_interval():
    values = make_card(bootstrap={"block_tokens": 5000}).values()
    assert values["perplexity_low"] is values["bits_per_byte_high"] is values["standard_error"] is None


def test_the_interval_of_a_bound():
    """15 windows: 2.1448 standard errors on either side, Student's t of 14 degrees of freedom."""
    card = make_bound()
    values = card.values()
    assert card.n_units == 15  # one of 128 tokens, and thirteen whole ones and a short one of 64
    for end, nats in (("_low", 3 - 2.1448 * 0.02), ("_high", 3 + 2.1448 * 0.02)):
        assert values[f"nats_per_token_at_most{end}"] == pytest.approx(nats, rel=1e-5)
        assert values[f"perplexity_at_most{end}"] == pytest.approx(math.exp(nats), rel=1e-5)
        assert values[f"bits_per_byte_at_most{end}"] == pytest.approx(nats / math.log(2) / 4, rel=1e-5)
    assert make_bound(window=1000, stride=1000).nats_interval is None


def test_protocol_says_window_stride_context_boundaries_and_interval():
    words = make_card(bootstrap={"seed": 7, "level": 0.99}).protocol
    for part in (
        *("strided: ", "window of 128", "stride 64", "65 to 128 tokens of context", "not reset between documents"),
        "99% interval: 8 blocks of 128 tokens of the text drawn anew 2,000 times, seed 7",
    ):
        assert part in words


def test_json_holds_every_field_and_the_derived_numbers():
    card = make_card()
    values = json.loads(card.to_json())
    for name in ("perplexity", "word_perplexity", "bits_per_byte"):
        assert values[name] == getattr(card, name)
    assert {"protocol", "protocol_name", "window", "stride", "reset_documents", "tokens_scored"} <= values.keys()
    assert {"nats", "tokenizer_fingerprint", "step", "level", "resamples", "seed", "block_tokens"} <= values.keys()
    assert (values["text_bytes"], values["text_words"], values["text_tokens"]) == (4004, 500, 1001)
    assert values["text_sha256"] == "0123abcd" * 8
    assert values.keys().isdisjoint(PerplexityCard.whole)


@pytest.mark.parametrize("missing", ["step", "tokenizer_fingerprint"])
def test_what_is_unknown_is_null_and_absent_from_the_table(missing):
    card = make_card(about={missing: None})
    assert json.loads(card.to_json())[missing] is None
    assert f" {missing} " not in _shown(card)


def test_without_a_tokenizer_nothing_is_by_byte_or_word():
    values = make_card(units=False).values()
    for name in ("bits_per_byte", "word_perplexity", "bytes_scored", "words_scored", "text_sha256", "text_bytes"):
        assert values[name] is None
    assert values["perplexity_low"] is not None


def test_table():
    shown = _shown(make_card())
    assert "20.086   (20." in shown
    assert "1,000" in shown
    assert "data/x [valid]" in shown
    assert "perplexity_low" not in shown
    assert "reset_documents" in shown
    assert " no " in shown


def test_an_astronomical_loss_is_still_a_card():
    values = json.loads(make_card(np.full(N, 1e3)).to_json())
    assert values["perplexity"] is values["perplexity_high"] is values["word_perplexity"] is None


def test_measurements_that_differ_have_files_of_their_own():
    cards = [make_card(), make_card(reset_documents=True), make_card(protocol="overlap-all")]
    assert len({(card.place, card.identity) for card in cards}) == 3


def _shown(card: EvaluationCard) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(card.table())
    return captured.get()

"""Every protocol against a loop written from its definition; the uniform model; documents; what is refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from hornbook.config.generate import EvalConfig
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import DataError
from hornbook.evaluation.perplexity import evaluate_perplexity
from hornbook.evaluation.token_reader import InMemory
from hornbook.evaluation.windows import Window, last_token_windows, overlapping_windows
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

PROTOCOLS = ("strided", "chunked", "exact", "last-token", "overlap-all")
VOCAB = 290


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat sat on the mat"], TokenizerConfig(vocab_size=VOCAB))


def make_model(vocab_size: int) -> Transformer:
    shape = {"context_length": 16, "d_model": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8}
    config = ModelConfig(vocab_size=vocab_size, d_ff=32, tie_embeddings=False, init="torch_default", **shape)
    return Transformer(config, seed=1).double()


@pytest.fixture(scope="module")
def model(tokenizer) -> Transformer:
    return make_model(tokenizer.vocab_size)


@pytest.fixture(scope="module")
def stream(tokenizer) -> InMemory:
    """Four documents of 40, 1, 30 and 12 tokens, each ended by end-of-text."""
    rng = np.random.default_rng(0)
    parts = [np.append(rng.integers(0, 256, size=n - 1), tokenizer.end_of_text_id) for n in (40, 1, 30, 12)]
    return InMemory(np.concatenate(parts), np.cumsum([0, 40, 1, 30]))


def card_of(model, tokenizer, stream, protocol, **changes):
    if protocol == "last-token":
        changes = {"last_token_batch": 1, **changes}
    return evaluate_perplexity(model, tokenizer, stream, EvalConfig(protocol=protocol, **changes), data="noise")


@torch.no_grad()
def nats_of(model, context, target) -> float:
    return -model(torch.tensor(np.asarray(context))[None])[0, -1].log_softmax(-1)[target].item()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("reset", [False, True])
def test_the_perplexity_of_a_uniform_model_is_its_vocabulary(tokenizer, stream, protocol, reset):
    uniform = make_model(tokenizer.vocab_size)
    with torch.no_grad():
        uniform.head.weight.zero_()
    card = card_of(uniform, tokenizer, stream, protocol, window=7, reset_documents=reset)
    assert card.perplexity == pytest.approx(tokenizer.vocab_size, rel=1e-12)
    assert card.standard_error == pytest.approx(0.0, abs=1e-12)
    low, high = card.nats_interval
    assert low == pytest.approx(high) == pytest.approx(math.log(tokenizer.vocab_size))


@pytest.mark.parametrize("batch", [1, 3])
def test_last_token_is_the_loop_of_its_source(model, tokenizer, stream, batch):
    """Windows of context + 1 tokens side by side, whole batches of them, the last token given all others."""
    context, tokens = 7, stream.tokens
    usable = len(tokens) // (batch * (context + 1)) * batch * (context + 1)
    windows = tokens[:usable].reshape(-1, context + 1)
    expected = [nats_of(model, window[:-1], window[-1]) for window in windows]
    card = card_of(model, tokenizer, stream, "last-token", window=context, last_token_batch=batch)
    assert card.tokens_scored == len(windows) == (10 if batch == 1 else 9)
    assert card.nats == pytest.approx(sum(expected), rel=1e-12)
    assert card.bytes_scored == sum(int(tokenizer.byte_lengths()[window[-1]]) for window in windows)
    assert "of each the last token alone is scored, with 7 tokens of context" in card.protocol


def test_overlap_all_counts_every_target_of_every_window(model, tokenizer, stream):
    """Windows of W + 1 tokens at 0, S, 2 S, ... while they fit, and one that ends with the text."""
    window, stride, tokens = 7, 3, stream.tokens
    starts = [start for start in range(0, len(tokens), stride) if start + window + 1 <= len(tokens)]
    starts += [] if starts[-1] + window + 1 == len(tokens) else [len(tokens) - window - 1]
    expected = [
        nats_of(model, tokens[start:target], tokens[target])
        for start in starts
        for target in range(start + 1, start + window + 1)
    ]
    card = card_of(model, tokenizer, stream, "overlap-all", window=window, stride=stride)
    assert card.tokens_scored == len(expected) > 2 * len(tokens)
    assert card.nats == pytest.approx(sum(expected), rel=1e-12)
    assert "count more than once" in card.protocol


@pytest.mark.parametrize("n", range(1, 12))
def test_every_overlapping_window_is_whole_and_the_last_ends_with_the_text(n):
    found = list(overlapping_windows(n, window=4, stride=3))
    assert all(at.length == at.scored == min(4, n - 1) for at in found)
    assert {target for at in found for target in range(at.start + 1, at.start + at.length + 1)} == set(range(1, n))


def test_last_token_windows_do_not_run_off():
    assert list(last_token_windows(10, window=4)) == [Window(0, 4, 1), Window(5, 4, 1)]
    assert list(last_token_windows(9, window=4)) == [Window(0, 4, 1)]
    assert list(last_token_windows(4, window=4)) == []


@pytest.mark.parametrize(("protocol", "same"), [("chunked", {"stride": 9}), ("exact", {"stride": 1})])
def test_chunked_and_exact_are_strided_at_its_ends(model, tokenizer, stream, protocol, same):
    named = card_of(model, tokenizer, stream, protocol, window=9)
    plain = card_of(model, tokenizer, stream, "strided", window=9, **same)
    assert (named.nats, named.stride, named.tokens_scored) == (plain.nats, plain.stride, plain.tokens_scored)
    assert named.protocol.startswith(protocol)


@pytest.mark.parametrize("stride", [2, 9])
def test_reset_documents_see_nothing_before_their_end_of_text(model, tokenizer, stream, stride):
    """Each document, behind the end-of-text token before it, is scored as if it were alone; the same tokens count."""
    tokens, starts = stream.tokens, [*stream.document_starts, stream.n_tokens]
    expected = 0.0
    for start, end in itertools.pairwise(starts):
        alone = InMemory(tokens[max(0, start - 1) : end])
        expected += card_of(model, None, alone, "strided", window=9, stride=stride).nats
    card = card_of(model, tokenizer, stream, "strided", window=9, stride=stride, reset_documents=True)
    assert card.nats == pytest.approx(expected, rel=1e-12)
    assert card.tokens_scored == stream.n_tokens - 1
    assert card.nats != card_of(model, tokenizer, stream, "strided", window=9, stride=stride).nats
    assert card.protocol.split(";")[1] == " context is reset between documents"


def test_without_end_of_text_first_tokens_have_no_context_and_are_not_scored(model, tokenizer, stream):
    unmarked = InMemory(stream.tokens % 256, stream.document_starts)
    card = card_of(model, tokenizer, unmarked, "strided", reset_documents=True)
    assert card.tokens_scored == stream.n_tokens - 4
    assert set(stream.document_starts) & set(card.scored.places) == set()


def test_no_whole_batch_is_an_error(model, tokenizer, stream):
    with pytest.raises(
        DataError, match=r"has 10 windows of 8 tokens .* batches of 64; score more text, or set last_to"
    ):
        card_of(model, tokenizer, stream, "last-token", window=7, last_token_batch=64)


@pytest.mark.parametrize("protocol", ["strided", "chunked", "exact", "overlap-all"])
def test_documents_of_a_token_each_leave_nothing_to_score(model, protocol):
    single = InMemory(np.arange(3), np.arange(3))
    with pytest.raises(DataError, match=r"leaves nothing to score: .* leave reset_documents out"):
        card_of(model, None, single, protocol, reset_documents=True)


@pytest.mark.parametrize(("level", "said"), [(0.95, "; 95% int"), (0.995, "; 99.5% int"), (0.999, "; 99.9% int")])
def test_levels_are_not_rounded(model, tokenizer, stream, level, said):
    assert said in card_of(model, tokenizer, stream, "strided", bootstrap={"level": level}).protocol


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"protocol": "exact", "stride": 2}, 'stride = 2 has no effect with protocol = "exact"'),
        ({"protocol": "last-token", "stride": 2}, "stride = 2 has no effect"),
        ({"last_token_batch": 2}, 'last_token_batch = 2 has no effect with protocol = "strided"'),
        ({"bootstrap": {"level": 1.0}}, "level"),
        ({"bootstrap": {"resamples": 99}}, "resamples"),
    ],
)
def test_settings_without_effect_or_sense_are_errors(settings, message):
    with pytest.raises(ValidationError, match=message):
        EvalConfig(**settings)

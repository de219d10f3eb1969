"""Which targets are scored with which context; closed forms; the window's limits; transformers' method."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data_paths import needs
from hornbook.config.generate import EvalConfig
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import ConfigError, DataError, GenerationError
from hornbook.evaluation.perplexity import evaluate_perplexity, score_windows
from hornbook.evaluation.token_reader import InMemory
from hornbook.evaluation.windows import plan_windows
from hornbook.interop.hf import load_hf_directory
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

VOCAB = 300


def make_model(**changes) -> Transformer:
    shape = {
        "vocab_size": VOCAB,
        "context_length": 16,
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 2,
        "n_kv_heads": 2,
        "head_dim": 8,
        "d_ff": 32,
        "tie_embeddings": False,
        "init": "torch_default",
    }
    return Transformer(ModelConfig(**{**shape, **changes}), seed=1).double()


@pytest.fixture(scope="module")
def model() -> Transformer:
    return make_model()


@pytest.fixture(scope="module")
def stream() -> InMemory:
    return InMemory(np.random.default_rng(0).integers(0, VOCAB, size=83))


class Namer:
    """A model whose surprise at each target, in nats, is the target's own number."""

    def __call__(self, tokens, *, targets, asked=None) -> TokenScores:
        assert torch.equal(tokens[:, 1:], targets[:, :-1])
        nll = targets.double() if asked is None else targets.double().where(asked, -1e9)
        return TokenScores(nll, nll, nll)


@given(n=st.integers(2, 60), window=st.integers(1, 20), data=st.data())
def test_every_target_once_with_the_promised_context(n, window, data):
    stride = data.draw(st.integers(1, window))
    plan = list(plan_windows(n, window=window, stride=stride))
    scored = []
    for at in plan:
        assert 1 <= at.scored <= at.length <= window
        targets = range(at.start + at.length - at.scored + 1, at.start + at.length + 1)
        scored += targets
        if at.start:
            assert targets[0] - at.start >= window - stride + 1
    assert scored == list(range(1, n))


def strided(score, stream, *, window, stride, n_tokens=None, batch_size=8):
    windows = list(plan_windows(n_tokens or stream.n_tokens, window=window, stride=stride))
    return score_windows(score, stream, windows, batch_size=batch_size)


@pytest.mark.parametrize(("window", "stride"), [(16, 16), (16, 8), (16, 1), (5, 3), (1, 1)])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_every_score_at_its_place(stream, window, stride, batch_size):
    """The surprise of a target is its own number: all but the first, each once, where it stands."""
    found = strided(Namer(), stream, window=window, stride=stride, batch_size=batch_size)
    assert found.places.tolist() == list(range(1, stream.n_tokens))
    assert found.nats.tolist() == stream.tokens[1:].tolist()


def test_max_tokens_scores_the_beginning(model, stream):
    card = evaluate_perplexity(model, None, stream, EvalConfig(max_tokens=10), data="noise")
    whole = evaluate_perplexity(model, None, InMemory(stream.tokens[:10]), EvalConfig(), data="noise")
    assert (card.tokens_scored, card.text_tokens, card.nats) == (9, 10, whole.nats)


@torch.no_grad()
def exact_nats(model, tokens, window) -> float:
    """Each target after the `window` tokens before it, or as many as there are: one forward a token."""
    total = 0.0
    for target in range(1, len(tokens)):
        context = torch.tensor(tokens[max(0, target - window) : target])[None]
        total -= model(context)[0, -1].log_softmax(-1)[tokens[target]].item()
    return total


@torch.no_grad()
def chunked_nats(model, tokens, window) -> float:
    total = 0.0
    for start in range(0, len(tokens) - 1, window):
        chunk = torch.tensor(tokens[start : start + window + 1])
        total += torch.nn.functional.cross_entropy(model(chunk[None, :-1])[0], chunk[1:], reduction="sum").item()
    return total


def test_stride_one_is_the_exact_loop(model, stream):
    ours = strided(model, stream, window=7, stride=1)
    assert ours.nats.sum() == pytest.approx(exact_nats(model, stream.tokens, 7), rel=1e-12)


def test_stride_window_is_the_chunked_one(model, stream):
    ours = strided(model, stream, window=7, stride=7)
    assert ours.nats.sum() == pytest.approx(chunked_nats(model, stream.tokens, 7), rel=1e-12)


def documented_nats(logits_of, tokens, window, stride) -> tuple[float, int]:
    """The loop of https://huggingface.co/docs/transformers/perplexity with max_length = window + 1: (nats, scored).

    Its windows overlap by one token more than theirs, so that stride = window loses no target to the shift of labels.
    """
    ids = torch.tensor(tokens)[None]
    nats, scored, previous_end = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + window + 1, ids.shape[1])
        labels = ids[:, begin:end].clone()
        labels[:, : -(end - previous_end)] = -100
        with torch.no_grad():
            logits = logits_of(ids[:, begin:end])[0, :-1]
        shifted = labels[0, 1:]
        nats += torch.nn.functional.cross_entropy(logits, shifted, ignore_index=-100, reduction="sum").item()
        scored += int((shifted != -100).sum())
        previous_end = end
        if end == ids.shape[1]:
            break
    return nats, scored


@pytest.mark.parametrize(("window", "stride"), [(15, 4), (15, 15), (10, 7)])
def test_equals_the_method_that_transformers_documents(model, stream, window, stride):
    nats, scored = documented_nats(model, stream.tokens, window, stride)
    ours = strided(model, stream, window=window, stride=stride)
    assert len(ours.nats) == scored
    assert ours.nats.sum() == pytest.approx(nats, rel=1e-12)


@pytest.mark.medium
@pytest.mark.parametrize("stride", [32, 64])
def test_a_real_model_has_the_same_perplexity_in_transformers(stride):
    """float32: an nll of a few nats is off by about 1e-6 in either, and the errors of 300 tokens mostly cancel."""
    transformers = pytest.importorskip("transformers")
    folder = needs("models/stories260K-hf")
    tokens = np.random.default_rng(1).integers(3, 512, size=300)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    nats, scored = documented_nats(lambda ids: theirs(ids).logits, tokens, 64, stride)
    ours, _ = load_hf_directory(folder)
    card = evaluate_perplexity(ours, None, InMemory(tokens), EvalConfig(window=64, stride=stride), data="noise")
    assert card.tokens_scored == scored
    assert card.nats == pytest.approx(nats, rel=1e-6)


def test_more_context_cannot_be_worse_where_context_tells_all():
    """A sanity check of direction: on a period that fits the window, only cold starts surprise a copying oracle."""

    class Copier:
        def __call__(self, tokens, *, targets, asked=None):
            nll = torch.full(targets.shape, math.log(VOCAB), dtype=torch.float64)
            nll[:, 4:] = 0.0  # it has seen the period of five
            return TokenScores(nll, nll, nll)

    periodic = InMemory(np.tile(np.arange(5), 20))
    nats = [strided(Copier(), periodic, window=16, stride=stride).nats.sum() for stride in (16, 8, 1)]
    assert nats[0] > nats[1] == nats[2] == pytest.approx(4 * math.log(VOCAB))


def test_batch_size_changes_nothing(model, stream):
    cards = [evaluate_perplexity(model, None, stream, EvalConfig(batch_size=size), data="noise") for size in (1, 4, 64)]
    assert [card.nats for card in cards[1:]] == pytest.approx([cards[0].nats] * 2, rel=1e-12)
    assert len({card.tokens_scored for card in cards}) == 1


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat sat on the mat"], TokenizerConfig(vocab_size=290))


TEXT = "the cat — über the mat " * 3


def test_bits_per_byte_is_of_the_texts_own_bytes(model, tokenizer):
    tokens = np.array([*tokenizer.encode(TEXT), tokenizer.end_of_text_id])
    card = evaluate_perplexity(model, tokenizer, InMemory(tokens), EvalConfig(window=16, stride=1), data="text")
    first = len(tokenizer.token_bytes(int(tokens[0])))
    assert card.bytes_scored == len(TEXT.encode()) - first  # end-of-text stands for no bytes
    assert card.tokens_scored == len(tokens) - 1
    nats = exact_nats(model, tokens, 16)
    assert card.bits_per_byte == pytest.approx(nats / math.log(2) / (len(TEXT.encode()) - first), rel=1e-12)
    assert card.tokenizer_fingerprint == tokenizer.fingerprint


def test_defaults_are_the_whole_context_and_half_of_it(model, stream):
    card = evaluate_perplexity(model, None, stream, EvalConfig(), data="noise")
    assert (card.window, card.stride) == (16, 8)


def test_dropout_is_off_and_the_mode_is_restored(stream):
    noisy = make_model(dropout=0.5).train()
    first, second = (evaluate_perplexity(noisy, None, stream, EvalConfig(), data="noise").nats for _ in range(2))
    assert first == second
    assert noisy.training


def test_progress_ends_at_all_tokens(model, stream):
    seen = []
    evaluate_perplexity(
        model, None, stream, EvalConfig(batch_size=3), data="noise", progress=lambda *at: seen.append(at)
    )
    assert seen[-1] == (82, 82)
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"window": 17}, "eval.window = 17 exceeds the model's context_length = 16"),
        ({"stride": 17}, "eval.stride = 17, expected 1 to eval.window = 16"),
    ],
)
def test_impossible_windows_are_errors(model, stream, config, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_perplexity(model, None, stream, EvalConfig(**config), data="noise")


@pytest.mark.parametrize("n", [0, 1])
def test_a_stream_without_a_target_is_an_error(model, n):
    with pytest.raises(DataError, match=f"has {n} tokens, expected at least 2"):
        evaluate_perplexity(model, None, InMemory(np.zeros(n, dtype=np.int64)), EvalConfig(), data="nothing")


def test_a_broken_model_is_an_error(stream):
    broken = make_model()
    with torch.no_grad():
        broken.norm.weight.fill_(float("nan"))
    with pytest.raises(GenerationError, match="NaN or infinity"):
        evaluate_perplexity(broken, None, stream, EvalConfig(), data="noise")

"""Bounds of streams and answers: against plain sums over windows, and independent of how they are computed."""

import copy
import functools
import math

import numpy as np
import pytest
import torch

from hornbook.config.bound import BoundConfig
from hornbook.config.generate import EvalConfig
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import ConfigError, DataError, GenerationError
from hornbook.evaluation.answer_bound import bound_answer, evaluate_answer
from hornbook.evaluation.diffusion_bound import bound_stream, draw_of, evaluate_bound
from hornbook.evaluation.mask_draws import every_mask, fixed_count
from hornbook.evaluation.noised_scorer import NoisedScorer, check_measure, noised_scorer
from hornbook.evaluation.token_reader import InMemory
from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

VOCAB, MASK = 11, 10
DIFFUSION = {"kind": "masked_diffusion"}
BLOCKS = {"kind": "block_diffusion", "block_length": 3}


def make_model(vocab_size: int = VOCAB) -> Transformer:
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8, "d_ff": 32}
    config = ModelConfig(**shape, vocab_size=vocab_size, context_length=8, tie_embeddings=False, init="torch_default")
    return Transformer(config, seed=1).double().eval()


@pytest.fixture(scope="module")
def model() -> Transformer:
    return make_model()


@pytest.fixture(scope="module")
def stream() -> InMemory:
    return InMemory(np.random.default_rng(0).integers(0, MASK, size=21))


@torch.no_grad()
def exact_nats(model, tokens, given: int) -> float:
    """Every set of hidden tokens by itself: (1 / (k C(n, k))) of its nll, k of n tokens hidden."""
    n, total = len(tokens) - given, 0.0
    clean = torch.from_numpy(tokens)
    for code in range(1, 2**n):
        hidden = torch.tensor([False] * given + [bool(code >> i & 1) for i in range(n)])
        nll = -model(torch.where(hidden, MASK, clean)[None], mask=FULL)[0].log_softmax(-1)
        k = int(hidden.sum())
        total += float(nll.gather(1, clean[:, None])[hidden].sum()) / k / math.comb(n, k)
    return total


@pytest.mark.parametrize(("window", "stride"), [(5, 5), (5, 2), (4, 1), (8, 3)])
@pytest.mark.parametrize("batch_size", [1, 7])
def test_a_stream_is_the_sum_of_its_windows_each_token_once(model, stream, window, stride, batch_size):
    found = bound_stream(
        NoisedScorer(model, MASK), stream, every_mask, window=window, stride=stride, batch_size=batch_size
    )
    assert found.tokens == 21
    assert found.window_nats[0] == pytest.approx(exact_nats(model, stream.tokens[:window], 0), rel=1e-12)
    first, scored = window, found.window_tokens[1:]
    for nats, own in zip(found.window_nats[1:], scored, strict=True):
        start = first + stride - window  # where it would begin were it whole
        assert nats == pytest.approx(exact_nats(model, stream.tokens[start : first + own], first - start), rel=1e-12)
        first += own
    assert first == 21


def test_the_batch_size_changes_nothing_and_the_seed_does(model, stream):
    def nats(batch_size: int, seed: int) -> np.ndarray:
        draw = functools.partial(fixed_count, draws=3)
        score = NoisedScorer(model, MASK)
        return bound_stream(score, stream, draw, window=8, stride=8, seed=seed, batch_size=batch_size).window_nats

    assert nats(1, 0) == pytest.approx(nats(5, 0), rel=1e-12)
    assert nats(1, 0) != pytest.approx(nats(1, 1))


def readings_of(stream, **settings):
    """(which tokens each reading hides, the rows of each batch, what progress heard, the score)."""
    hides, rows, heard = [], [], []

    class OneNatEach(NoisedScorer):
        def __init__(self):  # it has no model to ask
            pass

        def __call__(self, tokens, hidden):
            hides.extend(hidden.tolist())
            rows.append(len(hidden))
            return hidden.double()

    draw = functools.partial(fixed_count, draws=3)
    found = bound_stream(OneNatEach(), stream, draw, progress=lambda *done: heard.append(done), **settings)
    return hides, rows, heard, found


def test_every_window_has_masks_of_its_own_and_progress_is_told(stream):
    hides, rows, heard, _ = readings_of(stream, window=7, stride=5, batch_size=2)
    assert max(rows) == 2
    first, second, third = (hides[start : start + 3] for start in (0, 3, 6))
    assert first != second != third != first
    assert heard == [(7, 21), (12, 21), (17, 21), (21, 21)]


@pytest.mark.parametrize(("window", "stride"), [(5, 5), (5, 2), (30, 30)])
def test_bytes_are_those_of_the_measured_tokens(stream, window, stride):
    """In overlapping windows, and in a text that is shorter than one, each token counts once."""
    lengths = np.arange(VOCAB)
    *_, found = readings_of(stream, window=window, stride=stride, byte_lengths=lengths)
    assert found.bytes == lengths[stream.tokens].sum()
    assert found.nats == pytest.approx(21)  # a nat for every token
    assert (found.standard_error is None) == (window > 21)


def test_a_block_model_reads_finished_blocks_clean(model):
    """The nll of a hidden token equals that of a decoder's view: finished blocks, then its own, and nothing behind."""
    rng = np.random.default_rng(3)
    clean = torch.from_numpy(rng.integers(0, MASK, (2, 8)))
    hidden = torch.from_numpy(rng.random((2, 8)) < 0.5)
    noised = torch.where(hidden, MASK, clean)
    with torch.no_grad():
        found = NoisedScorer(model, MASK, block_length=3)(clean, hidden)
        for first in (0, 3, 6):
            seen = torch.cat((clean[:, :first], noised[:, first : first + 3]), dim=1)
            logits = model(seen, mask=AttentionMask("block_causal", block_length=3))
            nll = -logits.log_softmax(-1).gather(2, clean[:, : seen.shape[1], None])[..., 0]
            wanted = torch.where(hidden[:, first : first + 3], nll[:, first:], 0.0)
            torch.testing.assert_close(found[:, first : first + 3], wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("block_length", [None, 3])
def test_on_a_gpu_it_is_the_same_number(model, stream, block_length):
    nats = [
        bound_stream(
            NoisedScorer(own, MASK, block_length),
            stream,
            draw_of(BoundConfig(draws=4), block_length),
            window=8,
            stride=8,
        ).nats
        for own in (model, copy.deepcopy(model).cuda())
    ]
    assert nats[1] == pytest.approx(nats[0], rel=1e-9)


def test_the_prompt_of_an_answer_stays_visible(model):
    tokens = np.array([3, 1, 4, 1, 5])
    nats, _ = bound_answer(NoisedScorer(model, MASK), tokens[:3].tolist(), [1, 5], every_mask)
    assert nats == pytest.approx(exact_nats(model, tokens, 3), rel=1e-12)


def test_the_standard_error_of_an_answer(model):
    """The spread of sixteen draws is that of many independent estimates, or more: they are spread evenly."""
    draw = functools.partial(fixed_count, draws=16)
    found = [bound_answer(NoisedScorer(model, MASK), [3], [1, 4, 1, 5, 9, 2], draw, seed=seed) for seed in range(60)]
    spread = np.std([nats for nats, _ in found], ddof=1)
    said = np.mean([error for _, error in found])
    assert 0.7 * spread < said < 4 * spread
    one = functools.partial(fixed_count, draws=1)
    assert bound_answer(NoisedScorer(model, MASK), [3], [1], one)[1] is None


def test_a_uniform_model_is_as_surprised_as_its_vocabulary_says(stream):
    uniform = make_model()
    with torch.no_grad():
        uniform.head.weight.zero_()
    for draw in (every_mask, functools.partial(fixed_count, draws=4)):
        found = bound_stream(NoisedScorer(uniform, MASK), stream, draw, window=7, stride=7)
        assert found.nats / found.tokens == pytest.approx(math.log(VOCAB), rel=1e-12)
        assert found.standard_error == pytest.approx(0.0, abs=1e-9)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["to be or not to be"], TokenizerConfig(vocab_size=280))


@pytest.mark.parametrize("objective", [DIFFUSION, BLOCKS, {"kind": "joint"}])
def test_the_card(tokenizer, objective):
    model = make_model(tokenizer.vocab_size)
    tokens = np.array(tokenizer.encode("to be or not to be, that is the question"))
    config = EvalConfig(bound=BoundConfig(draws=4), max_tokens=20)
    card = evaluate_bound(model, tokenizer, InMemory(tokens), config, objective=objective, data="Hamlet")
    values = card.values()
    assert (card.tokens_scored, card.n_units, card.prompt_tokens) == (20, 3, None)
    assert card.bytes_scored == len(tokenizer.decode(tokens[:20].tolist()).encode())
    assert values["perplexity_at_most"] == pytest.approx(math.exp(card.nats / 20))
    assert values["perplexity_at_most_low"] < values["perplexity_at_most"] < values["perplexity_at_most_high"]
    assert values["bits_per_byte_at_most"] == pytest.approx(card.nats / math.log(2) / card.bytes_scored)
    assert "perplexity" not in values
    for words in ("upper bound", "4 readings of the window", "starts cold", "windows of 8 tokens"):
        assert words in card.protocol
    assert ("block of 3" in card.protocol) == (objective is BLOCKS)
    assert ("diffusion side" in card.protocol) == (objective["kind"] == "joint")


def test_the_settings_reach_the_readings(tokenizer):
    model, rows = make_model(tokenizer.vocab_size), []
    model.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    tokens = InMemory(np.array(tokenizer.encode("to be or not to be, that is the question")))

    def measure(**settings):
        config = EvalConfig(batch_size=3, window=4, bound=BoundConfig(**settings))
        return evaluate_bound(model, tokenizer, tokens, config, objective=DIFFUSION, data="Hamlet")

    first, again, other = measure(), measure(seed=0), measure(seed=1)
    assert max(rows) == 3
    assert (first.nats, first.draws, first.seed) == (again.nats, 16, 0)
    assert other.nats != first.nats
    exact = measure(estimator="exact")
    assert (exact.draws, exact.seed) == (None, None)
    assert "enumerated" in exact.protocol


def test_the_card_of_an_answer(tokenizer):
    model = make_model(tokenizer.vocab_size)
    config = EvalConfig(bound=BoundConfig(prompt="to be", answer=" or not"))
    card = evaluate_answer(model, tokenizer, config, objective=DIFFUSION)
    n = len(tokenizer.encode(" or not"))
    assert (card.tokens_scored, card.bytes_scored) == (n, 7)
    assert n > 1
    assert "' or not' after 'to be'" in card.data
    assert f"{n} tokens of an answer after {len(tokenizer.encode('to be'))} visible ones" in card.protocol
    assert "16 readings of the answer" in card.protocol
    assert "window" not in card.protocol
    assert card.n_units == 16  # draws: nothing else is independent here
    draw = functools.partial(fixed_count, draws=16)
    score = NoisedScorer(model, tokenizer.mask_id)
    nats, error = bound_answer(score, tokenizer.encode("to be"), tokenizer.encode(" or not"), draw)
    assert (card.nats, card.standard_error) == pytest.approx((nats, error / n))
    exact = EvalConfig(bound=BoundConfig(prompt="to be", answer=" or", estimator="exact"))
    sure = evaluate_answer(model, tokenizer, exact, objective=DIFFUSION)
    assert (sure.standard_error, sure.draws, sure.seed) == (None, None, None)
    assert "standard error" in card.protocol
    assert "standard error" not in sure.protocol
    long = EvalConfig(bound=BoundConfig(prompt="to be or not to be", answer="zzzzzzzz"))
    with pytest.raises(ConfigError, match="context_length is 8"):
        evaluate_answer(model, tokenizer, long, objective=DIFFUSION)


@pytest.mark.parametrize(
    ("measure", "objective", "advice"),
    [
        ("bound", {"kind": "next_token"}, "use `hornbook eval perplexity`"),
        ("perplexity", DIFFUSION, "use `hornbook eval bound`"),
        ("perplexity", BLOCKS, "use `hornbook eval bound`"),
    ],
)
def test_a_measure_that_the_model_does_not_have_is_refused(measure, objective, advice):
    with pytest.raises(ConfigError, match=advice):
        check_measure(measure, objective)


def test_a_joint_model_has_both():
    for measure in ("bound", "perplexity"):
        check_measure(measure, {"kind": "joint"})


def test_the_mode_of_the_model_is_restored(model, tokenizer):
    model.train()
    with noised_scorer(model, tokenizer, DIFFUSION):
        assert not model.training
    assert model.training
    model.eval()


def test_refusals(model, stream, tokenizer):
    measure = functools.partial(bound_stream, NoisedScorer(model, MASK), draw=every_mask)
    with pytest.raises(ConfigError, match="stride"):
        measure(stream, window=4, stride=5)
    with pytest.raises(DataError, match="no tokens"):
        measure(InMemory(np.empty(0, dtype=np.int64)), window=4, stride=4)
    with pytest.raises(ConfigError, match="at most 12"):
        bound_stream(NoisedScorer(model, MASK), InMemory(np.ones(13, int)), every_mask, window=13, stride=13)
    broken = make_model()
    with torch.no_grad():
        broken.head.weight.fill_(math.nan)
    with pytest.raises(GenerationError, match="NaN"):
        bound_stream(NoisedScorer(broken, MASK), stream, every_mask, window=4, stride=4)
    maskless = Tokenizer.train(["ab"], TokenizerConfig(vocab_size=258, special_tokens="none"))
    with pytest.raises(ConfigError, match="no mask token"):
        evaluate_bound(make_model(300), maskless, stream, EvalConfig(), objective=DIFFUSION, data="x")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bound": {"estimator": "exact", "draws": 4}}, "draws = 4 has no effect"),
        ({"bound": {"estimator": "exact", "seed": 0}}, "seed = 0 has no effect"),
        ({"bound": {"prompt": "a"}}, "prompt has no effect without answer"),
        ({"bound": {"answer": ""}}, "answer is empty"),
        ({"bound": {"answer": "a"}, "stride": 3}, "so stride has no effect"),
    ],
)
def test_settings_that_would_have_no_effect(settings, message):
    with pytest.raises(ValueError, match=message):
        EvalConfig.model_validate(settings)


def test_draw_of_reads_the_settings():
    hideable = np.ones(6, dtype=bool)
    rng = np.random.default_rng(0)
    assert draw_of(BoundConfig(), None)(hideable, rng).shape == (16, 6)
    assert draw_of(BoundConfig(draws=3, estimator="bernoulli"), None)(hideable, rng).shape == (3, 6)
    assert draw_of(BoundConfig(estimator="exact"), 2)(hideable, rng).shape == (3, 6)

"""Decoding: cached equals uncached equals a loop written from the definition, in a batch and past the context."""

import json

import pytest
import torch

from data_paths import needs
from hornbook.config.generate import SamplingConfig
from hornbook.errors import GenerationError
from hornbook.generation.autoregressive import Autoregressive
from hornbook.generation.decoder import NO_TOKEN
from hornbook.generation.filters import choose
from hornbook.generation.noise import row_noise
from hornbook.interop.hf import load_hf_directory

PROMPTS = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
SEEDS = [0, 1, 2]
WARM = SamplingConfig(temperature=1.0, repetition_penalty=1.2)
GREEDY = SamplingConfig(temperature=0.0)


def decode(model, prompts, seeds, *, sampling=WARM, new=8, stop_ids=(), **settings):
    """(tokens, reason) of each row."""
    rows = [[] for _ in prompts]
    reasons = []
    decoder = Autoregressive(sampling, **settings)
    for chunk in decoder(model, prompts, max_new_tokens=new, stop_ids=stop_ids, seeds=seeds):
        assert chunk.tokens.shape == chunk.logprobs.shape == (len(prompts), 1)
        assert chunk.finished.tolist() == [reason is not None for reason in chunk.reasons]
        for row, token in zip(rows, chunk.tokens[:, 0].tolist(), strict=True):
            if token != NO_TOKEN:
                row.append(token)
        reasons = list(chunk.reasons)
    return list(zip(rows, reasons, strict=True))


@torch.no_grad()
def by_definition(model, prompt, seed, *, sampling=WARM, new=8, slide=False):
    """One row, every token from a full forward over the window that the context rules name."""
    context, tokens, start = (
        model.config.context_length,
        list(prompt),
        max(0, len(prompt) - model.config.context_length),
    )
    for _ in range(new):
        if len(tokens) - start > context:
            if not slide:
                break
            start = len(tokens) - context // 2
        logits = model(torch.tensor([tokens[start:]]))[:, -1]
        seen = torch.zeros_like(logits, dtype=torch.bool)
        seen[0, tokens] = True
        tokens.append(int(choose(logits, seen, row_noise([seed], [len(tokens)]), sampling)))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("sampling", [WARM, GREEDY, SamplingConfig(temperature=1.3, top_k=9, top_p=0.9, min_p=0.01)])
def test_a_ragged_batch_equals_the_definition_row_by_row(model, cache, sampling):
    batch = decode(model, PROMPTS, SEEDS, sampling=sampling, cache=cache)
    for (tokens, reason), prompt, seed in zip(batch, PROMPTS, SEEDS, strict=True):
        assert tokens == by_definition(model, prompt, seed, sampling=sampling)
        assert reason == "length"


@pytest.mark.parametrize("cache", [True, False])
def test_sliding_equals_the_definition_for_every_position_kind(model, cache):
    """Rows of a batch slide at different steps, several times, and one starts beyond the context."""
    prompts = [*PROMPTS, list(range(20))]
    batch = decode(model, prompts, [*SEEDS, 3], new=30, cache=cache, context_overflow="slide")
    for (tokens, reason), prompt, seed in zip(batch, prompts, [*SEEDS, 3], strict=True):
        assert tokens == by_definition(model, prompt, seed, new=30, slide=True)
        assert (len(tokens), reason) == (30, "length")


def test_positions_of_a_slid_window_matter(model):
    """Without re-reading, stale positions would be seen by three of the four kinds: the tests above can fail."""
    window = torch.arange(6)[None]
    with torch.no_grad():
        moved = model(window, positions=torch.arange(6)[None] + 5)
    assert torch.allclose(moved, model(window)) == (model.config.position in ("none", "rotary"))


@pytest.mark.parametrize("cache", [True, False])
def test_stop_ends_at_the_context_with_one_token_beyond_the_last_read(rotary_model, cache):
    full = rotary_model.config.context_length
    [(long, why), (short, _)] = decode(rotary_model, [[1] * full, [2] * (full - 3)], [0, 0], new=50, cache=cache)
    assert (len(long), why, len(short)) == (1, "length", 4)


def test_a_row_does_not_depend_on_its_batch_or_place(rotary_model):
    alone = [decode(rotary_model, [prompt], [seed])[0] for prompt, seed in zip(PROMPTS, SEEDS, strict=True)]
    assert decode(rotary_model, PROMPTS[::-1], SEEDS[::-1]) == alone[::-1]


def test_the_same_seed_repeats_and_another_does_not(rotary_model):
    first, again, other = (decode(rotary_model, [[1, 2]], [seed]) for seed in (5, 5, 6))
    assert first == again != other


def test_continuing_an_output_with_its_seed_continues_the_text(rotary_model):
    [(whole, _)] = decode(rotary_model, [[1, 2]], [5])
    assert decode(rotary_model, [[1, 2, *whole[:3]]], [5], new=5) == [(whole[3:], "length")]


@pytest.mark.parametrize("cache", [True, False])
def test_stop_ids_end_their_row_alone(rotary_model, cache):
    free = [tokens for tokens, _ in decode(rotary_model, PROMPTS, SEEDS)]
    stop = free[0][2]
    for (tokens, reason), unstopped in zip(
        decode(rotary_model, PROMPTS, SEEDS, stop_ids=[stop], cache=cache), free, strict=True
    ):
        at = unstopped.index(stop) + 1 if stop in unstopped else len(unstopped)
        assert (tokens, reason) == (unstopped[:at], "stop" if stop in unstopped else "length")


def test_logprobs_are_the_models_own(rotary_model):
    decoder = Autoregressive(SamplingConfig(temperature=0.5, top_k=3))
    chunk = next(iter(decoder(rotary_model, [[1, 2]], max_new_tokens=1, stop_ids=(), seeds=[0])))
    expected = rotary_model(torch.tensor([[1, 2]]))[0, -1].log_softmax(-1)[chunk.tokens[0, 0]]
    assert chunk.logprobs[0, 0].item() == pytest.approx(expected.item(), rel=1e-6)


def test_ids_beyond_the_tokenizer_are_never_drawn(rotary_model):
    assert max(decode(rotary_model, [[1]], [0], sampling=SamplingConfig(temperature=5.0), new=11)[0][0]) >= 8
    assert max(decode(rotary_model, [[1]], [0], sampling=SamplingConfig(temperature=5.0), vocab_size=8)[0][0]) < 8
    unused = {*range(8), 9}
    drawn = decode(rotary_model, [[1]], [0], sampling=SamplingConfig(temperature=5.0), new=11, unused_ids=unused)[0][0]
    assert unused.isdisjoint(drawn)
    assert 9 < max(drawn) < 31
    greedy = SamplingConfig(temperature=0.0)
    free = decode(rotary_model, [[1]], [0], sampling=greedy, new=11)
    others = set(range(31)) - set(free[0][0])
    assert decode(rotary_model, [[1]], [0], sampling=greedy, new=11, unused_ids=others) == free


def test_dropout_is_off_and_the_mode_is_restored(rotary_model):
    rotary_model.train()
    chunks = Autoregressive(WARM)(rotary_model, [[1]], max_new_tokens=3, stop_ids=(), seeds=[0])
    next(chunks)
    assert not rotary_model.training
    chunks.close()
    assert rotary_model.training


@pytest.mark.parametrize(
    ("prompt", "new", "overflow", "message"),
    [
        ([1] * 13, 1, "stop", "13 tokens, more than the model's context_length = 12"),
        ([1] * 13, 1, "error", "shorten it"),
        ([1] * 10, 4, "error", "the largest that fits is 3"),
        ([], 1, "stop", "holds no tokens"),
        ([31], 1, "stop", "expected 0 to 30"),
        ([-1], 1, "slide", "ids -1 to -1"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(rotary_model, prompt, new, overflow, message):
    decoder = Autoregressive(WARM, context_overflow=overflow)
    with pytest.raises(GenerationError, match=message):
        decoder(rotary_model, [[1], prompt], max_new_tokens=new, stop_ids=(), seeds=[0, 0])


def test_error_takes_what_just_fits(rotary_model):
    [(tokens, _)] = decode(rotary_model, [[1] * 10], [0], new=3, context_overflow="error")
    assert len(tokens) == 3


def test_a_broken_model_is_an_error(rotary_model):
    weight = rotary_model.norm.weight
    before = weight.detach().clone()
    with torch.no_grad():
        weight[0] = float("nan")
    try:
        with pytest.raises(GenerationError, match="NaN or infinity"):
            decode(rotary_model, PROMPTS, SEEDS)
    finally:
        with torch.no_grad():
            weight.copy_(before)


@pytest.mark.parametrize("cache", [True, False])
def test_a_real_model_says_what_its_reference_says(cache):
    folder = needs("models/stories260K-hf")
    model, _ = load_hf_directory(folder)
    expected = json.loads((folder / "reference.json").read_text(encoding="utf-8"))["greedy_from_bos_ids"]
    [(tokens, _)] = decode(model, [expected[:1]], [0], sampling=GREEDY, new=len(expected) - 1, cache=cache)
    assert tokens == expected[1:]

"""Searched and guessed texts of a real model: from settings to strings."""

from pathlib import Path

import pytest

from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation.n_best import search_texts
from hornbook.generation.text import generate_text, stream_text
from hornbook.models.transformer import Transformer
from tiny_checkpoint import tiny_config, tiny_tokenizer

PROMPTS = ["to be or not to be or", "be", ""]


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer(_shape(), seed=5).double().eval()


@pytest.fixture(scope="module")
def other() -> Transformer:
    """Another model, of a shorter context."""
    return Transformer(_shape(context_length=24, n_layers=1), seed=6).double().eval()


def _shape(**changes: object):
    shape = {"vocab_size": 288, "context_length": 64, "tie_embeddings": False, "init": "torch_default"}
    return tiny_config(**{**shape, **changes})


def config(**settings: object) -> GenerateConfig:
    return GenerateConfig.model_validate({"max_new_tokens": 20, **settings})


def test_a_beam_of_one_is_greedy_and_streams_whole(model):
    beam = config(strategy="beam", beam={"width": 1})
    found = generate_text(model, tiny_tokenizer(), PROMPTS, beam)
    greedy = generate_text(model, tiny_tokenizer(), PROMPTS, config(temperature=0.0))
    assert [(each.tokens, each.text, each.finish_reason) for each in found] == [
        (each.tokens, each.text, each.finish_reason) for each in greedy
    ]
    for each, other in zip(found, greedy, strict=True):
        assert each.logprobs == pytest.approx(other.logprobs, abs=1e-5)
    assert "".join(stream_text(model, tiny_tokenizer(), PROMPTS[0], beam)) == greedy[0].text


def test_the_n_best_are_ranked_and_the_first_is_the_decoders(model):
    beam = config(strategy="beam", beam={"width": 4, "length_penalty": 0.6}, max_new_tokens=6)
    found = list(search_texts(model, tiny_tokenizer(), PROMPTS, beam, n_best=4))
    for best in found:
        assert [each.rank for each in best] == [1, 2, 3, 4]
        assert [each.score for each in best] == sorted((each.score for each in best), reverse=True)
        assert len({each.generation.tokens for each in best}) == 4
        for each in best:
            length = len(each.generation.tokens)
            assert each.score == pytest.approx(sum(each.generation.logprobs) / ((5 + length) / 6) ** 0.6, rel=1e-6)
    alone = generate_text(model, tiny_tokenizer(), PROMPTS, beam)
    assert [best[0].generation.text for best in found] == [each.text for each in alone]


def test_a_beam_stops_at_a_stop_string(model):
    small = {"beam": {"width": 3}, "max_new_tokens": 8}
    free = list(search_texts(model, tiny_tokenizer(), PROMPTS[:1], config(strategy="beam", **small), n_best=1))
    stop = free[0][0].generation.text[1:3]
    [best] = search_texts(
        model, tiny_tokenizer(), PROMPTS[:1], config(strategy="beam", stop=(stop,), **small), n_best=3
    )
    stopped = [each.generation for each in best if each.generation.finish_reason == "stop"]
    assert stopped
    assert all(stop not in each.text for each in stopped)
    assert all(stop in tiny_tokenizer().decode(each.tokens) for each in stopped)


@pytest.mark.parametrize("sampling", [{"temperature": 0.0}, {"top_k": 8, "repetition_penalty": 1.1}])
@pytest.mark.parametrize("overflow", ["stop", "slide"])
def test_lookup_gives_the_plain_text(model, sampling, overflow):
    settings = {**sampling, "context_overflow": overflow, "max_new_tokens": 70}
    seeds = [0, 1, 2]
    expected = generate_text(model, tiny_tokenizer(), PROMPTS, config(**settings), seeds=seeds)
    for n in (1, 2):
        found = generate_text(model, tiny_tokenizer(), PROMPTS, config(**settings, draft={"lookup": n}), seeds=seeds)
        assert [each.tokens for each in found] == [each.tokens for each in expected]
        assert [each.finish_reason for each in found] == [each.finish_reason for each in expected]
        assert all(0 <= each.accepted <= each.guessed for each in found)
        assert any(each.guessed for each in found)
        for each, plain in zip(found, expected, strict=True):
            assert each.logprobs == pytest.approx(plain.logprobs, abs=1e-5)


def test_greedy_with_a_draft_model_gives_the_plain_text(model, other, tmp_path):
    expected = generate_text(model, tiny_tokenizer(), PROMPTS, config(temperature=0.0))
    drafted = config(temperature=0.0, draft={"checkpoint": tmp_path, "tokens": 3})
    found = generate_text(model, tiny_tokenizer(), PROMPTS, drafted, draft=other)
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    own = generate_text(model, tiny_tokenizer(), PROMPTS, drafted, draft=model)
    assert [each.tokens for each in own] == [each.tokens for each in expected]
    assert all(each.accepted == each.guessed > 0 for each in own)


def test_sampling_with_a_draft_model_repeats_itself_and_not_its_batch(model, other, tmp_path):
    drafted = config(draft={"checkpoint": tmp_path})
    together = generate_text(model, tiny_tokenizer(), PROMPTS, drafted, draft=other, seeds=[3, 4, 5])
    for prompt, seed, expected in zip(PROMPTS, [3, 4, 5], together, strict=True):
        [alone] = generate_text(model, tiny_tokenizer(), [prompt], drafted, draft=other, seeds=[seed])
        assert (alone.tokens, alone.guessed, alone.accepted) == (expected.tokens, expected.guessed, expected.accepted)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "beam", "temperature": 0.5}, "temperature has no effect"),
        ({"strategy": "beam", "seed": 1}, "seed has no effect"),
        ({"strategy": "beam", "cache": False}, "cache has no effect"),
        ({"strategy": "beam", "draft": {"lookup": 2}}, "draft.lookup has no effect"),
        ({"strategy": "beam", "context_overflow": "slide"}, "beams cannot slide"),
        ({"beam": {"width": 3}}, "beam.width has no effect"),
        ({"draft": {"tokens": 3}}, "nothing guesses"),
        ({"draft": {"lookup": 3, "checkpoint": Path("x")}}, "set one of them"),
        ({"draft": {"lookup": 3}, "cache": False}, "KV cache"),
        ({"draft": {"lookup": 3}, "decoder": "diffusion"}, 'decoder = "diffusion"'),
    ],
)
def test_settings_without_an_effect_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_what_a_model_or_a_caller_cannot_do_is_refused(model, tmp_path):
    diffusion = {"kind": "masked_diffusion"}
    for settings in ({"strategy": "beam"}, {"draft": {"lookup": 2}}):
        with pytest.raises(GenerationError, match="of the autoregressive decoder"):
            generate_text(model, tiny_tokenizer(), PROMPTS, config(**settings), objective=diffusion)
    with pytest.raises(GenerationError, match="is not read here"):
        generate_text(model, tiny_tokenizer(), PROMPTS, config(draft={"checkpoint": tmp_path}))
    with pytest.raises(GenerationError, match="width = 2 keeps fewer"):
        search_texts(model, tiny_tokenizer(), PROMPTS, config(strategy="beam", beam={"width": 2}), n_best=3)
    with pytest.raises(GenerationError, match='strategy = "beam"'):
        search_texts(model, tiny_tokenizer(), PROMPTS, config(), n_best=3)

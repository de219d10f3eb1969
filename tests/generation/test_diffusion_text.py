"""Diffusion decoders from prompts to text: streams, holes, what a cache changes, and the picture of a step."""

import math
import re

import pytest
import torch
from rich.console import Console

from hornbook.config.generate import DenoisingConfig, GenerateConfig
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import GenerationError
from hornbook.generation import animation
from hornbook.generation.denoising import DenoiseStep
from hornbook.generation.divergence import measure_divergence, path_nll
from hornbook.generation.infill import encode_template, infill_text
from hornbook.generation.text import generate_text, stream_text
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.special_tokens import SpecialTokens, Template
from hornbook.tokenizer.tokenizer import Tokenizer

MASKED, CAUSAL = {"kind": "masked_diffusion"}, {"kind": "block_diffusion", "block_length": 4}
PROMPTS = ["the cat", "", "a dog — über"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat sat on the mat, the dog ate the cat's hat"], TokenizerConfig(vocab_size=290))


@pytest.fixture(scope="module")
def model(tokenizer) -> Transformer:
    shape = {"context_length": 32, "d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8}
    config = ModelConfig(**shape, vocab_size=tokenizer.vocab_size, d_ff=32, tie_embeddings=False, init="torch_default")
    return Transformer(config, seed=0).double()


def settings(**denoising) -> GenerateConfig:
    return GenerateConfig(temperature=1.0, max_new_tokens=10, diffusion=DenoisingConfig(**denoising))


@pytest.mark.parametrize("objective", [MASKED, CAUSAL])
def test_a_stream_joins_to_the_text_of_a_batch(model, tokenizer, objective):
    together = generate_text(model, tokenizer, PROMPTS, settings(), objective=objective)
    for result, prompt in zip(together, PROMPTS, strict=True):
        stream = stream_text(model, tokenizer, prompt, settings(), objective=objective)
        assert "".join(stream) == result.text == tokenizer.decode(result.tokens, skip_special=True)
        assert stream.generation.tokens == result.tokens
        assert len(result.logprobs) == len(result.tokens)
        assert tokenizer.mask_id not in result.tokens


def test_a_stop_string_inside_a_block(model, tokenizer):
    [free] = generate_text(model, tokenizer, ["the"], settings(), objective=MASKED)
    stop = free.text[2:4]
    config = GenerateConfig(temperature=1.0, max_new_tokens=10, stop=(stop,))
    [stopped] = generate_text(model, tokenizer, ["the"], config, objective=MASKED)
    assert stopped.text == free.text[: free.text.index(stop)]
    assert stopped.finish_reason == "stop"


def test_a_template_is_text_and_holes(tokenizer):
    assert encode_template(tokenizer, "the<|mask:3|> cat<|mask|>") == [
        *tokenizer.encode("the"), None, None, None, *tokenizer.encode(" cat"), None,
    ]  # fmt: skip
    assert encode_template(tokenizer, "<|mask|>") == [None]
    assert encode_template(tokenizer, "<|endoftext|>") == tokenizer.encode("<|endoftext|>")


@pytest.mark.parametrize(
    ("hole", "shown"),
    [
        ("<|mask:0|>",) * 2,
        ("<|mask:|>",) * 2,
        ("<|mask: 3|>",) * 2,
        ("<|mask:-3|>",) * 2,
        ("<|mask:²|>",) * 2,
        ("<|mask:1000000|>",) * 2,
        ("<|mask:" + "9" * 5000 + "|>", "<|mask:999"),
    ],
)
def test_a_hole_says_how_many_tokens_are_missing(tokenizer, hole, shown):
    with pytest.raises(GenerationError, match=f"^{re.escape(shown)}.* is no hole"):
        encode_template(tokenizer, f"a<|mask:2|>{hole}b")


def test_a_hole_at_the_start_stands_behind_what_every_text_begins_with(tokenizer):
    template = Template(before=("<|pad|>",), after=("<|endoftext|>",))
    begins = Tokenizer(tokenizer.scheme, SpecialTokens(tokenizer.special_tokens, template=template))
    assert encode_template(begins, "<|mask|> cat<|mask|>") == [begins.pad_id, None, *begins.encode(" cat"), None]


def test_holes_are_filled_and_the_rest_stays(model, tokenizer):
    results = infill_text(
        model, tokenizer, ["the<|mask:3|> cat", "<|mask:2|> dog<|mask|>"], settings(), objective=MASKED, seeds=[1, 2]
    )
    for result, ends, count in zip(results, [("the", " cat"), ("", "")], (3, 3), strict=True):
        assert result.text.startswith(ends[0])
        assert result.text.endswith(ends[1])
        assert len(result.tokens) == count == len(result.logprobs)
        assert not set(result.tokens) & set(tokenizer.special_tokens.values())
    assert " dog" in results[1].text
    [alone] = infill_text(model, tokenizer, ["<|mask:2|> dog<|mask|>"], settings(), objective=MASKED, seeds=[2])
    assert alone.tokens == results[1].tokens


def test_a_hole_gets_no_special_tokens(model, tokenizer):
    """Though they are all that the model wants."""
    eager = Transformer(model.config, seed=0).double()
    eager.head = torch.nn.Linear(model.config.d_model, tokenizer.vocab_size).double()
    with torch.no_grad():
        eager.head.bias[list(tokenizer.special_tokens.values())] = 50.0
    [result] = infill_text(eager, tokenizer, ["the<|mask:3|> cat"], settings(), objective=MASKED)
    assert not set(result.tokens) & set(tokenizer.special_tokens.values())


def test_only_a_model_that_sees_both_sides_fills_holes(model, tokenizer):
    for objective, message in (({"kind": "next_token"}, "sees both sides"), (CAUSAL, "cannot fill holes")):
        with pytest.raises(GenerationError, match=message):
            infill_text(model, tokenizer, ["a<|mask|>"], settings(), objective=objective)


def test_an_exact_cache_changes_nothing(model, tokenizer):
    found = measure_divergence(model, tokenizer, PROMPTS, settings(cache="prefix"), objective=CAUSAL)
    assert found.agreement == 1.0
    assert found.nll == pytest.approx(found.exact_nll, rel=1e-9)
    assert "100.0% of tokens agree" in found.words


def test_an_approximate_cache_changes_ids_and_nll(model, tokenizer):
    config = GenerateConfig(
        temperature=0.0, max_new_tokens=20, diffusion=DenoisingConfig(block_length=20, cache="dual")
    )
    found = measure_divergence(model, tokenizer, ["the", "a", "cat", "dog"], config, objective=MASKED)
    assert found.agreement < 1.0
    assert found.nll != found.exact_nll
    assert min(found.tokens_per_second, found.exact_tokens_per_second) > 0


@pytest.mark.parametrize("objective", [MASKED, CAUSAL])
def test_the_nll_of_the_exact_path_is_that_of_its_own_steps(model, tokenizer, objective):
    steps = []
    generate_text(model, tokenizer, PROMPTS[:1], settings(cache="none"), objective=objective, on_step=steps.append)
    nll = path_nll(model, steps, tokenizer, causal_block_length=objective.get("block_length"))
    own = [-math.log(confidence) for step in steps for confidence in step.confidences]  # low_confidence: probabilities
    assert nll == pytest.approx(sum(own) / len(own), rel=1e-9)


def test_there_must_be_a_cache_to_compare(model, tokenizer):
    with pytest.raises(GenerationError, match="without a cache"):
        measure_divergence(model, tokenizer, PROMPTS, settings(), objective=MASKED)


def test_the_animation_shows_masks_that_become_text(model, tokenizer, monkeypatch):
    monkeypatch.setattr(animation, "SECONDS_A_FRAME", 0.0)
    steps = []
    generate_text(model, tokenizer, ["the cat"], settings(), objective=MASKED, on_step=steps.append)
    first, last = (animation.picture(tokenizer, steps[i]).plain for i in (0, -1))
    assert first.count(animation.MASK) == 9
    assert "9 of" in first
    assert animation.MASK not in last
    assert "the cat" in last
    console = Console(force_terminal=True, width=80, record=True)
    with animation.DenoisingAnimation(tokenizer, console=console) as show:
        for step in steps:
            show(step)


def test_a_text_taller_than_the_terminal_is_shown_where_it_changes(monkeypatch, capsys):
    monkeypatch.setattr(animation, "SECONDS_A_FRAME", 0.0)
    text = Tokenizer.train(["x"], TokenizerConfig(vocab_size=290))
    for prompt, after in ((400, 400), (400, 0), (0, 400), (5, 5)):
        row = [*text.encode("." * prompt), *text.encode("!"), *[None] * after]
        step = DenoiseStep(
            row=0, step=0, positions=(prompt,), tokens=(row[prompt],), confidences=(1.0,), row_tokens=tuple(row)
        )
        console = Console(force_terminal=True, width=20, height=10)
        with animation.DenoisingAnimation(text, console=console) as show:
            show(step)
        shown = capsys.readouterr().out
        assert "step 1" in shown
        assert "!" in shown
        assert shown.count("\n") < 20  # the last picture is drawn twice


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("cache", ["none", "prefix", "dual", "delayed"])
def test_a_gpu_gives_the_same_tokens(model, tokenizer, cache):
    here = generate_text(model, tokenizer, PROMPTS, settings(cache=cache), objective=MASKED)
    there = generate_text(
        Transformer(model.config, seed=0).double().to("cuda"),
        tokenizer,
        PROMPTS,
        settings(cache=cache),
        objective=MASKED,
    )
    assert [each.tokens for each in here] == [each.tokens for each in there]

"""Engines that are kept: for the next turn of a conversation, and never past a change of weights or settings."""

import pytest
import torch

from hornbook.config.generate import GenerateConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.generation.engine import PREFILL_CHUNK
from hornbook.generation.engines import LEAST_LENGTH, MOST_SLOTS, Engines
from hornbook.generation.text import generate_text, stream_text
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_models import tiny_config

CONFIG = GenerateConfig(max_new_tokens=5)
CONTEXT = 600


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat"], TokenizerConfig(vocab_size=290))


@pytest.fixture
def model(tokenizer) -> Transformer:
    shape = tiny_config(context_length=CONTEXT).model_dump()
    return Transformer(type(tiny_config())(**{**shape, "vocab_size": tokenizer.vocab_size})).eval()


def test_the_next_turn_of_a_conversation_reads_its_whole_chunks_no_more(model, tokenizer):
    """And the answers are those without a kept engine."""
    engines, said, known = Engines(), list(range(100)), 0
    engine = engines(model, CONFIG, slots=1, max_length=500)
    for _ in range(3):
        before = engine.tokens_read
        stream = stream_text(model, tokenizer, said, CONFIG, engines=engines)
        text = "".join(stream)
        drawn = list(stream.generation.tokens)
        assert engine.tokens_read - before == len(said) - known + len(drawn) - 1
        assert text == generate_text(model, tokenizer, [said], CONFIG)[0].text
        known = len(said) // PREFILL_CHUNK * PREFILL_CHUNK
        said += [*drawn, *range(30)]


def test_slots_hold_the_whole_context_where_that_is_little(model):
    assert Engines()(model, CONFIG, slots=2, max_length=10).backend.max_length == CONTEXT


def test_it_is_kept_while_model_settings_and_weights_stay(model, monkeypatch):
    monkeypatch.setattr("hornbook.generation.engines.EASY_BYTES", 0)
    engines = Engines()
    first = engines(model, CONFIG, slots=2, max_length=10)
    assert (first.backend.slots, first.backend.max_length, first.context_length) == (2, LEAST_LENGTH, CONTEXT)
    assert engines(model, GenerateConfig(temperature=0.0), slots=1, max_length=LEAST_LENGTH) is first
    longer = engines(model, CONFIG, slots=1, max_length=LEAST_LENGTH + 1)
    assert (longer.backend.slots, longer.backend.max_length) == (2, 512)
    most = engines(model, CONFIG, slots=1000, max_length=CONTEXT)
    assert (most.backend.slots, most.backend.max_length) == (MOST_SLOTS, CONTEXT)
    with torch.no_grad():
        model.token_embedding.weight.mul_(2.0)
    changed = engines(model, CONFIG, slots=1, max_length=10)
    assert changed is not most
    assert changed.backend.slots == 1
    other = engines(model, GenerateConfig(precision="bfloat16"), slots=1, max_length=10)
    assert (other.backend.precision, changed.backend.precision) == ("bfloat16", "float32")
    assert engines(Transformer(model.config), CONFIG, slots=1, max_length=10) is not other


def test_two_streams_at_once_do_not_share_an_engine(model, tokenizer):
    engines = Engines()
    streams = [stream_text(model, tokenizer, [7] * n, CONFIG, engines=engines) for n in (1, 2)]
    pieces = [[next(stream, "")] for stream in streams]
    for own, stream in zip(pieces, streams, strict=True):
        own.extend(stream)
    assert ["".join(own) for own in pieces] == [
        generate_text(model, tokenizer, [[7] * n], CONFIG)[0].text for n in (1, 2)
    ]


def test_more_prompts_than_slots_are_decoded_in_turn(model, tokenizer):
    prompts = [[number % 256] for number in range(MOST_SLOTS + 8)]
    made = generate_text(model, tokenizer, prompts, GenerateConfig(max_new_tokens=2))
    assert [each.tokens for each in made[-8:]] == [
        generate_text(model, tokenizer, [prompt], GenerateConfig(max_new_tokens=2))[0].tokens for prompt in prompts[-8:]
    ]

"""Prompts to text: the pieces of a stream, stop strings, special tokens, and what cannot be served."""

import pytest
import torch

from hornbook.config.chat import TEMPLATES
from hornbook.config.generate import GenerateConfig
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import END_OF_TEXT, TokenizerConfig
from hornbook.errors import GenerationError, HornbookError
from hornbook.generation.prompt_ids import encode_prompt
from hornbook.generation.text import generate_text, stream_text
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.chat import Message, render_prompt
from hornbook.tokenizer.special_tokens import SpecialTokens, Template
from hornbook.tokenizer.tokenizer import Tokenizer

CONFIG = GenerateConfig(temperature=1.0, max_new_tokens=40, context_overflow="slide")
PROMPTS = ["the cat", "", "a dog — über"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """Bytes and a few merges: a random model over it often stops in the middle of a character."""
    return Tokenizer.train(["the cat sat on the mat, the dog ate the cat's hat"], TokenizerConfig(vocab_size=290))


def make_model(vocab_size: int, *, seed: int = 0) -> Transformer:
    config = ModelConfig(
        vocab_size=vocab_size,
        context_length=24,
        d_model=16,
        n_layers=1,
        n_heads=2,
        n_kv_heads=2,
        head_dim=8,
        d_ff=32,
        tie_embeddings=False,
        init="torch_default",
    )
    return Transformer(config, seed=seed).double()


@pytest.fixture(scope="module")
def model(tokenizer) -> Transformer:
    return make_model(tokenizer.vocab_size)


def changed(**changes) -> GenerateConfig:
    return GenerateConfig(**{**CONFIG.model_dump(), **changes})


def test_text_is_the_decoded_tokens(model, tokenizer):
    for result, prompt in zip(generate_text(model, tokenizer, PROMPTS, CONFIG), PROMPTS, strict=True):
        assert result.prompt == prompt
        assert result.text == tokenizer.decode(result.tokens, skip_special=True)
        assert len(result.tokens) == len(result.logprobs)
        assert result.finish_reason in ("length", "stop")
        assert result.seconds > 0
        assert result.tokens_per_second > 0


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("seed", range(3))
def test_the_pieces_of_a_stream_join_to_the_batch_text(model, tokenizer, prompt, seed):
    config = changed(seed=seed, stop=("a", "\x00\x01"))
    stream = stream_text(model, tokenizer, prompt, config)
    pieces = list(stream)
    [whole] = generate_text(model, tokenizer, [prompt], config)
    assert all(pieces)
    assert "".join(pieces) == whole.text == stream.generation.text
    assert stream.generation.tokens == whole.tokens


def test_a_row_is_what_it_is_alone(model, tokenizer):
    together = generate_text(model, tokenizer, PROMPTS, CONFIG)
    alone = [generate_text(model, tokenizer, [prompt], CONFIG)[0] for prompt in PROMPTS]
    assert [row.tokens for row in together] == [row.tokens for row in alone]


def test_seeds_belong_to_rows(model, tokenizer):
    a, b, c = generate_text(model, tokenizer, ["the"] * 3, CONFIG, seeds=[1, 2, 1])
    assert a.tokens == c.tokens != b.tokens


@pytest.mark.parametrize("length", [1, 2, 7])
def test_stop_strings_are_found_across_tokens_and_cut_off(model, tokenizer, length):
    [free] = generate_text(model, tokenizer, ["the"], CONFIG)
    at = 5
    stop = free.text[at : at + length]
    [result] = generate_text(model, tokenizer, ["the"], changed(stop=("never in there", stop)))
    assert result.text == free.text[: free.text.index(stop)]
    assert result.finish_reason == "stop"
    assert len(result.tokens) < len(free.tokens)
    assert stop in tokenizer.decode(result.tokens)
    assert stop not in tokenizer.decode(result.tokens[:-1])


def test_end_of_text_stops_and_is_not_shown(tokenizer):
    end = tokenizer.end_of_text_id
    [result] = generate_text(_always(tokenizer, end), tokenizer, ["x"], changed(temperature=0.0))
    assert (result.text, result.tokens, result.finish_reason) == ("", (end,), "stop")


def _always(tokenizer, token: int) -> Transformer:
    """A model whose likeliest next token is `token` whatever it reads."""
    model = make_model(tokenizer.vocab_size)
    with torch.no_grad():
        model.token_embedding.weight.fill_(1.0)
        for layer in model.layers:
            layer.attention.o_proj.weight.zero_()
            layer.feed_forward.down_proj.weight.zero_()
        model.head.weight.zero_()
        model.head.weight[token] = 1.0
    return model


def test_special_tokens_never_come_from_prompt_text(model, tokenizer):
    [result] = generate_text(model, tokenizer, [END_OF_TEXT], changed(max_new_tokens=1))
    assert result.prompt_tokens > 1


def test_an_empty_prompt_starts_from_end_of_text(model, tokenizer):
    [result] = generate_text(model, tokenizer, [""], changed(max_new_tokens=1))
    assert result.prompt_tokens == 1


def test_an_empty_prompt_without_end_of_text_is_an_error(model):
    bare = Tokenizer.train(["the cat"], TokenizerConfig(vocab_size=257, special_tokens="none"))
    with pytest.raises(GenerationError, match="prompt is empty"):
        generate_text(model, bare, [""], CONFIG)


def test_a_template_begins_every_prompt(tokenizer):
    """As in vocabularies that are trained with a mark of the beginning; its end is left out, for the text goes on."""
    first, last = tokenizer.vocab_size, tokenizer.vocab_size + 5
    special = SpecialTokens(
        {**tokenizer.special_tokens, "<s>": first, "</s>": last}, template=Template(("<s>",), ("</s>",))
    )
    templated = Tokenizer(tokenizer.scheme, special)
    assert encode_prompt(templated, "the") == [first, *tokenizer.encode("the")]
    assert encode_prompt(templated, "") == [first]
    [result] = generate_text(make_model(templated.vocab_size), templated, ["the"], changed(temperature=9.0))
    assert set(result.tokens).isdisjoint(templated.unused_ids)


def test_a_long_prompt_that_slides_says_what_was_dropped(model, tokenizer):
    [result] = generate_text(model, tokenizer, ["zq" * 20], CONFIG)
    assert (result.prompt_tokens, result.prompt_tokens_dropped) == (40, 16)


def test_unfinished_characters_become_replacement_marks_only_at_the_end(tokenizer):
    lead = tokenizer.encode_bytes("é".encode())[0]
    assert tokenizer.token_bytes(lead) == b"\xc3"
    [result] = generate_text(_always(tokenizer, lead), tokenizer, ["x"], changed(temperature=0.0, max_new_tokens=1))
    assert result.text == "\ufffd"
    pieces = list(stream_text(_always(tokenizer, lead), tokenizer, "x", changed(temperature=0.0, max_new_tokens=3)))
    assert "".join(pieces) == "\ufffd" * 3


def test_closing_a_stream_early_keeps_what_came(model, tokenizer):
    stream = stream_text(model, tokenizer, "the", CONFIG)
    first = next(stream)
    stream.close()
    assert list(stream) == []
    assert stream.generation.text == first


def test_closing_a_stream_ends_the_decoding_even_while_the_stream_is_kept(tokenizer):
    model = make_model(tokenizer.vocab_size).train()
    stream = stream_text(model, tokenizer, "the", CONFIG)
    next(stream)
    assert not model.training
    stream.close()
    assert model.training


def test_a_stop_string_ends_the_decoding_even_while_the_stream_is_kept(tokenizer):
    model = make_model(tokenizer.vocab_size)
    [free] = generate_text(model, tokenizer, ["the"], CONFIG)
    stream = stream_text(model.train(), tokenizer, "the", changed(stop=(free.text[3],)))
    list(stream)
    assert stream.generation.finish_reason == "stop"
    assert model.training


def test_an_empty_stop_string_is_an_error(model, tokenizer):
    with pytest.raises(GenerationError, match="empty string"):
        generate_text(model, tokenizer, ["the"], changed(stop=("",)))


def test_a_tokenizer_larger_than_the_model_is_an_error(tokenizer):
    with pytest.raises(GenerationError, match=f"{tokenizer.vocab_size} tokens, the model only 100"):
        generate_text(make_model(100), tokenizer, ["the"], CONFIG)


def test_a_model_with_rounded_up_vocabulary_draws_only_real_tokens(tokenizer):
    [result] = generate_text(make_model(4 * tokenizer.vocab_size), tokenizer, ["the"], CONFIG)
    assert max(result.tokens) < tokenizer.vocab_size


def test_no_prompts_no_texts(model, tokenizer):
    assert generate_text(model, tokenizer, [], CONFIG) == []


def test_ids_are_read_as_they_are(model, tokenizer):
    texts = generate_text(model, tokenizer, ["the cat", "a"], CONFIG)
    ids = generate_text(model, tokenizer, [tokenizer.encode("the cat"), tokenizer.encode("a")], CONFIG)
    assert [each.tokens for each in ids] == [each.tokens for each in texts]
    assert [each.prompt for each in ids] == ["the cat", "a"]
    end = tokenizer.end_of_text_id
    [marked] = generate_text(model, tokenizer, [[end, *tokenizer.encode("a")]], CONFIG)
    assert marked.prompt == f"{END_OF_TEXT}a"
    assert marked.tokens != texts[1].tokens
    for wrong in ([], [tokenizer.vocab_size]):
        with pytest.raises(HornbookError):
            generate_text(model, tokenizer, [wrong], CONFIG)


def test_the_stop_token_of_a_template_ends_an_answer_and_no_text(tokenizer):
    speaks = tokenizer.with_chat_template(TEMPLATES["hornbook"])
    stop = speaks.special_tokens["<|end|>"]
    model = _always(speaks, stop)
    [answer] = generate_text(model, speaks, [render_prompt(speaks, [Message("user", "hi")]).ids], CONFIG)
    assert (answer.text, answer.tokens, answer.finish_reason) == ("", (stop,), "stop")
    [text] = generate_text(model, speaks, ["hi"], changed(max_new_tokens=3))
    assert (text.tokens, text.finish_reason) == ((stop,) * 3, "length")
    stream = stream_text(model, speaks, render_prompt(speaks, [Message("user", "hi")]).ids, CONFIG)
    assert (list(stream), stream.generation.finish_reason) == ([], "stop")


@pytest.mark.parametrize("objective", [{"kind": "masked_diffusion"}, {"kind": "block_diffusion", "block_length": 4}])
def test_padding_after_an_answer_by_diffusion_is_cut(tokenizer, objective):
    """A model that lays out nothing but end-of-text: what a tuned one puts behind an answer."""
    speaks = tokenizer.with_chat_template(TEMPLATES["hornbook"])
    model = _always(speaks, speaks.end_of_text_id)
    ids = render_prompt(speaks, [Message("user", "hi")]).ids
    [answer] = generate_text(model, speaks, [ids], GenerateConfig(max_new_tokens=8), objective=objective)
    assert (answer.text, answer.tokens, answer.finish_reason) == ("", (speaks.end_of_text_id,), "stop")

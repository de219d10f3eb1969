"""Bytes and words of tokens, and a digest that tells texts and not tokenizers apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.evaluation.text_units import text_units, word_starts
from hornbook.evaluation.token_reader import InMemory
from hornbook.tokenizer.tokenizer import Tokenizer

TEXTS = ["the cat — über the mat\n\n  sat ", "", " on", "日本　語\u2009x", "the end"]
BLANK = [chr(c) for c in range(0x110000) if chr(c).isspace()]


def in_memory(tokenizer: Tokenizer, texts: list[str]) -> InMemory:
    ids, offsets = tokenizer.encode_batch([text.encode() for text in texts], end_id=tokenizer.end_of_text_id)
    return InMemory(ids.astype(np.int64), np.asarray(offsets[:-1], dtype=np.int64))


@pytest.fixture(scope="module", params=[274, 300])
def tokenizer(request) -> Tokenizer:
    return Tokenizer.train(["the cat sat on the mat the end"], TokenizerConfig(vocab_size=request.param))


@given(text=st.text(alphabet=st.one_of(st.sampled_from(BLANK), st.characters(codec="utf-8"))))
def test_words_are_what_split_makes(text):
    data = text.encode()
    assert [data[start:].decode().split()[0] for start in word_starts(data)] == text.split()


def test_every_white_space_separates():
    for blank in BLANK:
        assert word_starts(f"a{blank}b".encode()) == [0, 1 + len(blank.encode())]


def test_counts_are_the_texts_own(tokenizer):
    stream = in_memory(tokenizer, TEXTS)
    units = text_units(stream, tokenizer, stream.n_tokens)
    assert units.n_bytes == sum(len(text.encode()) for text in TEXTS)
    assert units.n_words == sum(len(text.split()) for text in TEXTS)
    assert np.array_equal(units.bytes, tokenizer.byte_lengths()[stream.tokens])
    ends = stream.tokens == tokenizer.end_of_text_id
    assert not units.words[ends].any()


def test_a_word_counts_at_its_first_byte(tokenizer):
    stream = in_memory(tokenizer, ["cat über  x"])
    units = text_units(stream, tokenizer, stream.n_tokens)
    held = [start for start, count in zip(np.cumsum(units.bytes) - units.bytes, units.words, strict=True) if count]
    places = [0, 4, 11]
    assert units.n_words == 3
    for start, place in zip(held, places, strict=True):
        assert start <= place  # the token that holds the first byte may begin with the blank before it
    for place in places:
        (holder,) = np.flatnonzero((np.cumsum(units.bytes) - units.bytes <= place) & (place < np.cumsum(units.bytes)))
        assert units.words[holder] == 1


def test_a_special_token_parts_words(tokenizer):
    end = tokenizer.end_of_text_id
    ids = [*tokenizer.encode("cat a b"), end, *tokenizer.encode("sat"), end, end, *tokenizer.encode(" on"), end]
    units = text_units(InMemory(np.array(ids), np.array([0])), tokenizer, len(ids))
    assert units.n_words == 5
    assert units.words[len(tokenizer.encode("cat a b")) + 1] == 1


def test_the_digest_is_of_the_text_alone():
    small, large = (
        Tokenizer.train(["the cat sat on the mat the end"], TokenizerConfig(vocab_size=size)) for size in (274, 300)
    )
    of_small, of_large = (in_memory(each, TEXTS) for each in (small, large))
    assert of_small.n_tokens != of_large.n_tokens
    found = [text_units(at, each, at.n_tokens) for at, each in ((of_small, small), (of_large, large))]
    assert found[0].sha256 == found[1].sha256
    assert (found[0].n_bytes, found[0].n_words) == (found[1].n_bytes, found[1].n_words)


@pytest.mark.parametrize("other", [["the cat"], ["the", " cat "], ["the cat", ""], ["the cat ", "x"]])
def test_other_texts_and_other_documents_have_other_digests(tokenizer, other):
    of_text = []
    for texts in (["the cat "], other):
        stream = in_memory(tokenizer, texts)
        of_text.append(text_units(stream, tokenizer, stream.n_tokens).sha256)
    assert of_text[0] != of_text[1]


def test_the_beginning_of_a_text(tokenizer):
    stream = in_memory(tokenizer, TEXTS)
    units = text_units(stream, tokenizer, 3)
    assert len(units.bytes) == 3
    assert units.n_bytes == int(tokenizer.byte_lengths()[stream.tokens[:3]].sum())


def test_the_blank_that_a_tokenizer_puts_before_a_text_is_not_the_texts():
    tokenizer = Tokenizer.load(needs("models/stories260K-hf/tokenizer.json"))
    assert tokenizer.drops_first_blank
    texts = ["Once upon a time", " there was", "\nüber"]
    stream = in_memory(tokenizer, texts)
    units = text_units(stream, tokenizer, stream.n_tokens)
    assert units.n_bytes == sum(len(text.encode()) for text in texts)
    assert units.n_words == sum(len(text.split()) for text in texts)

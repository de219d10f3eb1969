import json
import multiprocessing
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text

TEXTS = ["The cat sat on the mat. The cat, the mat!", "Mice — “they’re” naïve.\r\nYes\x00?\n\n"] * 5


def small(**settings):
    return Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=330, **settings))


SMALL = {
    "gpt2": small(),
    "cl100k": small(pattern="cl100k"),
    "o200k": small(pattern="o200k", special_tokens="none"),
    "own": small(pattern=r"\w+|\s", tie_order="lexicographic"),
}


def test_reference_encodings(gpt2):
    lines = needs("tokenizer/gpt2/reference_encodings.jsonl").read_text(encoding="utf-8").splitlines()
    for record in map(json.loads, lines):
        assert gpt2.encode(record["text"]) == record["ids"]
        assert gpt2.encode(record["text"], allowed_special="all") == record["ids_special"]
        assert gpt2.decode(record["ids_special"]) == record["text"]
    assert len(lines) == 40


@settings(max_examples=200, deadline=None)
@given(text=strange_text)
def test_ids_equal_tiktokens_for_gpt2(gpt2, tiktoken_gpt2, text):
    assert gpt2.encode(text) == tiktoken_gpt2.encode_ordinary(text)
    assert gpt2.encode(text, allowed_special="all") == tiktoken_gpt2.encode(text, allowed_special="all")


@pytest.mark.parametrize("name", SMALL)
@settings(max_examples=40, deadline=None)
@given(text=strange_text)
def test_decoding_gives_the_text_back(name, text):
    tokenizer = SMALL[name]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(tokenizer.encode(text, allowed_special="all")) == text
    assert tokenizer.encode_bytes(text.encode()) == ids
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert sum(tokenizer.byte_lengths()[ids]) == len(text.encode())


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(strange_text, max_size=6))
def test_a_batch_equals_its_documents(texts):
    tokenizer = SMALL["gpt2"]
    ids, offsets = tokenizer.encode_batch(text.encode() for text in texts)
    assert (ids.dtype, offsets.dtype) == (np.uint32, np.int64)
    assert offsets.tolist()[0] == 0
    assert len(offsets) == len(texts) + 1
    for i, text in enumerate(texts):
        assert ids[offsets[i] : offsets[i + 1]].tolist() == tokenizer.encode(text)


def test_a_large_document_is_encoded_in_pieces(monkeypatch):
    text = ("A line of text, " + "word " * 30 + "\r\n") * 500
    expected = SMALL["gpt2"].encode(text)
    monkeypatch.setattr("hornbook.tokenizer.documents.pieces.__kwdefaults__", {"piece_bytes": 1000})
    assert SMALL["gpt2"].encode_batch([text.encode()])[0].tolist() == expected


def test_nothing_in_nothing_out():
    tokenizer = SMALL["gpt2"]
    assert tokenizer.encode("") == []
    assert tokenizer.encode_bytes(b"") == []
    assert tokenizer.decode([]) == ""
    ids, offsets = tokenizer.encode_batch([])
    assert (ids.tolist(), offsets.tolist()) == ([], [0])
    assert tokenizer.encode_batch([b"", b""])[1].tolist() == [0, 0, 0]


def test_invalid_utf8():
    tokenizer = SMALL["gpt2"]
    with pytest.raises(TokenizerError, match="text: invalid UTF-8: byte 0xff at byte offset 3"):
        tokenizer.encode_bytes(b"abc\xffd")
    with pytest.raises(TokenizerError, match="document 1: invalid UTF-8: byte 0xc3 at byte offset 2 "):
        tokenizer.encode_batch([b"fine", b"no\xc3"])
    assert tokenizer.encode_bytes(b"abc\xffd", errors="replace") == tokenizer.encode("abc\ufffdd")
    assert tokenizer.encode_batch([b"abc\xffd"], errors="replace")[0].tolist() == tokenizer.encode("abc\ufffdd")


@pytest.mark.parametrize("name", ["gpt2", "own"])
def test_lone_surrogate(name):
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+DC80 at character 10"):
        SMALL[name].encode("some text \udc80 more")


def test_unknown_ids():
    tokenizer = SMALL["gpt2"]
    for unknown in (-1, tokenizer.vocab_size):
        with pytest.raises(
            TokenizerError, match=f"token id {unknown}: this tokenizer has the ids 0 to {tokenizer.vocab_size - 1}$"
        ):
            tokenizer.decode([0, unknown])


def test_ids_may_be_numpy():
    tokenizer = SMALL["gpt2"]
    assert tokenizer.decode(np.array(tokenizer.encode("the cat"), dtype=np.uint16)) == "the cat"


def test_half_a_character():
    tokenizer = SMALL["o200k"]
    ids = tokenizer.encode("\U0001f600")[:-1]
    assert tokenizer.decode(ids) == "\ufffd"
    with pytest.raises(TokenizerError, match="decoded text: invalid UTF-8"):
        tokenizer.decode(ids, errors="strict")


def test_byte_lengths_leave_special_tokens_out():
    tokenizer = SMALL["gpt2"]
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    assert lengths[list(tokenizer.special_tokens.values())].tolist() == [0] * 16
    assert lengths[tokenizer.encode("the")[0]] == len(tokenizer.token_bytes(tokenizer.encode("the")[0]))
    assert tokenizer.token_bytes(tokenizer.end_of_text_id) == b"<|endoftext|>"


def test_fingerprint_follows_what_decides_ids():
    prints = {tokenizer.fingerprint for tokenizer in SMALL.values()}
    assert len(prints) == len(SMALL)
    assert small().fingerprint == SMALL["gpt2"].fingerprint
    assert small(special_tokens="pretraining").fingerprint != SMALL["gpt2"].fingerprint


def test_worker_processes_can_take_it():
    copy = pickle.loads(pickle.dumps(SMALL["cl100k"]))
    assert copy.fingerprint == SMALL["cl100k"].fingerprint
    assert copy.encode("The cat") == SMALL["cl100k"].encode("The cat")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(SMALL["cl100k"].encode, ("The cat",)) == SMALL["cl100k"].encode("The cat")


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", "off")
    monkeypatch.setattr("hornbook.tokenizer.byte_pair._CACHED_WORDS", 10)
    tokenizer = small()
    text = " ".join(map(str, range(100))) + " " + "x" * 1000
    assert tokenizer.encode(text) == SMALL["gpt2"].encode(text)
    assert len(tokenizer.scheme._cache) <= 10
    assert max(map(len, tokenizer.scheme._cache)) < 100


def test_repeated_special_name():
    with pytest.raises(TokenizerError, match="stands there twice"):
        Tokenizer(SMALL["gpt2"].scheme, ["<|a|>", "<|a|>"])

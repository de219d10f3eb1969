"""Ids to bytes and text, by the compiled kernel and by pure Python."""

import pickle
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer import compiled
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text
from tokenizer.guard_pages import guarded

TEXTS = ["The cat sat on the mat. The cat, the mat!\n\n", "Mice — “they’re” naïve.\r\n\n", "=" * 200, "-" * 64] * 5
TOKENIZER = Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=360))
TYPES = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


@pytest.fixture(params=["on", "off"])
def kernels(request, monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", request.param)
    return request.param


def joined(ids):
    return b"".join(TOKENIZER.token_bytes(int(i)) for i in ids)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_of_ids(dtype):
    ids = np.array([i % 256 for i in range(1000)], dtype)
    assert TOKENIZER.decode_bytes(ids) == joined(ids)
    assert TOKENIZER.decode_bytes(ids[::3]) == joined(ids[::3])
    assert TOKENIZER.decode_bytes(iter(ids)) == joined(ids)
    assert TOKENIZER.decode_bytes(ids.tolist()) == TOKENIZER.decode_bytes(tuple(ids)) == joined(ids)


@pytest.mark.parametrize("choice", ["on", "off"])
@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=200), skip=st.booleans())
def test_any_ids(choice, ids, skip):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HORNBOOK_KERNELS", choice)
        special = set(TOKENIZER.special_tokens.values()) if skip else set()
        expected = joined(i for i in ids if i not in special).decode(errors="replace")
        assert TOKENIZER.decode(ids, skip_special=skip) == expected
        assert TOKENIZER.decode(np.array(ids, np.uint16), skip_special=skip) == expected
        stream = TOKENIZER.stream_decoder(skip_special=skip)
        assert "".join(map(stream.push, ids)) + stream.finish() == expected


@pytest.mark.usefixtures("kernels")
def test_rows():
    documents = [b"the cat", b"", "naïve — mat".encode(), b"=" * 300]
    ids, offsets = TOKENIZER.encode_batch(documents, end_id=TOKENIZER.end_of_text_id)
    assert TOKENIZER.decode_batch(ids, offsets, skip_special=True) == [document.decode() for document in documents]
    assert TOKENIZER.decode_batch(ids, offsets)[1] == "<|endoftext|>"
    assert TOKENIZER.decode_batch(ids.astype(np.uint16), offsets[1:3]) == ["<|endoftext|>"]
    assert TOKENIZER.decode_batch(ids, offsets[:1]) == []


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("unknown", [-1, TOKENIZER.vocab_size, 2**40, -(2**31)])
def test_unknown_ids(unknown):
    ids = [*range(300), unknown, *range(300), -5]
    message = f"token id {unknown}: this tokenizer has the ids 0 to {TOKENIZER.vocab_size - 1}$"
    for form in (ids, np.array(ids)):
        with pytest.raises(TokenizerError, match=message):
            TOKENIZER.decode(form)
        with pytest.raises(TokenizerError, match=message):
            TOKENIZER.decode_batch(np.array(ids), np.array([5, len(ids)]))


@pytest.mark.usefixtures("kernels")
def test_ids_of_nobody():
    base = TOKENIZER.scheme
    scheme = BytePairScheme([*base.tokens, None, None], base.merges)
    tokenizer = Tokenizer(scheme, {"<s>": len(base.tokens) + 1})
    with pytest.raises(TokenizerError, match=f"token id {len(base.tokens)}: .* not all of which are used"):
        tokenizer.decode([0] * 2000 + [len(base.tokens)])
    assert tokenizer.decode([len(base.tokens) + 1] * 2000) == "<s>" * 2000


@settings(max_examples=200, deadline=None)
@given(text=strange_text)
def test_streams_equal_the_whole(text):
    ids = TOKENIZER.encode(text)
    stream = TOKENIZER.stream_decoder()
    assert "".join(map(stream.push, ids)) + stream.finish() == text
    half = ids[: len(ids) // 2]
    assert "".join(map(stream.push, half)) + stream.finish() == TOKENIZER.decode(half)


def test_other_processes_get_it_after_use():
    TOKENIZER.decode(TOKENIZER.encode("the cat"))
    TOKENIZER.stream_decoder().push(1)
    copy = pickle.loads(pickle.dumps(TOKENIZER))
    assert copy.decode(copy.encode("the cat")) == "the cat"


def test_buffers_end_where_they_say(monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", "on")
    decoding = compiled.kernels_for("encode", 1).module("decoding")
    rng = random.Random(4)
    tokens = [bytes(rng.choices(range(256), k=rng.choice([1, 2, 7, 8, 9, 15, 16, 17, 24, 40, 130]))) for _ in range(50)]
    table = decoding.TokenBytes([*tokens, None])
    table._places, table._bytes = guarded(table._places), guarded(table._bytes)
    for dtype in TYPES[1:]:
        for n in (0, 1, 50, 200):
            ids = guarded(np.array(rng.choices(range(50), k=n), dtype))
            data, ends = table.decode(ids, guarded(np.array([0, n // 2, n])))
            assert data.tobytes() == b"".join(tokens[i] for i in ids)
            assert ends.tolist() == [0, sum(len(tokens[i]) for i in ids[: n // 2]), len(data)]
    with pytest.raises(decoding.UnknownIdError):
        table.decode(np.array([1, 50]), np.array([0, 2]))
    # the output, which `decode` makes itself
    ids = np.array(rng.choices(range(50), k=100))
    expected = b"".join(tokens[i] for i in ids)
    out = guarded(np.zeros(len(expected) + decoding._SLACK, np.uint8))
    address = decoding._address
    decoding.copy_tokens(address(table._places), address(table._bytes), address(ids), 8, 0, 100, address(out))
    assert out[: len(expected)].tobytes() == expected


@pytest.mark.medium
def test_bytes_equal_tiktokens(cl100k, tiktoken_cl100k):
    rng = random.Random(6)
    for _ in range(200):
        ids = rng.choices(range(100_256), k=rng.randrange(3000))
        assert (
            cl100k.decode_bytes(ids)
            == cl100k.decode_bytes(np.array(ids, np.uint32))
            == tiktoken_cl100k.decode_bytes(ids)
        )


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("ids", ["12", [1.5], ["7"], [None], np.array([1.5])])
def test_what_is_no_id(ids):
    with pytest.raises(TokenizerError, match=r"token id .*: expected a whole number"):
        TOKENIZER.decode(ids)

"""The compiled encoder against its definition, and against tiktoken and tokenizers."""

import gc
import logging
import random
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer import bulk, compiled
from hornbook.tokenizer.alphabet import BYTE_ORDER
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.patterns import PATTERNS
from hornbook.tokenizer.special_tokens import SpecialTokens
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text
from tokenizer.guard_pages import guarded

pytestmark = pytest.mark.medium

TEXTS = [
    "The cat sat on the mat. The cat, the mat!\n\n    if x == 10:\n",
    "Mice — “they’re” naïve.\r\nYes\x00?\n\n",
    "=" * 40,
] * 5
U16, U32 = np.dtype(np.uint16), np.dtype(np.uint32)


@pytest.fixture(autouse=True)
def _compiled_for_everything(monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", "on")


def trained(pattern="gpt2", **config):
    return Tokenizer.train(TEXTS, TokenizerConfig(vocab_size=400, pattern=pattern, **config))


TOKENIZERS = {pattern: trained(pattern) for pattern in PATTERNS}


def compiled_ids(tokenizer, text, dtype=U32):
    """By the kernels, whatever the length."""
    encoder = bulk.encoder_for(tokenizer.scheme, len(text))
    assert encoder is not None
    return encoder.encode_parts([text.encode()], [-1], {}, dtype)[0].tolist()


def tiny(tokenizer, dtype):
    """A state whose caches are always full."""
    encoder = bulk.encoder_for(tokenizer.scheme, 1)
    return encoder._memory.State(encoder._tables, dtype, cache_bits=1), encoder


def encode_with(state, padding, data):
    text = np.frombuffer(data + bytes(padding), np.uint8)
    out = np.empty(len(data) + 33, state._dtype)
    assert state.encode(text, np.array([[0, len(data), -1, 0]]), out) is None
    return out[: state.n_ids].tolist()


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=150, deadline=None)
@given(text=strange_text, dtype=st.sampled_from([U16, U32]))
def test_ids_equal_the_definition(pattern, text, dtype):
    assert compiled_ids(TOKENIZERS[pattern], text, dtype) == TOKENIZERS[pattern].scheme.encode(text)


@pytest.mark.parametrize("dtype", [U16, U32])
def test_full_caches_change_nothing(dtype):
    tokenizer, rng = TOKENIZERS["gpt2"], random.Random(5)
    words = ["".join(rng.choices("thecatm é=0", k=rng.choice([3, 9, 15, 16, 20, 31, 32, 60, 200]))) for _ in range(300)]
    state, encoder = tiny(tokenizer, dtype)
    for _ in range(30):
        text = " ".join(rng.choices(words, k=200))
        assert encode_with(state, encoder.padding, text.encode()) == tokenizer.scheme.encode(text)
    assert state.record["ring_head"] > 3 * state.record["ring_words"]  # it was written round more than once


@pytest.mark.parametrize("length", [1, 14, 15, 16, 17, 23, 24, 30, 31, 32, 33, 63, 64, 65, 255, 256, 257, 258, 1000])
def test_words_of_every_length(length):
    rng = random.Random(length)
    for letters in ("a", "ab", "thecatsm", "=", "é", "语言"):
        word = "".join(rng.choices(letters, k=length)).encode()[:length].decode(errors="ignore") or "a"
        for tokenizer in (TOKENIZERS["gpt2"], TOKENIZERS["cl100k"]):
            assert compiled_ids(tokenizer, word) == tokenizer.scheme.encode(word)
            assert compiled_ids(tokenizer, word) == tokenizer.scheme.encode(word)  # now from the cache


def test_zero_bytes_are_text():
    tokenizer = TOKENIZERS["gpt2"]
    for n in (1, 7, 8, 15, 16, 17, 31, 32, 40):
        text = "\0" * n + "a" + "\0" * n
        assert compiled_ids(tokenizer, text) == tokenizer.scheme.encode(text)


def test_text_of_many_segments():
    tokenizer, rng = TOKENIZERS["gpt2"], random.Random(3)
    text = "".join(rng.choices(["the ", "cat", "\n\n", "  ", "x" * 50, "é", "1 ", "mat."], k=60_000))
    assert len(text) > 3 * 2**16
    assert compiled_ids(tokenizer, text) == tokenizer.scheme.encode(text)


@settings(max_examples=300, deadline=None)
@given(text=strange_text)
def test_ids_equal_tiktokens_for_gpt2(gpt2, tiktoken_gpt2, text):
    assert compiled_ids(gpt2, text) == tiktoken_gpt2.encode_ordinary(text)


@settings(max_examples=300, deadline=None)
@given(text=strange_text)
def test_ids_equal_tiktokens_for_cl100k(cl100k, tiktoken_cl100k, text):
    assert compiled_ids(cl100k, text) == tiktoken_cl100k.encode_ordinary(text)


@pytest.mark.parametrize("unit", ["a", " ", "=", "ab", "  \n", "-=", "aab", "\t", "é", "0", "\n"])
def test_runs_merge_as_tiktoken_merges_them(cl100k, tiktoken_cl100k, gpt2, tiktoken_gpt2, unit):
    for n in [*range(1, 70), 100, 127, 128, 129, 255, 256, 257, 300, 1000]:
        for ours, theirs in ((cl100k, tiktoken_cl100k), (gpt2, tiktoken_gpt2)):
            assert compiled_ids(ours, unit * n) == theirs.encode_ordinary(unit * n)


def runs():
    rng = random.Random(11)
    yield from ("a", " ", "=", "7", "\n")
    yield "".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=2**20))
    yield "".join(chr(rng.randrange(0x4E00, 0x9FA6)) for _ in range(350_000))


@pytest.mark.medium
def test_a_megabyte_without_a_break(gpt2, tiktoken_gpt2):
    for run in runs():
        text = run * (2**20 // len(run.encode()) or 1)
        compiled_ids(gpt2, "x")
        started = time.thread_time()
        ids = compiled_ids(gpt2, text)
        assert time.thread_time() - started < 1
        assert ids == tiktoken_gpt2.encode_ordinary(text)


def fuzzed(rng):
    planes = (
        (0x20, 0x7F),
        (0x20, 0x7F),
        (0xA0, 0x250),
        (0x370, 0x1200),
        (0x2000, 0x2100),
        (0x3000, 0x9FFF),
        (0x10000, 0x1F700),
    )
    pieces = [
        "\r\n",
        " \n",
        "\n\n",
        "  ",
        "\t",
        "'s",
        "'LL",
        "\u00a0",
        "\u3000",
        "a" * rng.randrange(60, 68),
        "=" * 17,
        "12345",
    ]
    made = []
    for _ in range(rng.randrange(1, 30)):
        low, high = rng.choice(planes)
        made.append(
            rng.choice(
                [rng.choice(pieces), "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(1, 12)))]
            )
        )
    return "".join(made)


def check_fuzzed(ours, theirs, n, seed):
    rng = random.Random(seed)
    texts = [fuzzed(rng) for _ in range(n)]
    ids, offsets = ours.encode_batch([text.encode() for text in texts])
    for i, (text, expected) in enumerate(zip(texts, theirs(texts), strict=True)):
        assert ids[offsets[i] : offsets[i + 1]].tolist() == expected, text


@pytest.mark.medium
def test_thousands_of_strings_equal_tiktokens(gpt2, tiktoken_gpt2, cl100k, tiktoken_cl100k):
    check_fuzzed(gpt2, tiktoken_gpt2.encode_ordinary_batch, 5000, 1)
    check_fuzzed(cl100k, tiktoken_cl100k.encode_ordinary_batch, 5000, 2)


@pytest.mark.medium
def test_thousands_of_strings_equal_those_of_tokenizers(gpt2):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.Tokenizer.from_str(gpt2.to_hugging_face())
    check_fuzzed(gpt2, lambda texts: [e.ids for e in theirs.encode_batch(texts)], 3000, 3)


@pytest.mark.slow
def test_a_hundred_thousand_strings(gpt2, tiktoken_gpt2, cl100k, tiktoken_cl100k):
    check_fuzzed(gpt2, tiktoken_gpt2.encode_ordinary_batch, 100_000, 4)
    check_fuzzed(cl100k, tiktoken_cl100k.encode_ordinary_batch, 100_000, 5)
    for pattern, tokenizer in TOKENIZERS.items():
        check_fuzzed(tokenizer, lambda texts, t=tokenizer: [t.scheme.encode(x) for x in texts], 20_000, pattern)


def scheme_of(tokens, pairs, **rules):
    """A vocabulary of all bytes, these tokens, and merges given as pairs of bytes."""
    every = [bytes([byte]) for byte in BYTE_ORDER] + tokens
    ids = {token: i for i, token in enumerate(every)}
    return BytePairScheme(every, [(ids[left], ids[right]) for left, right in pairs], **rules)


@pytest.mark.parametrize("first", [True, False])
def test_a_token_that_merging_does_not_reach(first):
    long = b"unreachable and long beyond thirtyone bytes".replace(b" ", b"")
    scheme = scheme_of([b"ab", b"abc", b"xyz", long], [(b"a", b"b")], whole_words_first=first)
    tokenizer = Tokenizer(scheme, [])
    for text in ("abc", "xyz", "xyz abc xyz", "abcd", long.decode(), long.decode() + " " + long.decode() + "x"):
        assert compiled_ids(tokenizer, text) == scheme.encode(text)
    assert (compiled_ids(tokenizer, "xyz") == [scheme.ids[b"xyz"]]) is first
    assert (compiled_ids(tokenizer, long.decode()) == [scheme.ids[long]]) is first


def test_equal_ranks_merge_from_the_left():
    tokens = [bytes([byte]) for byte in BYTE_ORDER] + [b"aa", b"ba", b"baa", b"aab", b"aabaa"]
    scheme, rng = BytePairScheme(tokens, None), random.Random(2)
    assert len({rank for rank, _ in scheme.merge_table.values()}) < len(scheme.merge_table)
    for n in (4, 9, 15, 25, 40, 300):
        for _ in range(50):
            text = "".join(rng.choices("aab", k=n))
            assert compiled_ids(Tokenizer(scheme, []), text) == scheme.encode(text)


def test_a_vocabulary_with_holes_and_special_tokens_first():
    base = TOKENIZERS["gpt2"].scheme
    tokens = [None, None, *base.tokens]
    merges = [(left + 2, right + 2) for left, right in base.merges]
    tokenizer = Tokenizer(BytePairScheme(tokens, merges), SpecialTokens({"<s>": 0}, added={"  ": 500}))
    text = "The cat  sat <s>  on\n\n the mat"
    assert tokenizer.encode(text, allowed_special="all") == pure(tokenizer, "encode", text, allowed_special="all")
    ids, _ = tokenizer.encode_batch([text.encode()])
    assert ids.tolist() == tokenizer.encode(text) == pure(tokenizer, "encode", text)
    assert 500 in ids
    assert 0 not in ids


def pure(tokenizer, method, *args, **kwargs):
    """The result, or the error, without kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HORNBOOK_KERNELS", "off")
        return getattr(tokenizer, method)(*args, **kwargs)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(strange_text, max_size=8), threads=st.sampled_from([1, 3]), end=st.booleans())
def test_batches_equal_pure_ones(texts, threads, end):
    tokenizer = TOKENIZERS["gpt2"]
    documents, end_id = [text.encode() for text in texts], tokenizer.end_of_text_id if end else None
    for dtype in (np.uint16, np.uint32):
        ids, offsets = tokenizer.encode_batch(documents, threads=threads, end_id=end_id, dtype=dtype)
        expected, at = pure(tokenizer, "encode_batch", documents, end_id=end_id)
        assert (ids.dtype, offsets.dtype) == (dtype, np.int64)
        assert (ids.tolist(), offsets.tolist()) == (expected.tolist(), at.tolist())


def test_units_pieces_and_threads(monkeypatch):
    tokenizer, rng = TOKENIZERS["cl100k"], random.Random(8)
    text = "".join(rng.choices(["the ", "cat", "\n", "\r\n", "  ", "é", "1 ", "mat.\n"], k=20_000))
    documents = [text[:n].encode() for n in (0, 1, 50, 20_000, 3000, 0, 40_000, 7)]
    expected = pure(tokenizer, "encode_batch", documents, end_id=3)
    monkeypatch.setattr("hornbook.tokenizer.batch.UNIT_BYTES", 1000)
    for threads in (1, 2, 5):
        got = tokenizer.encode_batch(iter(documents), threads=threads, end_id=3)
        assert [a.tolist() for a in got] == [a.tolist() for a in expected]


def test_calls_from_several_threads():
    tokenizer = TOKENIZERS["gpt2"]
    documents = [[f"the cat {i} {j} sat é".encode() * 50 for j in range(40)] for i in range(6)]
    expected = [tokenizer.encode_batch(batch)[0].tolist() for batch in documents]
    found = [None] * 6

    def work(i):
        found[i] = tokenizer.encode_batch(documents[i])[0].tolist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


BROKEN = [b"\xff", b"ab\xc3", b"\xe2\x82", b"a\xed\xa0\x80b", b"\xf0\x9f\x98 x", b"ok\xc0\x80", b"\x80"]


@pytest.mark.parametrize("broken", BROKEN)
def test_malformed_documents(broken):
    tokenizer = TOKENIZERS["gpt2"]
    documents = [b"fine", b"the cat " * 5 + broken, b"\x80fine too"]
    for threads in (1, 2):
        with pytest.raises(TokenizerError) as ours:
            tokenizer.encode_batch(documents, threads=threads)
        with pytest.raises(TokenizerError) as expected:
            pure(tokenizer, "encode_batch", documents)
        assert str(ours.value) == str(expected.value)
    ids, offsets = tokenizer.encode_batch(documents, errors="replace")
    expected = pure(tokenizer, "encode_batch", documents, errors="replace")
    assert (ids.tolist(), offsets.tolist()) == (expected[0].tolist(), expected[1].tolist())


def test_halves_of_a_character_in_two_documents_are_malformed():
    with pytest.raises(TokenizerError, match="document 0: invalid UTF-8: byte 0xc3 at byte offset 1 "):
        TOKENIZERS["gpt2"].encode_batch([b"a\xc3", b"\xa9"])


def test_dtype_threads_and_end_are_checked(cl100k):
    tokenizer = TOKENIZERS["gpt2"]
    with pytest.raises(TokenizerError, match="dtype = int64; expected uint16 or uint32"):
        tokenizer.encode_batch([b"a"], dtype=np.int64)
    with pytest.raises(TokenizerError, match="dtype = uint16 holds ids to 65535, but there are some to 100255"):
        cl100k.encode_batch([b"a"], dtype=np.uint16)
    with pytest.raises(TokenizerError, match="threads = 0; expected at least 1"):
        tokenizer.encode_batch([b"a"], threads=0)
    with pytest.raises(TokenizerError, match="token id 12345: "):
        tokenizer.encode_batch([b"a"], end_id=12345)


@pytest.mark.parametrize("kernels", ["on", "off"])
def test_broken_text_is_refused_or_replaced_and_nothing_else(kernels, monkeypatch, tmp_path):
    monkeypatch.setenv("HORNBOOK_KERNELS", kernels)
    tokenizer, file = TOKENIZERS["gpt2"], tmp_path / "text"
    file.write_bytes(b"a\xff")
    for encode in (
        lambda: tokenizer.encode_batch([b"a\xff"], errors="ignore"),
        lambda: tokenizer.encode_bytes(b"a\xff", errors="ignore"),
        lambda: tokenizer.encode_file(file, tmp_path / "ids", errors="ignore"),
    ):
        with pytest.raises(TokenizerError, match="errors = 'ignore'; expected 'strict' or 'replace'"):
            encode()
    for text in ("ab", b"ab", ""):
        with pytest.raises(TokenizerError, match=r"documents: got one text; expected a list"):
            tokenizer.encode_batch(text)


def test_special_tokens_in_long_texts():
    tokenizer = TOKENIZERS["gpt2"]
    text = "the cat<|endoftext|> sat\n<|user|>\n\n  on<|endoftext|><|endoftext|><|use the <|pad|>"
    for allowed in ((), "all", ["<|user|>"]):
        assert tokenizer.encode(text * 40, allowed_special=allowed) == pure(
            tokenizer, "encode", text * 40, allowed_special=allowed
        )


@settings(max_examples=200, deadline=None)
@given(text=st.text("<|ab> \n", max_size=150))
def test_the_longest_name_wins(text):
    names = SpecialTokens({name: 400 + i for i, name in enumerate(["<|a|>", "<|a", "<", "a|>b", "\n\n", " <|"])})
    tokenizer = Tokenizer(TOKENIZERS["gpt2"].scheme, names)
    assert tokenizer.encode(text, allowed_special="all") == pure(tokenizer, "encode", text, allowed_special="all")


BASE = TOKENIZERS["qwen2"].scheme
NFC = Tokenizer(
    BytePairScheme(BASE.tokens, BASE.merges, pattern="qwen2", normalizer="NFC"),
    SpecialTokens(
        {"<K>": 500, "<|end|>": 501, "e\u0301": 502},
        added={"\u212b": 503, "  ": 504, "\u00e7": 505, "<A\u030a>": 506},
        normalized=["  ", "\u00e7"],
    ),
)
"""Names before and after normalizing, some of which are in no normal form, and one that a normal form makes up."""
UNNORMAL = [
    "e\u0301",
    "\u0301",
    "c\u0327",
    "\u212b",
    "<\u212a>",
    "<K>",
    "<\u212b>",
    "<|end|>",
    "A\u030a",
    "  ",
    "\u1100\u1161",
    "a",
]
any_form = st.lists(st.one_of(st.sampled_from(UNNORMAL), strange_text), max_size=8).map("".join)


@pytest.mark.medium
@settings(max_examples=200, deadline=None)
@given(texts=st.lists(any_form, max_size=4))
def test_normalized_text_equals_pure(texts):
    for text in texts:
        for allowed in ((), "all", ["<K>"]):
            expected = pure(NFC, "encode", text, allowed_special=allowed)
            assert NFC.encode(text, allowed_special=allowed) == expected
    documents = [text.encode() for text in texts]
    ids, offsets = NFC.encode_batch(documents, end_id=501)
    expected, at = pure(NFC, "encode_batch", documents, end_id=501)
    assert (ids.tolist(), offsets.tolist()) == (expected.tolist(), at.tolist())


def test_normalized_text_takes_the_kernels(monkeypatch, tmp_path):
    def no_words(*_):
        raise AssertionError("a word went through pure Python")

    plain = Tokenizer(NFC.scheme, SpecialTokens({"<|end|>": 501}, added={"  ": 504}))
    texts = ["the cat  sat", "caf\u00e9  na\u00efve", "cafe\u0301  mice<|end|>e\u0301", "\u1100\u1161"]
    expected = [pure(plain, "encode", text, allowed_special="all") for text in texts]
    file, out = tmp_path / "text", tmp_path / "ids"
    file.write_text(texts[2], encoding="utf-8")
    monkeypatch.setattr(BytePairScheme, "encode", no_words)
    assert [plain.encode(text, allowed_special="all") for text in texts] == expected
    assert plain.encode_batch([texts[1].encode()])[0].tolist() == expected[1]
    plain.encode_file(file, out, allowed_special="all")
    assert np.fromfile(out, np.uint16).tolist() == expected[2]


@pytest.mark.parametrize("broken", BROKEN)
def test_malformed_documents_that_are_normalized(broken):
    documents = [b"fine", "e\u0301".encode() + broken, b"\x80"]
    with pytest.raises(TokenizerError) as ours:
        NFC.encode_batch(documents)
    with pytest.raises(TokenizerError) as expected:
        pure(NFC, "encode_batch", documents)
    assert str(ours.value) == str(expected.value)
    ids, _ = NFC.encode_batch(documents, errors="replace")
    assert ids.tolist() == pure(NFC, "encode_batch", documents, errors="replace")[0].tolist()


def test_what_has_no_kernels_takes_the_pure_path(caplog):
    own = trained(r"\w+|\s")
    assert bulk.encoder_for(own.scheme, 1) is None
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert bulk.encoder_for(own.scheme, compiled.LOADING_PAYS) is None
    assert len(caplog.records) == 1  # though asked twice
    assert "of your own and goes through the package regex" in caplog.text
    base = TOKENIZERS["gpt2"].scheme
    assert bulk.encoder_for(BytePairScheme(base.tokens, base.merges, drops_bytes=True), 1) is None
    assert bulk.encoder_for(Tokenizer.train(TEXTS, TokenizerConfig(kind="characters")).scheme, 1) is None


def test_buffers_end_where_they_say(gpt2):
    encoder = bulk.encoder_for(gpt2.scheme, 1)
    memory, tables = encoder._memory, encoder._tables
    kept = {name: guarded(array) for name, array in tables._arrays.items()}
    before = {name: int(tables.record[name]) for name in kept}
    for name, array in kept.items():
        tables.record[name] = array.ctypes.data
    try:
        for text in ["", "a", "The cat  sat.\n" * 30, "a" * 300, "é" * 140, " " * 90, "语言" * 20 + " x"]:
            for dtype in (U16, U32):
                state = memory.State(tables, dtype, cache_bits=2)
                data = text.encode()
                state._give_memory(max(len(data), 1))
                for arrays in (state._arrays, state._scratch):
                    for name in arrays:
                        arrays[name] = guarded(arrays[name])
                        state.record[name] = arrays[name].ctypes.data
                source = guarded(np.frombuffer(data + bytes(encoder.padding), np.uint8))
                out = guarded(np.zeros(len(data) + 1 + memory.OUT_SLACK, dtype))
                spans = guarded(np.array([[0, len(data), -1, 0]]))
                for _ in range(3):
                    assert state.encode(source, spans, out) is None
                    assert out[: state.n_ids].tolist() == gpt2.scheme.encode(text)
    finally:
        for name, address in before.items():
            tables.record[name] = address


def test_the_search_for_names_stays_within_its_buffers(gpt2):
    encoder = bulk.encoder_for(gpt2.scheme, 1)
    names = encoder._search.Names({b"<|endoftext|>": 1, b"<": 2})
    for name, array in names._arrays.items():
        names._arrays[name] = guarded(array)
        names._record[name] = names._arrays[name].ctypes.data
    for data in (b"", b"<", b"a" * 63 + b"<", b"a" * 64 + b"<|endoftext|>", b"<|endoftext|" * 9, b"<" * 300):
        text = guarded(np.frombuffer(data + bytes(encoder.padding), np.uint8))
        spans = names.split(text, guarded(np.array([[0, len(data), -1, 0]])))
        assert spans[-1, 1] == len(data)
        assert sum(spans[:, 1] - spans[:, 0]) + data.count(b"<|endoftext|>") * 12 + data.count(b"<") == len(data)


def test_the_encoder_goes_when_its_vocabulary_goes():
    tokenizer = trained()
    compiled_ids(tokenizer, "the cat")
    gc.collect()  # encoders of other tests
    n = len(bulk._encoders)
    del tokenizer
    gc.collect()
    assert len(bulk._encoders) == n - 1

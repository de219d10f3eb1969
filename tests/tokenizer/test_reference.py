import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.tokenizer.alphabet import BYTE_ORDER
from hornbook.tokenizer.patterns import Splitter
from hornbook.tokenizer.reference import count_words, learn_merges, merge_word
from oracles import bpe

TIE_ORDERS = ["hf", "lexicographic"]


def as_bytes(merges):
    tokens = [bytes([byte]) for byte in BYTE_ORDER]
    pairs = []
    for left, right in merges:
        pairs.append((tokens[left], tokens[right]))
        tokens.append(tokens[left] + tokens[right])
    return pairs


# Two letters make runs, overlaps and ties; the other bytes check the two orders against each other.
words_of_few_letters = st.dictionaries(
    st.text("ab", min_size=1, max_size=12).map(str.encode), st.integers(1, 4), min_size=1, max_size=8
)
words_of_any_bytes = st.dictionaries(st.binary(min_size=1, max_size=8), st.integers(1, 3), min_size=1, max_size=8)


@pytest.mark.parametrize("tie_order", TIE_ORDERS)
@settings(max_examples=120, deadline=None)
@given(words=st.one_of(words_of_few_letters, words_of_any_bytes))
def test_merges_equal_a_full_recount(tie_order, words):
    merges = learn_merges(words, BYTE_ORDER, 30, tie_order=tie_order)
    assert as_bytes(merges) == bpe.learn_merges(words, BYTE_ORDER, 30, tie_order=tie_order)


@pytest.mark.parametrize("tie_order", TIE_ORDERS)
def test_overlapping_runs_merge_once_left_to_right(tie_order):
    assert as_bytes(learn_merges({b"aaa": 5, b"ab": 9}, BYTE_ORDER, 9, tie_order=tie_order)) == [
        (b"a", b"a"),  # counts 10, though only 5 can merge
        (b"a", b"b"),
        (b"aa", b"a"),
    ]


def test_tie_orders():
    words = {b"ab": 1, b"ba": 1, b" a": 1}
    assert as_bytes(learn_merges(words, BYTE_ORDER, 1, tie_order="hf")) == [(b"a", b"b")]  # a blank has id 220
    assert as_bytes(learn_merges(words, BYTE_ORDER, 1, tie_order="lexicographic")) == [(b"b", b"a")]
    prefixes = {b"aab": 1, b"aac": 1, b"aad": 1, b"xa": 1, b"xaa": 1}
    for tie_order in TIE_ORDERS:
        expected = bpe.learn_merges(prefixes, BYTE_ORDER, 9, tie_order=tie_order)
        assert as_bytes(learn_merges(prefixes, BYTE_ORDER, 9, tie_order=tie_order)) == expected


def test_learning_ends_when_every_word_is_one_symbol():
    assert len(learn_merges({b"abc": 1}, BYTE_ORDER, 100)) == 2
    assert learn_merges({}, BYTE_ORDER, 100) == []
    assert learn_merges({b"abc": 1}, BYTE_ORDER, 0) == []


def test_progress_counts_up():
    seen = []
    words = count_words([" ".join(str(i) for i in range(1000))], Splitter("gpt2"))
    learn_merges({w.encode(): n for w, n in words.items()}, BYTE_ORDER, 200, progress=seen.append)
    assert seen == [64, 128, 192]


@settings(max_examples=120, deadline=None)
@given(words=words_of_few_letters, word=st.text("abc", max_size=30).map(str.encode))
def test_encoding_applies_merges_in_order(words, word):
    merges = learn_merges(words, BYTE_ORDER, 20)
    pairs = as_bytes(merges)
    ids = {byte: i for i, byte in enumerate(BYTE_ORDER)}
    joined = {pair: (rank, 256 + rank) for rank, pair in enumerate(merges)}
    tokens = [bytes([byte]) for byte in BYTE_ORDER] + [left + right for left, right in pairs]
    encoded = merge_word([ids[byte] for byte in word], joined)
    assert [tokens[i] for i in encoded] == bpe.encode_word(word, pairs)


def test_a_long_word_is_not_quadratic(gpt2, tiktoken_gpt2):
    """A way that looks at every pair for every merge would take minutes."""
    rng = random.Random(0)
    for text in ("a" * 40_000, "".join(rng.choices("abcdefgh", k=40_000))):
        assert gpt2.encode(text) == tiktoken_gpt2.encode_ordinary(text)

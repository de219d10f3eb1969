import random
from itertools import pairwise

import pytest

from hornbook.tokenizer import kernels
from hornbook.tokenizer.alphabet import BYTE_ORDER
from hornbook.tokenizer.reference import learn_merges
from hornbook.tokenizer.word_counts import WordCounts
from oracles import bpe
from tokenizer.guard_pages import GuardedNumpy, guarded

pytestmark = pytest.mark.medium

TIE_ORDERS = ["hf", "lexicographic"]
# Few letters make runs, overlaps and ties; zero bytes make prefixes that look alike; 255 is the largest.
ALPHABETS = [b"ab", b"abc", b"\x00a", b"\xff\xfe\x00", bytes(range(256))]

merging = kernels.module("merging")


def compiled(words, n_merges, tie_order, **options):
    """Merges of a mapping from words to counts."""
    return merging.learn_merges(WordCounts.of(words), BYTE_ORDER, n_merges, tie_order=tie_order, **options)


def fuzzed_words(rng, n=30):
    letters = rng.choice(ALPHABETS)
    lengths = rng.choice([3, 5, 12, 40])
    return {bytes(rng.choices(letters, k=rng.randint(1, lengths))): rng.randint(1, 5) for _ in range(rng.randint(0, n))}


@pytest.mark.parametrize("tie_order", TIE_ORDERS)
def test_merges_equal_the_reference(tie_order):
    rng = random.Random(0)
    for _ in range(60):
        words = fuzzed_words(rng)
        assert compiled(words, 60, tie_order) == learn_merges(words, BYTE_ORDER, 60, tie_order=tie_order)


@pytest.mark.medium
@pytest.mark.parametrize("tie_order", TIE_ORDERS)
def test_merges_equal_a_full_recount_of_300_corpora(tie_order):
    rng = random.Random(1)
    for _ in range(300):
        words = fuzzed_words(rng, n=25)
        merges = compiled(words, 40, tie_order)
        tokens = [bytes([byte]) for byte in BYTE_ORDER]
        for left, right in merges:
            tokens.append(tokens[left] + tokens[right])
        as_bytes = [(tokens[left], tokens[right]) for left, right in merges]
        assert as_bytes == bpe.learn_merges(words, BYTE_ORDER, 40, tie_order=tie_order)


@pytest.mark.parametrize("tie_order", TIE_ORDERS)
def test_many_words_and_merges_equal_the_reference(tie_order, monkeypatch):
    monkeypatch.setattr(merging, "_FEWEST_PAIRS", 2**14)  # which pairs of bytes nearly fill
    grown, make_room = [], merging._Memory.make_room_for_pairs
    monkeypatch.setattr(merging._Memory, "make_room_for_pairs", lambda self: grown.append(make_room(self)))
    rng = random.Random(2)
    words, pairs = {}, set()
    while len(pairs) < 16_300:
        word = bytes(rng.choices(range(256), k=rng.randint(2, 9)))
        words[word] = rng.randint(1, 3)
        pairs.update(pairwise(word))
    assert compiled(words, 1500, tie_order) == learn_merges(words, BYTE_ORDER, 1500, tie_order=tie_order)
    assert grown


@pytest.mark.parametrize("tie_order", TIE_ORDERS)
def test_no_memory_beyond_its_end_is_read_or_written(tie_order, monkeypatch):
    keep = merging._Memory._keep
    monkeypatch.setattr(merging._Memory, "_keep", lambda self, name, array: keep(self, name, guarded(array)))
    monkeypatch.setattr(merging, "np", GuardedNumpy())
    rng = random.Random(3)
    for _ in range(10):
        words = fuzzed_words(rng)
        assert compiled(words, 60, tie_order) == learn_merges(words, BYTE_ORDER, 60, tie_order=tie_order)


def test_a_long_run_is_linear():
    """Each merge halves the run: a way that walks the whole of it for every place would take hours."""
    merges = compiled({b"a" * 2**20: 1, b"b" * 3: 2**40}, 30, "hf")
    assert merges[:2] == [(BYTE_ORDER.index(ord("b")),) * 2, (256, BYTE_ORDER.index(ord("b")))]
    assert merges[3:6] == [(258, 258), (259, 259), (260, 260)]
    assert len(merges) == 22


def test_progress_counts_up_and_may_interrupt():
    seen = []
    words = {str(i).encode(): 1 for i in range(1000)}
    compiled(words, 200, "hf", progress=seen.append)
    assert seen == [64, 128, 192]

    def interrupt(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compiled(words, 200, "hf", progress=interrupt)


def test_more_places_than_can_be_numbered(monkeypatch):
    monkeypatch.setattr(merging, "_MOST_PLACES", 20)
    with pytest.raises(OverflowError, match="2 distinct words of 6 bytes together"):
        compiled({b"abc": 1, b"abd": 1}, 1, "hf")

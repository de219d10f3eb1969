import itertools
import random
import string
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import TokenizerError
from hornbook.tokenizer import kernels, word_counting
from hornbook.tokenizer.patterns import PATTERNS, Splitter
from hornbook.tokenizer.reference import count_words
from hornbook.tokenizer.special_tokens import split_at_names
from hornbook.tokenizer.word_counts import WordCounts
from strange_text import strange_text
from tokenizer.guard_pages import GuardedNumpy, guarded

pytestmark = pytest.mark.medium

NAMES = ("<|endoftext|>", "<|end|>", "<|endoftext|><|user|>", "é", "\n\n")

counting = kernels.module("counting")
PATTERN_NAMES = [name for name in PATTERNS if name in kernels.module("splitting").PATTERN_KINDS]


@pytest.fixture(autouse=True, scope="module")
def _small_tables():
    """Tables that must grow soon; large ones take their time to be zeroed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counting.WordTable.__init__, "__defaults__", (512, 8))
        yield


def reference_counts(documents, pattern="gpt2", names=()):
    parts = (part for text in documents for part, _ in split_at_names(text, frozenset(names)) if part)
    return {word.encode(): count for word, count in count_words(parts, Splitter(pattern)).items()}


def laid_out(documents, hidden=b"\xff"):
    """Documents side by side, bytes behind them that are no text, and where each starts."""
    data = [text.encode() for text in documents]
    bounds = np.cumsum([0, *map(len, data)]).tolist()
    return np.frombuffer(b"".join(data) + hidden * counting.PADDING, np.uint8), bounds


def compiled_counts(documents, pattern="gpt2", names=()):
    counter = counting.WordCounter(pattern, [name.encode() for name in names])
    assert counter.count(*laid_out(documents)) is None
    return counter.table.words().mapping()


@pytest.mark.medium
@pytest.mark.parametrize("pattern", PATTERN_NAMES)
@settings(max_examples=25, deadline=None)
@given(documents=st.lists(strange_text, max_size=4))
def test_counts_equal_the_reference(pattern, documents):
    for names in ((), NAMES):
        assert compiled_counts(documents, pattern, names) == reference_counts(documents, pattern, names)


def test_long_text_is_cut_without_changing_a_word():
    rng = random.Random(0)
    parts = ["word", " two", "  ", "\n\n", "<|endoftext|>", " <|end|>", "é", "123", "!", "日本", " ", "x" * 90, "<|"]
    text = "".join(rng.choices(parts, k=60_000))
    assert len(text) > 3 * counting._STRETCH
    assert compiled_counts([text], names=NAMES) == reference_counts([text], names=NAMES)


def test_a_text_without_a_place_to_cut():
    for text in ("a" * 500_000, "é" * 300_000, " " * 400_000, "a1" * 200_000):
        assert compiled_counts([text, text]) == reference_counts([text, text])


def test_long_words_that_differ_only_in_their_end_or_length():
    words = ["x" * n for n in range(1, 60)] + ["y" * 15 + end for end in "abc"] + ["y" * 31 + end for end in "abc"]
    documents = [word for i, word in enumerate(words) for _ in range(i % 3 + 1)]
    assert compiled_counts(documents) == Counter(document.encode() for document in documents)


def test_tables_and_arenas_grow():
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefgh", k=rng.choice([3, 7, 8, 15, 16, 17, 40]))) for _ in range(20_000)]
    text = " ".join(words)
    assert compiled_counts([text]) == reference_counts([text])


def test_special_tokens_at_every_place_of_a_block():
    for name in ("<|endoftext|>", "e", "日本"):
        for n in [*range(61, 68), 127, 128, counting._STRETCH - 1, counting._STRETCH]:
            text = " a" * (n // 2) + " " * (n % 2) + name + "b " + name + " "
            assert compiled_counts([text], names=[name]) == reference_counts([text], names=[name])


def test_the_longest_of_two_names_wins_and_a_part_is_text():
    text = "a<|endoftext|><|user|>b<|endoftext|>c<|endoftext"
    assert compiled_counts([text], names=NAMES) == reference_counts([text], names=NAMES)
    assert compiled_counts(["<|end|>"], names=["<|end|>"]) == {}
    assert compiled_counts(["a<|en", "d|>b"], names=["<|end|>"]) == reference_counts(["a<|en", "d|>b"])


@pytest.mark.parametrize(
    ("data", "place"),
    [(b"abc\xff", 3), (b"\x80", 0), (b"fine \xc3", 5), (b"a" * 200_000 + b"\xe2\x82", 200_000), (b"\xed\xa0\x80", 0)],
)
def test_invalid_utf8_is_found_where_it_stands(data, place):
    counter = counting.WordCounter("gpt2")
    padded = np.frombuffer(data + bytes(counting.PADDING), np.uint8)
    assert counter.count(padded, [0, len(data)]) == place
    # A character that the next document would complete is broken too.
    assert counting.WordCounter("gpt2").count(np.frombuffer(b"\xc3\xa9" + bytes(999), np.uint8), [0, 1, 2]) == 0


def test_words_that_were_counted_elsewhere():
    rng = random.Random(2)
    words = {bytes(rng.choices(b"ab\x00", k=rng.randint(1, 40))): rng.randint(1, 2**40) for _ in range(3000)}
    table = counting.WordTable.of_words(words)
    assert table.words().mapping() == words
    assert counting.WordTable.of_words({}).words().mapping() == {}
    for n_parts in (1, 2, 3, 7):
        parts = [counting.WordTable.sum([table, table], part, n_parts).words() for part in range(n_parts)]
        assert WordCounts.joined(parts).mapping() == {word: 2 * count for word, count in words.items()}
        assert sum(len(part.counts) for part in parts) == len(words)
    assert counting.WordTable.sum([table], room=1).words().mapping() == words  # it notices that there is too little


def test_the_parts_of_a_sum_are_spread_over_their_slots():
    """Words of one part must not crowd in one part of its slots: each would have to pass all that came before."""
    table = counting.WordTable.of_words({b"word%d" % i: 1 for i in range(8000)})
    for part in range(8):
        assert min(taken_quarters(counting.WordTable.sum([table], part, 8))) > 150


@pytest.mark.parametrize("secret", [counting._SECRET, 0xC2B2AE3D27D4EB4F], ids=["kept", "known"])
def test_words_made_to_collide_do_so_only_where_the_secret_is_known(secret, monkeypatch):
    """Else a megabyte of them would take seconds, and sixteen of them ten minutes."""
    monkeypatch.setattr(counting, "_SECRET", secret)
    words = itertools.islice(colliding_words(0xC2B2AE3D27D4EB4F), 1000)
    quarters = taken_quarters(counting.WordTable.of_words(dict.fromkeys(words, 1)))
    assert sum(quarters) == 1000
    assert min(quarters) > 150 if secret != 0xC2B2AE3D27D4EB4F else sorted(quarters)[1] == 0


def taken_quarters(table):
    """How many slots are taken in each quarter of a table."""
    return [int(np.count_nonzero(quarter[:, 1])) for quarter in np.split(table.slots.reshape(-1, 4), 4)]


def colliding_words(secret, end=b""):
    """Words of 15 letters that end so, whose keys (low, high) have the same low ^ (high * secret)."""
    n = len(end)
    high = int.from_bytes(end + b"\x0f" * (n == 7), "little")
    low = (high * secret ^ int.from_bytes(b"a" * 8, "little")).to_bytes(16, "little")[:8]
    if n == 7 and low.isalpha():
        yield low + end
    elif n < 7 and (n == 0 or low[:n].isalpha()):
        for letter in string.ascii_letters.encode():
            yield from colliding_words(secret, end + bytes([letter]))


def test_no_memory_beyond_its_end_is_read_or_written(monkeypatch):
    keep, zeroed = counting.WordCounter._keep, counting.zeroed
    monkeypatch.setattr(counting.WordCounter, "_keep", lambda self, name, array: keep(self, name, guarded(array)))
    monkeypatch.setattr(counting, "zeroed", lambda n: guarded(zeroed(n)))
    monkeypatch.setattr(counting, "np", GuardedNumpy())
    rng = random.Random(3)
    parts = ["word", " two", "  ", "\n\n", "<|endoftext|>", "é", "123", "日本", "x" * 90, "<|", "'s"]
    counter, documents = counting.WordCounter("gpt2", [name.encode() for name in NAMES]), []
    texts = ["".join(rng.choices(parts, k=n)) for n in [*range(40), 70_000]]
    for document in [*texts, "a1" * counting._STRETCH]:  # the last one is words of one byte, and cannot be cut
        documents.append(document)
        text, bounds = laid_out(documents[-1:])
        assert counter.count(guarded(text), bounds) is None
    words = reference_counts(documents, names=NAMES)
    assert counter.table.words().mapping() == words
    for counts in (words, {b"a": 1}, {b"a" * 99: 1}):  # the last word is written behind all others
        assert counting.WordTable.of_words(counts).words().mapping() == counts


def test_blocks_must_be_padded():
    counter = counting.WordCounter("gpt2")
    with pytest.raises(AssertionError):
        counter.count(np.frombuffer(b"abc" + bytes(counting.PADDING - 1), np.uint8), [0, 3])
    with pytest.raises(AssertionError):
        counter.count(np.frombuffer(b"abc" + bytes(999), np.uint8), [0, 3, 2])


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 64 bytes, which cut everything."""
    blocks = word_counting.text_blocks
    monkeypatch.setattr(word_counting, "text_blocks", lambda *a, **k: blocks(*a, **k, block_bytes=64))


@pytest.mark.parametrize("choice", ["on", "off"])
def test_the_same_counts_for_any_number_of_threads_and_any_blocks(choice, small_blocks, monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", choice)
    rng = random.Random(4)
    parts = ["word", " two", "  ", "\n\n", "<|endoftext|>", "é", "123", "日本", "x" * 90, "<|", "'s", " b"]
    documents = ["".join(rng.choices(parts, k=rng.randint(0, 100))) for _ in range(6)]
    expected = reference_counts(documents, names=NAMES)
    for threads in (1, 2, 3, 4):
        counts = word_counting.count_documents(documents, Splitter("gpt2"), NAMES, threads=threads)
        assert counts.mapping() == expected


def test_counting_switches_to_compiled_code_once_it_pays(small_blocks, monkeypatch):
    asked = []

    def kernels_for(task, n_bytes):
        asked.append(n_bytes)
        return kernels if sum(asked) > 300 else None

    monkeypatch.setattr(word_counting.compiled, "kernels_for", kernels_for)
    documents = [f"document {i} of many " for i in range(100)]
    counts = word_counting.count_documents(iter(documents), Splitter("gpt2"), threads=2)
    assert counts.mapping() == reference_counts(documents)
    assert 300 < sum(asked) < 400  # and never asks again


def test_a_known_size_is_asked_for_once(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(word_counting.compiled, "kernels_for", lambda task, n_bytes: asked.append(n_bytes))
    path = tmp_path / "text.txt"
    path.write_text("some text")
    word_counting.count_documents([path, "more", b"bytes"], Splitter("gpt2"))
    word_counting.count_documents(path, Splitter("gpt2"), max_bytes=4)
    word_counting.count_documents(iter(["text"]), Splitter("gpt2"), n_bytes=7)
    assert asked == [18, 4, 7]


def test_a_text_without_a_place_to_cut_that_is_too_long_is_one_message(monkeypatch):
    monkeypatch.setenv("HORNBOOK_KERNELS", "on")
    monkeypatch.setattr(counting, "_LONGEST_STRETCH", counting._STRETCH)
    with pytest.raises(TokenizerError, match=r"document 0: [0-9,]+ bytes without a place between words; put white"):
        word_counting.count_documents(["a" * 100_000], Splitter("gpt2"))

"""Every byte goes into exactly one split; hashes look only at the text, positions only at where it stands."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.data.documents import Block
from hornbook.data.splits import boundaries, by_hash, by_position


def blocks(texts, size=3):
    """Documents in blocks of `size`."""
    encoded = [text.encode() for text in texts]
    return [Block(encoded[i : i + size], "a", range(i, len(texts))[:size]) for i in range(0, len(texts), size)]


def hashed(texts, **fractions):
    return [piece for pieces in by_hash(blocks(texts), **fractions) for piece in pieces]


def test_hash_fractions_are_about_right():
    """10,000 documents: each count is binomial, so within 5 standard deviations of its mean."""
    texts = [str(i) for i in range(10_000)]
    found = [piece.split for piece in hashed(texts, valid_fraction=0.1, test_fraction=0.2)]
    for split, p in (("valid", 0.1), ("test", 0.2), ("train", 0.7)):
        assert abs(found.count(split) - 10_000 * p) < 5 * (10_000 * p * (1 - p)) ** 0.5


def test_hash_depends_on_nothing_but_the_text():
    texts = [str(i) for i in range(100)]
    shuffled = random.Random(0).sample([*texts, *texts], 200)
    place = {piece.text: piece.split for piece in hashed(texts, valid_fraction=0.3, test_fraction=0.0)}
    for piece in hashed(shuffled, valid_fraction=0.3, test_fraction=0.0):
        assert piece.split == place[piece.text]


def test_a_larger_fraction_only_adds():
    texts = [str(i) for i in range(300)]
    small, large = (
        {p.text for p in hashed(texts, valid_fraction=f, test_fraction=0) if p.split == "valid"} for f in (0.1, 0.3)
    )
    assert small < large


@given(st.lists(st.text("aé☃\U0001f600", min_size=1), max_size=6), st.data())
def test_position_cuts_one_stream_between_characters(texts, data):
    stream = "".join(texts).encode()
    valid_end = data.draw(st.integers(0, len(stream)))
    train_end = data.draw(st.integers(0, valid_end))
    parts = {"train": b"", "valid": b"", "test": b""}
    split = by_position(blocks(texts, 2), train_end=train_end, valid_end=valid_end)
    for piece in (piece for pieces in split for piece in pieces):
        assert piece.text
        piece.text.decode()  # whole characters
        parts[piece.split] += piece.text
    assert b"".join(parts.values()) == stream
    assert 0 <= train_end - len(parts["train"]) < 4
    assert 0 <= valid_end - len(parts["train"] + parts["valid"]) < 4


@pytest.mark.parametrize(
    ("total", "valid", "test", "expected"),
    [
        (1_115_394, 0.1, 0.0, (1_003_854, 1_115_394)),  # nanoGPT's tiny Shakespeare
        (10, 0.1, 0.2, (7, 8)),  # 10 * (1 - 0.1 - 0.2) is 7.000000000000001 or 6.999999999999999 in binary
        (10, 0.2, 0.1, (7, 9)),
        (3, 0.0, 0.0, (3, 3)),
    ],
)
def test_boundaries(total, valid, test, expected):
    assert boundaries(total, valid_fraction=valid, test_fraction=test) == expected

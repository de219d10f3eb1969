"""NFC as the library `tokenizers` has it, for every code point and beside marks of every class."""

import random
import sys
import unicodedata

import pytest
import regex
from tokenizers import normalizers

from hornbook.tokenizer.normal_form import nfc

THEIRS = normalizers.NFC().normalize_str
SCALARS = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]


def test_composition_and_order():
    assert nfc("e\u0301 \u212b \u1100\u1161\u11a8") == "é Å 각"
    assert nfc("a\u0301\u0316") == THEIRS("a\u0301\u0316") == "á\u0316"
    assert nfc("plain") == "plain"


def test_what_later_versions_added_stays_where_it_is():
    later = "\u05d0\u08d3\u0316"  # U+08D3, of class 220, came with Unicode 11
    assert nfc(later) == THEIRS(later) == later
    assert nfc("\U00011935\U00011930") == "\U00011935\U00011930"


@pytest.mark.medium
def test_every_code_point():
    texts = SCALARS + [unicodedata.normalize("NFD", c) for c in SCALARS]
    assert [text for text in texts if nfc(text) != THEIRS(text)] == []


@pytest.mark.medium
def test_every_mark_beside_marks_of_other_classes():
    """`regex` knows a newer Unicode than most Pythons, so new marks are among these."""
    marks = [c for c in SCALARS if not regex.match(r"\p{ccc=0}", c)]
    assert len(marks) > 900
    around = ["\u0334", "\u0345", "\u0316", "\u0301", "\u05b0", "\u093c"]
    texts = [base + text for base in "\u05d0e" for m in marks for a in around for text in (m + a, a + m)]
    assert [text for text in texts if nfc(text) != THEIRS(text)] == []


@pytest.mark.medium
def test_mixtures():
    draw = random.Random(5)
    pool = [c for c in SCALARS if not regex.match(r"\p{ccc=0}", c)] + [
        c for c in SCALARS if unicodedata.decomposition(c)
    ]
    texts = ["".join(draw.choices(pool, k=8)) for _ in range(100_000)]
    assert [text for text in texts if nfc(text) != THEIRS(text)] == []

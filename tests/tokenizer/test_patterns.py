from itertools import pairwise

import pytest
import regex
import tiktoken
from hypothesis import given, settings

from hornbook.errors import TokenizerError
from hornbook.tokenizer.patterns import PATTERNS, Splitter, code_point_ranges, with_frozen_classes
from strange_text import strange_text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("Hello world", ["Hello", " world"]),
        ("it's  two\n\nlines", ["it", "'s", " ", " two", "\n", "\n", "lines"]),
        ("ends\n\n", ["ends", "\n\n"]),
        ("a\r\nb", ["a", "\r", "\n", "b"]),
        ("x1234 $5", ["x", "1234", " $", "5"]),
        ("n\u00b2", ["n", "\u00b2"]),
    ],
)
def test_gpt2_splits(text, words):
    assert Splitter("gpt2")(text) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it'S 12345", ["it", "'S", " ", "123", "45"]),
        ("end.\r\n\r\nnext", ["end", ".\r\n\r\n", "next"]),
        ("a\n \n b", ["a", "\n \n", " b"]),
        ("x\n ", ["x", "\n "]),
        ("tab\tword", ["tab", "\tword"]),
    ],
)
def test_cl100k_splits(text, words):
    assert Splitter("cl100k")(text) == words


def test_o200k_splits_by_case():
    assert Splitter("o200k")("camelCaseWord's !\n/x") == ["camel", "Case", "Word's", " !\n/", "x"]


@pytest.mark.parametrize("name", PATTERNS)
@settings(max_examples=40, deadline=None)
@given(text=strange_text)
def test_words_joined_are_the_text(name, text):
    words = _SPLITTERS[name](text)
    assert "".join(words) == text
    assert all(words)


def test_own_pattern_loses_nothing_and_may_have_groups():
    assert Splitter(r"(\p{L})+|x*")("ab, cd") == ["ab", ", ", "cd"]


def test_own_pattern_that_does_not_compile():
    with pytest.raises(TokenizerError, match=r"tokenizer\.pattern = '\(ab' is neither one of gpt2, .* missing \)"):
        Splitter("(ab")


def test_other_properties_and_escaped_backslashes_stay():
    assert with_frozen_classes(r"\p{Han}\\p{L}") == r"\p{Han}\\p{L}"
    assert Splitter(r"\P{L}+")("ab12cd") == ["ab", "12", "cd"]
    assert Splitter(r"\pN")("a12") == ["a", "1", "2"]


def test_only_known_patterns_can_be_cut():
    assert all(Splitter(name).cut for name in PATTERNS)
    assert Splitter(r"\S+|\s+").cut is None


@pytest.mark.parametrize(
    ("category", "size"),
    [("L", 141_028), ("N", 1911), ("M", 2501), ("Lu", 1858), ("Ll", 2258), ("Lt", 31), ("Lm", 404), ("Lo", 136_477)],
)
def test_table_is_frozen(category, size):
    """Sizes of the classes of Unicode 16, in tiktoken 0.14."""
    ranges = code_point_ranges(category)
    assert sum(last - first + 1 for first, last in ranges) == size
    assert all(a[1] + 1 < b[0] for a, b in pairwise(ranges))


@pytest.mark.medium
@pytest.mark.parametrize("category", ["L", "N", "M", "Lu", "Ll", "Lt", "Lm", "Lo"])
def test_classes_equal_tiktokens_for_every_code_point(category):
    everything = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    probe = tiktoken.Encoding(
        "probe",
        pat_str=rf"\p{{{category}}}",
        mergeable_ranks={bytes([i]): i for i in range(256)},
        special_tokens={},
    )
    theirs = probe.decode_bytes(probe.encode_ordinary(everything)).decode()  # what does not match is left out
    ours = regex.findall(with_frozen_classes(rf"\p{{{category}}}"), everything, regex.V1)
    assert "".join(ours) == theirs


def test_letters_of_later_unicode_versions_are_no_letters():
    """The package `regex` counts U+0558 among the letters; the engines that published vocabularies came from do not."""
    assert Splitter("gpt2")("a\u0558") == ["a", "\u0558"]
    assert Splitter("gpt2")("a\U00010d4a\u1c89") == ["a\U00010d4a\u1c89"]


_SPLITTERS = {name: Splitter(name) for name in PATTERNS}

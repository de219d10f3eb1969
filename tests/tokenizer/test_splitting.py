"""The compiled splitters against their definition, `Splitter`, and against the engines of published vocabularies."""

import gzip
import random
from itertools import pairwise

import numpy as np
import pytest
import regex
import tiktoken
from hypothesis import given, settings
from tokenizers import Regex, pre_tokenizers

from data_paths import needs
from hornbook.errors import TokenizerError
from hornbook.tokenizer import kernels
from hornbook.tokenizer.patterns import PATTERNS, Splitter, code_point_ranges
from strange_text import FRAGMENTS, strange_text
from tokenizer.conftest import TIKTOKEN_PATTERNS
from tokenizer.guard_pages import guarded

splitting = kernels.module("splitting")
KINDS = splitting.PATTERN_KINDS
SPLITTERS = {pattern: Splitter(pattern) for pattern in PATTERNS}

# Beside the fragments that all tokenizer tests share: what meets at the edge of 64 bytes, and what folds to s and k.
MORE_FRAGMENTS = (
    *("\u017f", "\u212a", "'\u212a", "\u0130", "\u0301", "\u200d", "\ufe0f", "\u2764\ufe0f", "\u0903", "A", "b"),
    *("'re", "'ll", "'d ", "/", "\n/", "\n    ", "\n  \n", "  \n\t", "\u3001", "\uff0c\uff11", "\U0001d7d8", "\u4e2dA"),
    *("x" * 61, "7" * 62, " " * 63, "\n" * 64, "." * 65, "\u00e9" * 31, "\u00a0" * 32, "\u4e2d" * 21),
)
BROKEN = (
    b"\x80",
    b"\xff",
    b"\xc0\x80",
    b"\xe0\x9f\xbf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80",
    b"\xf0\x9f",
)

# As tiktoken_ext.openai_public has it.
O200K = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    splitting.exercise()


def random_text(rng, n_fragments=25):
    """Fragments, single characters of all planes and runs, as bytes."""
    parts = []
    for _ in range(rng.randrange(n_fragments)):
        match rng.random():
            case x if x < 0.7:
                parts.append(rng.choice(FRAGMENTS + MORE_FRAGMENTS))
            case x if x < 0.85:
                bounds = rng.choice([(0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)])
                parts.append(chr(rng.randrange(*bounds)))
            case _:
                parts.append(rng.choice(FRAGMENTS)[:2] * rng.randrange(1, 5))
    return "".join(parts).encode()


def damaged(rng, data):
    """Bytes with a few of them overwritten, or broken sequences put between them, or their end cut off."""
    data = bytearray(data)
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(data) + 1)
        if rng.random() < 0.5:
            data[at:at] = rng.choice(BROKEN)
        else:
            data[at : at + 1] = bytes([rng.randrange(256)])
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.2 else data)


def words(pattern, data):
    """Our words of a text."""
    starts = [*splitting.word_starts(pattern, data).tolist(), len(data)]
    return [data[a:b] for a, b in pairwise(starts)]


def defined_words(pattern, data):
    """The words by definition; a broken byte is a character of its own."""
    text = data.decode("utf-8", "surrogateescape")
    return [word.encode("utf-8", "surrogateescape") for word in SPLITTERS[pattern](text)]


def address(array):
    return np.uint64(array.ctypes.data)


def padded(data, behind=b"\x00"):
    return np.frombuffer(data + behind * splitting.PADDING, np.uint8)[: len(data) + splitting.PADDING].copy()


def test_every_published_pattern_has_a_splitter():
    assert set(KINDS) == set(PATTERNS)


@pytest.mark.parametrize("pattern", KINDS)
@pytest.mark.parametrize(
    "text",
    [
        *("", "a", "ab", "abc", " ", "\n", "'", "'s", "1", "\u00e9", "\u3000", "\U0001f600"),
        *("It's  two  42!", "ends \n\n", "ends\n \t", "say:\n   'Hi'\n1234's", "!\n \n  x", "a\n  \n  b", "\t\tx"),
        *("it'S we'LL they'Re o'\u017f x'\u212a", " 's !'s ''s 's's", "camelCase HTTPServer's ABc \u4e2dAB \u4e2dABc"),
        *(
            "e\u0301 !\u0301a !!\u0301a \u0301Ab \u0301A",
            "\u0301AB 1\u0301A\n\u0301Ab\n\u0301\u0301A\n\u0301'S",
            "a!\n/b //\r\n/c \n/",
            "\u0661\u0662\u0663\u0664 12\u0663\u00b24",
        ),
        *(" \u00a0a", "\u00a0\u00a0a", "a\u2028\u2028", "\u1680!", "\u0085\u0085 x"),
        *("a" * n + " 'll\u00a0\u3000!\n\n7" for n in range(50, 66)),
        *(" " * n + "x" for n in range(60, 68)),
        *("x\n" + " " * n + end for n in (61, 62, 63, 130) for end in ("\nx", "x", "")),
        *("1" * n for n in (61, 62, 63, 64, 65, 130)),
    ],
)
def test_words_are_those_of_the_definition(pattern, text):
    assert words(pattern, text.encode()) == defined_words(pattern, text.encode())


@pytest.mark.parametrize("pattern", KINDS)
@settings(max_examples=25, deadline=None)
@given(text=strange_text)
def test_words_of_strange_text(pattern, text):
    assert words(pattern, text.encode()) == defined_words(pattern, text.encode())


@pytest.mark.parametrize("pattern", KINDS)
def test_words_of_random_and_of_damaged_text(pattern):
    rng = random.Random(1)
    for _ in range(3):  # the definition costs milliseconds for each call, so many texts go into one
        data = b"".join(damaged(rng, random_text(rng)) for _ in range(60))
        assert words(pattern, data) == defined_words(pattern, data)


@pytest.mark.medium
@pytest.mark.parametrize("pattern", KINDS)
def test_words_of_20_000_random_texts(pattern):
    rng = random.Random(2)
    for _ in range(500):
        texts = [random_text(rng) if rng.random() < 0.7 else damaged(rng, random_text(rng)) for _ in range(40)]
        for data in (b"".join(texts), texts[0]):
            assert words(pattern, data) == defined_words(pattern, data)


@pytest.mark.medium
@pytest.mark.parametrize("pattern", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        "pretrain/tinyshakespeare/input.txt",
        "pretrain/wikitext-2/wiki.test.raw",
        "pretrain/names/names.txt",
        "sft/gsm8k/gsm8k_train.jsonl.gz",
        "tokenizer/cl100k_base.tiktoken",
        "tokenizer/gpt2/gpt2_vocab.json",
    ],
)
def test_words_of_real_text(pattern, name):
    path = needs(name)
    data = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())[:1_500_000]
    assert words(pattern, data) == defined_words(pattern, data)


def test_digits_newer_than_the_frozen_table_stand_alone_in_smollm_only():
    digits = [0x11DE0, 0x11DE9, 0x16FF4, 0x16FF6]
    theirs = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    for char in map(chr, [*digits, *(c - 1 for c in digits), *(c + 1 for c in digits)]):
        text = f"{char}{char} {char}  {char}!{char}a"
        data = text.encode()
        expected = [text[a:b].encode() for _, (a, b) in theirs.pre_tokenize_str(text)]
        assert words("smollm", data) == defined_words("smollm", data) == expected
        assert words("gpt2", data) == defined_words("gpt2", data)
        assert words("gpt2", data)[0] == (char * 2).encode()


@pytest.mark.medium
@pytest.mark.parametrize("pattern", KINDS)
def test_words_are_those_of_the_library_tokenizers(pattern):
    theirs = pre_tokenizers.Split(Regex(PATTERNS[pattern].expression), "isolated")
    if pattern == "smollm":
        theirs = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    elif pattern == "gpt2":
        theirs = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rng = random.Random(3)
    for _ in range(20_000):
        data = random_text(rng, 12)
        text = data.decode()
        spans = [span for _, span in theirs.pre_tokenize_str(text)]
        assert words(pattern, data) == [text[a:b].encode() for a, b in spans]


@pytest.mark.medium
@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k"])
def test_words_are_those_of_tiktoken(pattern):
    """A piece that is a token becomes that token: all our words are, and so are two neighbours taken together."""
    rng = random.Random(4)
    data = b"".join(random_text(rng) for _ in range(20_000))
    ours = words(pattern, data)
    two = {a + b for a, b in pairwise(ours)}
    tokens = dict.fromkeys([*(bytes([i]) for i in range(256)), *sorted(two - set(ours)), *ours])
    encoding = tiktoken.Encoding(
        "words",
        pat_str=(TIKTOKEN_PATTERNS | {"o200k": O200K})[pattern],
        mergeable_ranks={token: i for i, token in enumerate(tokens)},
        special_tokens={},
    )
    assert encoding.decode_tokens_bytes(encoding.encode_ordinary(data.decode())) == ours


@pytest.mark.parametrize("pattern", KINDS)
def test_nothing_is_read_or_written_out_of_bounds(pattern):
    rng = random.Random(5)
    classes = splitting.class_table(KINDS[pattern])
    for length in [*range(5), *range(60, 70), 127, 128, 129, 1000, 5000]:
        every_byte_a_word = b"1a" * length
        for data in (random_text(rng, 600)[:length], every_byte_a_word[:length], b"\n" * length, b"\xf0" * length):
            n = len(data)
            text = guarded(padded(data, behind=rng.choice([b"a", b"'s", b" ", b"\n", b"\x80", b"\xc2\xa0", b"1"])))
            starts = guarded(np.zeros(splitting.starts_entries(n), np.int32))
            scratch = guarded(np.zeros(splitting.scratch_bytes(n), np.uint8))
            splitter_arguments = (address(text), n, address(classes), address(scratch), address(starts))
            count = splitting.split(KINDS[pattern], *splitter_arguments)
            assert starts[count] == n
            assert starts[:count].tolist() == splitting.word_starts(pattern, data).tolist()
            splitting.first_invalid_utf8(address(text), n)
            splitting.find_cut(KINDS[pattern], address(text[splitting.PADDING :]), 0, n)  # reads no padding at all


@pytest.mark.parametrize("pattern", KINDS)
def test_what_stands_behind_a_text_does_not_matter(pattern):
    rng = random.Random(9)
    classes = splitting.class_table(KINDS[pattern])
    fixed = "aB'Re've 's'll \u00a0\u3000\u20ac\U0001f600 12345 !\n/\n  \n x\u0301A".encode()
    for data in [fixed, *(b"a" * k + fixed for k in range(20, 64, 3)), *(random_text(rng)[:150] for _ in range(5))]:
        text = padded(data)
        starts = np.zeros(splitting.starts_entries(len(data)), np.int32)
        scratch = np.zeros(splitting.scratch_bytes(len(data)), np.uint8)
        for n in range(len(data)):
            splitter_arguments = (address(text), n, address(classes), address(scratch), address(starts))
            count = splitting.split(KINDS[pattern], *splitter_arguments)
            assert starts[:count].tolist() == splitting.word_starts(pattern, data[:n]).tolist()


@pytest.mark.parametrize("pattern", KINDS)
@pytest.mark.parametrize(
    "unit", ["a", " ", "\n", "\n ", " \n", "'", "'s", "1", "!", "\u4e2dA", "\u00a0", "\u0301", "aB", "!\n/"]
)
def test_long_runs_take_linear_time(pattern, unit):
    data = (unit * 1_000_000).encode()
    joined = splitting.word_starts(pattern, data + b"x")
    assert joined[0] == 0
    assert (np.diff(joined) > 0).all()


@pytest.mark.parametrize("pattern", KINDS)
def test_cuts_are_those_of_the_definition_and_change_no_word(pattern):
    rng = random.Random(6)
    n_cuts = 0
    for _ in range(1500):
        data = random_text(rng, 12)
        low = rng.randrange(len(data) + 1)
        high = rng.randrange(low, len(data) + 1)
        cut = splitting.find_cut(KINDS[pattern], address(padded(data)), low, high)
        match = SPLITTERS[pattern].cut.search(data[low:high])
        assert cut == (low + match.start() if match else -1)
        if match:
            n_cuts += 1
            for _ in range(4):
                left = damaged(rng, random_text(rng, 4)) + data[low:cut]
                right = data[cut:high] + damaged(rng, random_text(rng, 4))
                assert words(pattern, left + right) == words(pattern, left) + words(pattern, right)
    assert n_cuts > 100


@pytest.mark.medium
@pytest.mark.parametrize("pattern", KINDS)
def test_cuts_change_no_word_20_000_times(pattern):
    rng = random.Random(7)
    for _ in range(20_000):
        data = damaged(rng, random_text(rng, 12))
        cut = splitting.find_cut(KINDS[pattern], address(padded(data)), 0, len(data))
        if cut > 0:
            assert words(pattern, data) == words(pattern, data[:cut]) + words(pattern, data[cut:])


def first_error(data):
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error.start
    return -1


@pytest.mark.parametrize("n_texts", [1000, pytest.param(20_000, marks=pytest.mark.medium)])
def test_invalid_utf8_is_found_where_python_finds_it(n_texts):
    rng = random.Random(8)
    n_invalid = 0
    for i in range(n_texts):
        data = damaged(rng, random_text(rng, 12))
        expected = first_error(data)
        n_invalid += expected >= 0
        behind = (b"\x00", b"\x80", b"\xbf", b"\xff")[i % 4]
        assert splitting.first_invalid_utf8(address(padded(data, behind)), len(data)) == expected
    assert n_invalid > n_texts / 4


def test_every_two_bytes_and_every_edge_of_a_block():
    assert splitting.first_invalid_utf8(address(padded(b"a" * 62 + b"\xe2\x82", b"\xac")), 64) == 62
    for lead in range(0x80, 0x100):
        for second in (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF):
            for at in (0, 60, 61, 62, 63, 64):
                data = b"a" * at + bytes([lead, second, 0x80, 0x80])
                assert splitting.first_invalid_utf8(address(padded(data)), len(data)) == first_error(data)


def test_classes():
    table = splitting.class_table()
    kinds = {"L": 1, "N": 2}
    for category, kind in kinds.items():
        members = np.zeros(0x110000, bool)
        for first, last in code_point_ranges(category):
            members[first : last + 1] = True
        assert ((table & 3 == kind) == members).all()
    assert [table[ord(c)] for c in "Aa\u01c5\u02b0\u4e2d\u03011 !"] == [5, 9, 5, 13, 13, 12, 2, 3, 0]


@pytest.mark.medium
def test_white_space_is_that_of_regex_and_of_tiktoken():
    everything = "".join(chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000)
    ranks = {bytes([i]): i for i in range(256)}
    probe = tiktoken.Encoding("probe", pat_str=r"\s", mergeable_ranks=ranks, special_tokens={})
    ours = "".join(chr(c) for c in np.flatnonzero(splitting.class_table() & 3 == 3))
    assert probe.decode_bytes(probe.encode_ordinary(everything)).decode() == ours
    assert "".join(regex.findall(r"\s", everything)) == ours


def test_own_patterns_have_no_splitter():
    with pytest.raises(TokenizerError, match=r"pattern 'x\+' has no compiled splitter; these have: gpt2, "):
        splitting.word_starts("x+", b"xx")

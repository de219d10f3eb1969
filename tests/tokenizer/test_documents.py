import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.errors import TokenizerError
from hornbook.tokenizer.documents import decode_utf8, encode_utf8, open_documents, pieces
from hornbook.tokenizer.patterns import PATTERNS, Splitter
from hornbook.tokenizer.special_tokens import split_at_names
from strange_text import strange_text

pytestmark = pytest.mark.medium

NAMES = ("<|endoftext|>", "\n<|user|> ", "a b")
SPLITTERS = {name: Splitter(name) for name in PATTERNS}


def words(text, splitter):
    """The words of a text, with special tokens apart."""
    return [
        word
        for ordinary, name in split_at_names(text, frozenset(NAMES))
        for word in [*splitter(ordinary), name]
        if word is not None
    ]


@pytest.mark.parametrize("pattern", PATTERNS)
@settings(max_examples=80, deadline=None)
@given(text=strange_text, size=st.integers(1, 64))
def test_words_of_pieces_are_the_words_of_the_document(pattern, text, size):
    splitter = SPLITTERS[pattern]
    cut = [piece.decode() for piece in pieces(io.BytesIO(text.encode()), splitter.cut, NAMES, piece_bytes=size)]
    assert "".join(cut) == text
    assert [word for piece in cut for word in words(piece, splitter)] == words(text, splitter)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pieces_of_ordinary_text_are_bounded(pattern):
    text = b"Some words, and a line end.\n" * 1000
    sizes = [len(piece) for piece in pieces(io.BytesIO(text), SPLITTERS[pattern].cut, piece_bytes=500)]
    assert sum(sizes) == len(text)
    assert max(sizes) <= 600


def test_text_without_a_place_to_cut_is_read_whole_in_doubling_steps():
    class Counting(io.BytesIO):
        reads = 0

        def read(self, size=-1, /):
            self.reads += 1
            return super().read(size)

    stream = Counting(b"a" * 100_000)
    assert [len(piece) for piece in pieces(stream, SPLITTERS["gpt2"].cut, piece_bytes=100)] == [100_000]
    assert stream.reads <= 12


def test_own_pattern_is_never_cut():
    assert len(list(pieces(io.BytesIO(b"a b " * 100), None, piece_bytes=10))) == 1


def test_empty_document():
    assert list(pieces(io.BytesIO(b""), SPLITTERS["gpt2"].cut)) == []


def test_invalid_utf8_names_place_and_offset():
    with pytest.raises(TokenizerError, match=r"document 3: invalid UTF-8: byte 0xff at byte offset 1002"):
        decode_utf8(b"ab\xff", "document 3", offset=1000)
    assert decode_utf8(b"ab\xff\xe4\xbd", "", errors="replace") == "ab\ufffd\ufffd"


def test_lone_surrogate_names_the_character():
    with pytest.raises(TokenizerError, match=r"lone surrogate U\+D83D at character 2"):
        encode_utf8("ab\ud83d")


def test_paths_and_texts(tmp_path):
    path = tmp_path / "one.txt"
    path.write_bytes(b"one\r\n")
    assert [(where, stream.read()) for where, stream in open_documents([path, "zwei", b"three"])] == [
        (str(path), b"one\r\n"),
        ("document 1", b"zwei"),
        ("document 2", b"three"),
    ]
    assert [stream.read() for _, stream in open_documents(path)] == [b"one\r\n"]


@pytest.mark.parametrize("documents", ["text", b"text"])
def test_one_bare_text_is_refused(documents):
    with pytest.raises(TokenizerError, match=r"got one text; expected a list of texts"):
        list(open_documents(documents))


def test_missing_file(tmp_path):
    with pytest.raises(TokenizerError, match=r"nowhere\.txt: no such text file"):
        list(open_documents(tmp_path / "nowhere.txt"))

"""Measuring tokenizers on texts: sizes, tokens, coverage, and whether the text comes back."""

import numpy as np
import pytest

from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer import comparison
from hornbook.tokenizer.comparison import coverage, measure, ordinary_tokens, size_of
from hornbook.tokenizer.samples import KINDS, LANGUAGES
from hornbook.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([*KINDS.values(), *LANGUAGES.values()], TokenizerConfig(vocab_size=600))


@pytest.mark.parametrize(
    ("text", "characters", "words"),
    [("", 0, 0), ("  ", 2, 0), ("a", 1, 1), (" naïve\tcat\r\n\nx", 14, 3), ("你好 \u3000再见", 6, 2)],
)
def test_sizes(text, characters, words):
    size = size_of([text.encode()])
    assert (size.n_bytes, size.n_characters, size.n_words) == (len(text.encode()), characters, words)
    assert words == len(text.encode().split())


def test_sizes_of_files_read_in_pieces(tmp_path, monkeypatch):
    text = "".join(f"line {n} with naïve 你好\n" for n in range(2000))
    (tmp_path / "a.txt").write_text(text)
    monkeypatch.setattr("hornbook.tokenizer.documents.pieces.__kwdefaults__", {"piece_bytes": 512})
    size = size_of([tmp_path / "a.txt", text.encode()])
    assert (size.n_bytes, size.n_words) == (2 * len(text.encode()), 2 * len(text.split()))
    assert size.n_characters == 2 * len(text)
    (tmp_path / "a.txt").write_bytes(text.encode() + b"\xff")
    with pytest.raises(TokenizerError, match=rf"a.txt: invalid UTF-8: byte 0xff at byte offset {len(text.encode())}"):
        size_of([tmp_path / "a.txt"])


def test_words_are_counted_only_where_there_are_blanks_between_them():
    assert size_of([LANGUAGES["Korean"].encode()]).has_words
    assert not any(size_of([LANGUAGES[name].encode()]).has_words for name in ("Chinese", "Japanese", "Thai"))


def test_measuring_in_batches_equals_measuring_at_once(tokenizer, tmp_path, monkeypatch):
    text = "".join(LANGUAGES.values()) * 20
    (tmp_path / "a.txt").write_text(text)
    monkeypatch.setattr(comparison, "BATCH_BYTES", 5000)
    monkeypatch.setattr("hornbook.tokenizer.documents.pieces.__kwdefaults__", {"piece_bytes": 3000})
    used = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    texts = [tmp_path / "a.txt", b"more"]
    measured = measure(tokenizer, texts, size_of(texts), used)
    ids = tokenizer.encode(text) + tokenizer.encode("more")
    assert measured.n_tokens == len(ids)
    assert measured.comes_back
    assert used.tolist() == np.bincount(ids, minlength=tokenizer.vocab_size).tolist()
    assert measured.bytes_per_token == (len(text.encode()) + 4) / len(ids)


def test_a_text_that_does_not_come_back_is_told(monkeypatch, tokenizer):
    used = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    monkeypatch.setattr(Tokenizer, "decode_batch", lambda *_: ["something else"])
    assert not measure(tokenizer, [b"text"], size_of([b"text"]), used).comes_back


def test_a_text_that_cannot_be_encoded_is_told():
    letters = Tokenizer.train(["abc"], TokenizerConfig(kind="characters"))
    used = np.zeros(letters.vocab_size, dtype=np.int64)
    measured = measure(letters, [b"abd"], size_of([b"abd"]), used)
    assert measured.error is not None
    assert measured.bytes_per_token is measured.tokens_per_word is None
    assert coverage(letters).digits == (0.0, 0.0, 0.0, 0.0)


def test_coverage_asks_the_tokenizer(tokenizer):
    found = coverage(tokenizer)
    assert found.digits[0] == 1.0
    singles = [n for n in range(100) if len(tokenizer.encode(f"{n:02d}")) == 1]
    assert found.digits[1] == len(singles) / 100
    assert found.spaces == tuple(n for n in range(1, 129) if len(tokenizer.encode(" " * n)) == 1)
    assert found.newlines == tuple(n for n in range(1, 129) if len(tokenizer.encode("\n" * n)) == 1)


def test_ordinary_tokens(tokenizer):
    tokens = ordinary_tokens(tokenizer)
    assert len(tokens) == tokenizer.vocab_size - len(tokenizer.special_tokens)
    assert all(tokenizer.token_bytes(i) == token for token, i in tokens.items())


def test_samples_are_short_and_end_a_line():
    for name, text in {**KINDS, **LANGUAGES}.items():
        assert 100 < len(text.encode()) < 1000, name
        assert text.endswith("\n"), name

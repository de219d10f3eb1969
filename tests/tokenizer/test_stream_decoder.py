import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.tokenizer import Tokenizer

TOKENIZER = Tokenizer.train(["naïve 你好 \U0001f600 text"] * 3, TokenizerConfig(vocab_size=300, special_tokens="chat"))


@settings(max_examples=150, deadline=None)
@given(ids=st.lists(st.integers(0, TOKENIZER.vocab_size - 1), max_size=30), skip=st.booleans())
def test_pushes_joined_are_the_decoded_text(ids, skip):
    """Also for ids that no text gives: half characters, bytes that are no UTF-8."""
    decoder = TOKENIZER.stream_decoder(skip_special=skip)
    assert "".join([*map(decoder.push, ids), decoder.finish()]) == TOKENIZER.decode(ids, skip_special=skip)


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_never_half_a_character(text):
    decoder = TOKENIZER.stream_decoder()
    shown = ""
    for token_id in TOKENIZER.encode(text):
        shown += decoder.push(token_id)
        assert text.startswith(shown)
    assert shown == text
    assert decoder.finish() == ""


def test_an_incomplete_end_is_flushed_once():
    decoder = TOKENIZER.stream_decoder()
    first, second, *_ = TOKENIZER.encode("\U0001f680")
    assert [decoder.push(first), decoder.push(second)] == ["", ""]
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""
    assert decoder.push(TOKENIZER.encode("a")[0]) == "a"


def test_unknown_id():
    with pytest.raises(TokenizerError, match="token id 999"):
        TOKENIZER.stream_decoder().push(999)

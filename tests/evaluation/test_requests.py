"""Texts to requests: where a text is cut, how it begins, and that windows score every token once."""

import pytest

from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import DataError
from hornbook.evaluation.requests import Request, RequestEncoder, window_requests
from hornbook.tokenizer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["the cat sees the dog"] * 9, TokenizerConfig(vocab_size=280))


def test_a_text_begins_as_documents_did(tokenizer):
    request = RequestEncoder(tokenizer)("", "the cat")
    assert request == Request((tokenizer.end_of_text_id,), tuple(tokenizer.encode("the cat")))
    assert RequestEncoder(tokenizer).how == "every text begins with <|endoftext|>"


def test_without_such_a_token_the_first_one_is_not_scored():
    letters = Tokenizer.train(["abc"], TokenizerConfig(kind="characters", special_tokens="none"))
    encode = RequestEncoder(letters)
    assert encode("", "abc") == Request((0,), (1, 2))
    assert encode("a", "bc") == Request((0,), (1, 2))
    assert "not scored" in encode.how


@pytest.mark.parametrize(
    ("context", "continuation"), [("the cat", " sees"), ("the cat ", "sees"), ("the cat  ", " x"), ("  ", "the")]
)
def test_blanks_between_belong_to_the_continuation(tokenizer, context, continuation):
    read, scored = RequestEncoder(tokenizer)(context, continuation)
    assert read == (tokenizer.end_of_text_id, *tokenizer.encode(context.rstrip()))
    assert tokenizer.decode([*read[1:], *scored]) == context + continuation


@pytest.mark.parametrize(
    ("prompt", "text", "own"),
    [("cat\n", "sees", "sees"), ("\n", "the", "the"), ("the  ", "x", "x"), ("the", " cat", " cat"), ("", "a", "a")],
)
def test_what_was_written_after_a_prompt_is_scored_without_the_prompts_blanks(tokenizer, prompt, text, own):
    read, scored = RequestEncoder(tokenizer).after(prompt, text)
    assert tokenizer.decode(scored) == own
    assert tokenizer.decode(read[1:]) + own == prompt + text


def test_a_prompt_of_blanks_without_a_token_to_begin_with():
    letters = Tokenizer.train(["a\n"], TokenizerConfig(kind="characters", special_tokens="none"))
    line, a = letters.encode("\na")
    assert RequestEncoder(letters).after("\n", "\na") == Request((line,), (line, a))
    assert RequestEncoder(letters).after("\n\n", "a") == Request((line, line), (a,))


def test_a_blank_in_the_same_token_as_the_text_is_scored_with_it(tokenizer):
    lengths = tokenizer.byte_lengths()
    both = next(i for i, n in enumerate(lengths) if n > 1 and tokenizer.token_bytes(i).startswith(b" "))
    text = tokenizer.decode([both]).lstrip()
    assert RequestEncoder(tokenizer).after("the ", text).continuation == (both,)


def test_what_does_not_fit_is_cut_on_the_left():
    request = Request((1, 2, 3, 4), (5, 6))
    assert request.fitted(6) == request
    assert request.fitted(3) == Request((4,), (5, 6))
    with pytest.raises(DataError, match="2 tokens, and the model has room for 1 after one of context"):
        request.fitted(2)


def test_equal_requests_alone_have_one_digest():
    cut = [Request((1, 2), (3,)), Request((1,), (2, 3)), Request((1, 2), (3, 0)), Request((1, 2), (3,))]
    digests = [request.digest for request in cut]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("start", [(99,), (), (99, 98)])
@pytest.mark.parametrize("n", [0, 1, 4, 5, 6, 11, 12, 13])
def test_windows_score_every_token_once_after_all_that_fit(start, n):
    tokens = list(range(n))
    requests = window_requests(start, tokens, 5)
    scored = [token for request in requests for token in request.continuation]
    assert scored == (tokens if start else tokens[1:])
    whole = [*start, *tokens]
    for request in requests:
        end = whole.index(request.continuation[-1]) + 1
        assert [*request.context, *request.continuation] == whole[max(0, end - 5) : end]
        assert request.context

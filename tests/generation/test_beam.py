"""Beam search: equal to trying every text when wide enough, greedy at width 1, and itself whatever is read with it."""

import itertools
import math

import pytest
import torch

from generation.table_backend import TableBackend, table
from hornbook.config.generate import BeamConfig
from hornbook.errors import GenerationError
from hornbook.generation.beam import BeamSearch
from hornbook.generation.known import KnownIds

PROMPT = [1, 2, 0]
STOP = 3


def search(rows, *, width, new, n_best=1, penalty=0.0, stop_ids=(STOP,), prompt=PROMPT, **settings):
    backend = TableBackend(rows, slots=width)
    beam = BeamConfig(width=width, length_penalty=penalty)
    return BeamSearch(backend, beam, stop_ids=stop_ids, **settings).search(prompt, max_new_tokens=new, n_best=n_best)


def logprobs_of(rows, tokens, prompt=PROMPT):
    text = [*prompt, *tokens]
    return [
        rows[text[at - 2], text[at - 1]].double().log_softmax(-1)[text[at]].item()
        for at in range(len(prompt), len(text))
    ]


def every_text(rows, *, new, penalty=0.0):
    """(score, tokens) of each, best first: those that stop, and those of `new` tokens that do not."""
    vocabulary = range(rows.shape[-1])
    texts = [
        tokens
        for length in range(1, new + 1)
        for tokens in itertools.product(vocabulary, repeat=length)
        if STOP not in tokens[:-1] and (tokens[-1] == STOP or length == new)
    ]
    scored = [(sum(logprobs_of(rows, text)) / ((5 + len(text)) / 6) ** penalty, text) for text in texts]
    return sorted(scored, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(6))
def test_a_wide_search_equals_trying_every_text(seed, penalty):
    rows = table(seed, 4)
    found = search(rows, width=64, new=4, n_best=8, penalty=penalty)
    expected = every_text(rows, new=4, penalty=penalty)[:8]
    assert [each.tokens for each in found] == [tokens for _, tokens in expected]
    for each, (score, tokens) in zip(found, expected, strict=True):
        # every sum is of at most 4 float64 numbers of logits in float32
        assert each.score == pytest.approx(score, rel=1e-12)
        assert each.logprobs == pytest.approx(logprobs_of(rows, tokens), rel=1e-12)
        assert each.reason == ("stop" if tokens[-1] == STOP else "length")


def test_narrow_searches_find_worse_texts_sometimes():
    """Or the test above would not tell a search from any other."""
    worse = 0
    for seed in range(40):
        rows = table(seed, 4)
        best = every_text(rows, new=4)[0][0]
        score = search(rows, width=1, new=4)[0].score
        assert score <= best + 1e-12
        worse += score < best - 1e-9
    assert 5 < worse < 40


@pytest.mark.parametrize("seed", range(20))
def test_width_one_is_greedy(seed):
    rows, text = table(seed, 6), list(PROMPT)
    while len(text) < len(PROMPT) + 12 and text[len(PROMPT) :].count(STOP) == 0:
        text.append(int(rows[text[-2], text[-1]].argmax()))
    assert search(rows, width=1, new=12)[0].tokens == tuple(text[len(PROMPT) :])


def by_definition(rows, *, width, new, n_best, penalty):
    """No early end, no slots: every continuation of every live beam, at every length."""
    live, finished = [((), 0.0)], []
    for length in range(1, new + 1):
        children = [
            ((*tokens, token), total + logprobs_of(rows, (*tokens, token))[-1])
            for tokens, total in live
            for token in range(rows.shape[-1])
        ]
        children.sort(key=lambda child: -child[1])
        ended = [child for child in children[:width] if child[0][-1] == STOP or length == new]
        finished += [(total / ((5 + length) / 6) ** penalty, tokens) for tokens, total in ended]
        live = [child for child in children if child[0][-1] != STOP][:width]
    return sorted(finished, reverse=True)[:n_best]


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("width", [1, 2, 3, 7])
@pytest.mark.parametrize("seed", range(4))
def test_any_search_equals_its_definition(seed, width, penalty):
    rows = table(seed, 8)
    found = search(rows, width=width, new=9, n_best=width, penalty=penalty)
    expected = by_definition(rows, width=width, new=9, n_best=width, penalty=penalty)
    assert [each.tokens for each in found] == [tokens for _, tokens in expected]
    assert [each.score for each in found] == pytest.approx([score for score, _ in expected], rel=1e-11)


def test_the_search_ends_early_where_nothing_can_overtake():
    rows = torch.zeros(4, 4, 4)
    rows[..., STOP] = 8.0
    backend = TableBackend(rows, slots=3)
    [found] = BeamSearch(backend, BeamConfig(width=3), stop_ids=[STOP]).search(PROMPT, max_new_tokens=40)
    assert found.tokens == (STOP,)
    assert len(backend.reads) == 2  # the prompt but its last token, and that


def test_a_penalty_makes_longer_texts_win():
    rows = table(1, 5, spread=0.3)
    lengths = [len(search(rows, width=6, new=10, penalty=penalty)[0].tokens) for penalty in (0.0, 10.0)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[1]


def test_a_long_prompt_is_read_in_pieces_and_once():
    prompt = [0, 1, 2] * 50
    backend = TableBackend(table(0, 4), slots=4, max_length=200)
    BeamSearch(backend, BeamConfig(width=4)).search(prompt, max_new_tokens=3)
    assert [len(spans[0].tokens) for spans in backend.reads] == [64, 64, 21, 1, 1, 1]
    assert [len(spans) for spans in backend.reads] == [1, 1, 1, 1, 4, 4]


def test_only_known_ids_are_chosen_and_probabilities_stay_the_models():
    rows = table(2, 6)
    found = search(rows, width=3, new=5, n_best=3, known=KnownIds(5, [1, 3]))
    assert {token for each in found for token in each.tokens} <= {0, 2, 4}
    for each in found:
        assert each.logprobs == pytest.approx(logprobs_of(rows, each.tokens), rel=1e-12)


def test_a_stop_string_ends_a_beam():
    rows = table(3, 5)
    free = search(rows, width=2, new=6, stop_ids=())[0]
    pair = free.tokens[1:3]

    def ends(tokens):
        return tuple(tokens[-2:]) == pair

    found = search(rows, width=2, new=6, n_best=2, stop_ids=(), ends=ends)
    stopped = [each for each in found if each.reason == "stop"]
    assert stopped
    assert all(each.tokens[-2:] == pair for each in stopped)


def test_fewer_texts_than_asked_for():
    assert len(search(table(0, 3), width=10, new=1, n_best=10, prompt=[0], stop_ids=())) == 3


def test_broken_logits_are_an_error():
    rows = table(0, 4)
    rows[2, 0, 1] = math.nan
    with pytest.raises(GenerationError, match="NaN or infinity"):
        search(rows, width=2, new=3)

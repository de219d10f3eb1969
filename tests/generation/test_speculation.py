"""Speculation: where guesses are certain the text without them, where they are drawn its distribution."""

import itertools

import pytest
import torch

from generation.table_backend import TableBackend, table
from hornbook.config.generate import SamplingConfig
from hornbook.generation.decoder import NO_TOKEN
from hornbook.generation.filters import apply_filters, choose
from hornbook.generation.guesses import DraftModel, Guesses, Lookup
from hornbook.generation.known import KnownIds
from hornbook.generation.noise import row_noise
from hornbook.generation.rows import admit
from hornbook.generation.speculation import Speculation

V, CONTEXT = 6, 20
PROMPTS = [[1, 2, 1, 2, 1], [0], [3, 4, 5, 3]]
SAMPLINGS = [
    SamplingConfig(temperature=0.0),
    SamplingConfig(temperature=0.0, repetition_penalty=1.5),
    SamplingConfig(temperature=1.2, repetition_penalty=1.2),
    SamplingConfig(temperature=0.7, top_k=4, top_p=0.9, min_p=0.01),
]


def plain(rows, prompt, seed, sampling, *, new, stop_ids=(), slide=False):
    """Token after token, from the definitions; the table looks back two tokens, which sliding cuts to the window."""
    text, start = list(prompt), max(0, len(prompt) - CONTEXT)
    for _ in range(new):
        if len(text) - start > CONTEXT:
            if not slide:
                break
            start = len(text) - CONTEXT // 2
        logits = rows[text[max(start, len(text) - 2)], text[-1]][None]
        seen = torch.zeros(1, V, dtype=torch.bool)
        seen[0, text] = True
        text.append(int(choose(logits, seen, row_noise([seed], [len(text)]), sampling)))
        if text[-1] in stop_ids:
            break
    return text[len(prompt) :]


def decode(rows, guesser, prompts, seeds, sampling, *, new=12, n_guesses=4, stop_ids=(), slide=False):
    """Texts of the rows, and (guessed, accepted, readings)."""
    backend = TableBackend(rows, slots=len(prompts), max_length=CONTEXT)
    batch = admit(
        prompts, seeds, context_length=CONTEXT, vocab_size=V, max_new_tokens=new, overflow="slide" if slide else "stop"
    )
    speculation = Speculation(
        backend,
        guesser,
        batch,
        sampling,
        n_guesses=n_guesses,
        context_length=CONTEXT,
        stop_ids=frozenset(stop_ids),
    )
    texts, guessed, accepted, readings = [[] for _ in prompts], 0, 0, 0
    while not speculation.done:
        chunk = speculation.step()
        for text, tokens, count, right in zip(texts, chunk.tokens.tolist(), chunk.guessed, chunk.accepted, strict=True):
            new_ones = [token for token in tokens if token != NO_TOKEN]
            assert tokens == new_ones + [NO_TOKEN] * (len(tokens) - len(new_ones))
            assert len(new_ones) - 1 <= right <= min(count, len(new_ones))
            text += new_ones
            guessed, accepted, readings = guessed + count, accepted + right, readings + bool(new_ones)
    for row, text, prompt in zip(batch, texts, prompts, strict=True):
        assert row.tokens == [*prompt, *text]
    return texts, (guessed, accepted, readings)


def draft_model(rows, n_rows, sampling, *, max_length=CONTEXT):
    return DraftModel(TableBackend(rows, slots=n_rows, max_length=max_length), sampling, KnownIds(), n_rows)


class Oracle:
    """Guesses what it is told to, wrong at every third token."""

    def __init__(self, texts, prompts):
        self._texts = [[*prompt, *text] for prompt, text in zip(prompts, texts, strict=True)]

    def guess(self, rows, numbers, counts):
        found = []
        for row, number, count in zip(rows, numbers, counts, strict=True):
            at = len(row.tokens)
            text = self._texts[number][at : at + count]
            found.append([(token + (place % 3 == 0)) % V for place, token in enumerate(text, start=at)])
        return Guesses(tokens=found, probabilities=None)


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("slide", [False, True])
def test_certain_guesses_change_nothing(sampling, slide):
    rows = table(0, V)
    seeds = [0, 1, 2]
    expected = [
        plain(rows, prompt, seed, sampling, new=30, slide=slide) for prompt, seed in zip(PROMPTS, seeds, strict=True)
    ]
    for guesser in (Lookup(2, 3), Lookup(1, 3), Oracle(expected, PROMPTS)):
        texts, (_, accepted, readings) = decode(rows, guesser, PROMPTS, seeds, sampling, new=30, slide=slide)
        assert texts == expected
        assert accepted > 0
        assert readings < sum(map(len, texts))


@pytest.mark.parametrize("slide", [False, True])
@pytest.mark.parametrize("max_length", [CONTEXT, 5, 1])
@pytest.mark.parametrize("sampling", SAMPLINGS[:2])
def test_greedy_with_a_draft_model_is_greedy(sampling, max_length, slide):
    rows, other = table(0, V), table(0, V) + 0.5 * table(1, V)
    expected = [plain(rows, prompt, 0, sampling, new=30, slide=slide) for prompt in PROMPTS]
    guesser = draft_model(other, 3, sampling, max_length=max_length)
    texts, (guessed, accepted, _) = decode(rows, guesser, PROMPTS, [0] * 3, sampling, new=30, slide=slide)
    assert texts == expected
    assert 0 < accepted < guessed


def test_stop_ids_end_a_row_inside_a_guess():
    rows = table(0, V)
    sampling = SAMPLINGS[2]
    free = plain(rows, PROMPTS[0], 0, sampling, new=12)
    stop = free[3]
    expected = plain(rows, PROMPTS[0], 0, sampling, new=12, stop_ids=[stop])
    for n_guesses in range(1, 8):
        texts, _ = decode(
            rows,
            Oracle([free], PROMPTS[:1]),
            PROMPTS[:1],
            [0],
            sampling,
            n_guesses=n_guesses,
            stop_ids=[stop],
        )
        assert texts == [expected]


def test_a_perfect_draft_model_is_always_right():
    rows, sampling = table(0, V), SAMPLINGS[2]
    _, (guessed, accepted, readings) = decode(
        rows, draft_model(rows, 3, sampling), PROMPTS, [0, 1, 2], sampling, new=10, n_guesses=4
    )
    assert (accepted, readings) == (guessed, 6)  # ten tokens in two readings each


def exact_distribution(rows, prompt, sampling, *, new):
    """Probability of every continuation of `new` tokens."""
    found = {}
    for tokens in itertools.product(range(V), repeat=new):
        text, total = list(prompt), 1.0
        for token in tokens:
            seen = torch.zeros(1, V, dtype=torch.bool)
            seen[0, text] = True
            logits = apply_filters(rows[text[max(0, len(text) - 2)], text[-1]][None], seen, sampling)
            total *= logits.double().softmax(-1)[0, token].item()
            text.append(token)
        found[tokens] = total
    return found


def chi_square_p_value(counts, expected):
    """Of outcomes that are expected five times at least; the others are one outcome."""
    big = [outcome for outcome, number in expected.items() if number >= 5]
    rest = sum(expected.values()) - sum(expected[outcome] for outcome in big)
    seen = [counts.get(outcome, 0) for outcome in big]
    pairs = [*zip(seen, [expected[outcome] for outcome in big], strict=True)]
    if rest >= 5:
        pairs.append((sum(counts.values()) - sum(seen), rest))
    statistic = sum((got - wanted) ** 2 / wanted for got, wanted in pairs)
    return torch.special.gammaincc(*torch.tensor([(len(pairs) - 1) / 2, statistic / 2], dtype=torch.float64)).item()


@pytest.mark.parametrize(("n_guesses", "sampling"), [(3, SAMPLINGS[2]), (1, SAMPLINGS[3])])
def test_the_distribution_is_the_targets(sampling, n_guesses):
    """4,000 seeds; by chance alone one run in a thousand would fail, and the seeds are always the same."""
    rows, other, n = table(0, V, spread=1.0), table(7, V, spread=1.0), 4000
    expected = {tokens: n * p for tokens, p in exact_distribution(rows, [1, 2], sampling, new=3).items()}
    prompts, seeds = [[1, 2]] * n, list(range(n))
    texts, (guessed, accepted, _) = decode(
        rows, draft_model(other, n, sampling), prompts, seeds, sampling, new=3, n_guesses=n_guesses
    )
    counts: dict[tuple[int, ...], int] = {}
    for text in texts:
        counts[tuple(text)] = counts.get(tuple(text), 0) + 1
    assert 0.2 < accepted / guessed < 0.9
    assert all(expected[text] > 0 for text in counts)
    assert chi_square_p_value(counts, expected) > 1e-3
    drafted = {tokens: n * p for tokens, p in exact_distribution(other, [1, 2], sampling, new=3).items()}
    assert chi_square_p_value(counts, drafted) < 1e-9  # the test can tell the models apart
    again, _ = decode(
        rows, draft_model(other, n, sampling), prompts[:9], seeds[:9], sampling, new=3, n_guesses=n_guesses
    )
    assert again == texts[:9]


def test_lookup_finds_what_followed_last():
    [row] = admit(
        [[1, 2, 3, 1, 2, 4, 1, 2]], [0], context_length=CONTEXT, vocab_size=V, max_new_tokens=9, overflow="stop"
    )
    lookup = Lookup(2, 1)
    assert lookup.guess([row], [0], [5]).tokens == [[4, 1, 2]]
    assert lookup.guess([row], [0], [1]).tokens == [[4]]
    row.append(5, stop=False, context_length=CONTEXT)
    assert lookup.guess([row], [0], [5]).tokens == [[]]
    for token in (1, 2):
        row.append(token, stop=False, context_length=CONTEXT)
    assert lookup.guess([row], [0], [2]).tokens == [[5, 1]]
    assert Lookup(20, 1).guess([row], [0], [5]).tokens == [[]]

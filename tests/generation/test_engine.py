"""Continuous batching: whatever comes and goes beside it, a request gets what it would get alone, bit for bit."""

import functools
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.config.generate import SamplingConfig
from hornbook.errors import GenerationError
from hornbook.generation.engine import BrokenRowsError, Engine, Request
from hornbook.generation.kernel_backend import KernelBackend
from hornbook.generation.torch_backend import TorchBackend
from hornbook.models.transformer import Transformer
from tiny_models import VOCABULARY, tiny_config

CONTEXT = 16
WARM = SamplingConfig(temperature=1.0, top_p=0.95, repetition_penalty=1.2)
GREEDY = SamplingConfig(temperature=0.0)


@functools.cache
def model():
    """Odd widths, and standard deviation 1: contexts change the answer, and so do the last bits."""
    return Transformer(
        tiny_config(d_ff=27, d_model=20, n_heads=2, head_dim=10, init="torch_default", tie_embeddings=False),
        seed=3,
    ).eval()


@functools.cache
def backend(kind, slots):
    """One for all engines: what an earlier one left in its slots must not matter."""
    make = {"torch": TorchBackend, "kernel": KernelBackend}[kind]
    return make(model(), slots=slots, max_length=CONTEXT, precision="float32")


def engine(slots=3, chunk=4, kind="torch"):
    return Engine(backend(kind, slots), prefill_chunk=chunk)


def request(tokens, *, new=6, seed=0, sampling=WARM, **more):
    return Request(tokens=tokens, max_new_tokens=new, stop_ids=frozenset(), sampling=sampling, seed=seed, **more)


def run(engine, *requests):
    """[(tokens, log-probabilities, reason)] of requests that are submitted at once."""
    found = {engine.submit(each): ([], [], []) for each in requests}
    while engine.busy:
        for drawn in engine.step():
            tokens, logprobs, reasons = found[drawn.ticket]
            tokens.append(drawn.token)
            logprobs.append(drawn.logprob)
            reasons.append(drawn.reason)
    assert all(reasons[-1] is not None and set(reasons[:-1]) <= {None} for _, _, reasons in found.values())
    return [(tokens, logprobs, reasons[-1]) for tokens, logprobs, reasons in found.values()]


asked = st.fixed_dictionaries(
    {
        # few different beginnings, so that prefixes are shared
        "tokens": st.builds(
            lambda head, tail: (*range(1, head + 1), *tail),
            st.integers(0, 10),
            st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=5),
        ),
        "max_new_tokens": st.integers(1, 9),
        "stop_ids": st.sampled_from([frozenset(), frozenset({3, 7})]),
        "sampling": st.sampled_from([WARM, GREEDY, SamplingConfig(temperature=0.7, top_k=4)]),
        "seed": st.integers(0, 3),
        "context_overflow": st.sampled_from(["stop", "slide"]),
        "unused_ids": st.sampled_from([(), (2, 5)]),
        "top_logprobs": st.integers(0, 3),
    }
)
"""What a request says (requests themselves are made outside of strategies, since their types are checked at random)."""
events = st.lists(
    st.one_of(asked, st.tuples(st.just("cancel"), st.integers(0, 12)), st.tuples(st.just("steps"), st.integers(1, 6))),
    max_size=12,
)


def check_against_alone(kind, events, slots, chunk):
    """Arrivals, cancellations and steps in any order; tokens, log-probabilities, alternatives and reasons."""
    shared, submitted, found, cancelled = engine(slots, chunk, kind), {}, {}, set()

    def step():
        for drawn in shared.step():
            found[drawn.ticket].append((drawn.token, drawn.logprob, drawn.top, drawn.reason))

    for event in events:
        if isinstance(event, dict):
            ticket = shared.submit(Request(**event))
            submitted[ticket], found[ticket] = event, []
        elif event[0] == "cancel":
            shared.cancel(event[1])
            cancelled.add(event[1])
        else:
            for _ in range(event[1]):
                step()
    while shared.busy:
        step()
    for ticket, own in submitted.items():
        alone = engine(1, chunk, kind)
        alone.submit(Request(**own))
        expected = [(one.token, one.logprob, one.top, one.reason) for one in itertools.chain(*_steps(alone))]
        got = found[ticket]
        assert got == (expected[: len(got)] if ticket in cancelled else expected)
        assert ticket in cancelled or got[-1][3] is not None


@pytest.mark.parametrize("kind", ["torch", "kernel"])
@settings(max_examples=15, deadline=None)
@given(events, st.integers(1, 4), st.sampled_from([1, 3, 4, 64]))
def test_every_request_equals_the_same_request_alone(kind, events, slots, chunk):
    check_against_alone(kind, events, slots, chunk)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torch", "kernel"])
@settings(max_examples=500, deadline=None)
@given(events, st.integers(1, 4), st.sampled_from([1, 3, 4, 64]))
def test_every_request_equals_the_same_request_alone_at_length(kind, events, slots, chunk):
    check_against_alone(kind, events, slots, chunk)


def _steps(engine):
    while engine.busy:
        yield engine.step()


def test_more_requests_than_slots_wait_their_turn_and_cancelling_frees_one_at_once():
    shared = engine(slots=2)
    tickets = [shared.submit(request([n, 1])) for n in range(4)]
    assert (shared.active, shared.waiting, shared.busy) == (0, 4, True)
    shared.step()
    assert (shared.active, shared.waiting) == (2, 2)
    shared.cancel(tickets[0])
    shared.cancel(tickets[3])
    assert (shared.active, shared.waiting) == (1, 1)
    assert {drawn.ticket for drawn in shared.step()} == {tickets[1], tickets[2]}


def test_a_prompt_is_read_in_chunks_beside_running_rows():
    shared = engine(slots=2, chunk=4)
    short, long = shared.submit(request([1], new=9)), shared.submit(request([2] * 10))
    drawn = [{one.ticket for one in shared.step()} for _ in range(3)]
    assert drawn == [{short}, {short}, {short, long}]


def test_many_prompts_at_once_are_read_a_few_at_a_time(monkeypatch):
    """In order of arrival; the running row gets its token in every step."""
    monkeypatch.setattr("hornbook.generation.engine.PREFILL_TOKENS", 8)
    shared = engine(slots=4, chunk=4)
    tickets = [shared.submit(request(tokens, new=9)) for tokens in ([1], [2] * 6, [3] * 4, [4] * 3)]
    drawn = [[tickets.index(one.ticket) for one in shared.step()] for _ in range(3)]
    assert drawn == [[0, 2], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_the_next_turn_reads_only_what_is_new():
    """Whole chunks of the prompt are found in the slot, in another's, or copied out of a row that is still decoded."""
    first, second = [1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 8, 0, 1]
    expected = [run(engine(1), request(tokens))[0] for tokens in (first, second)]
    one_slot, several, beside = engine(1), engine(3), engine(3)
    for shared in (one_slot, several):
        assert run(shared, request(first)) == expected[:1]
        before = shared.tokens_read
        assert run(shared, request(second)) == expected[1:]
        assert shared.tokens_read - before == 2 + 5  # of 10, and the new ones but the last
    beside.submit(request(first))
    for _ in range(3):
        beside.step()
    before = beside.tokens_read
    beside.submit(request(second))
    beside.step()
    assert beside.tokens_read - before == 2 + 1


def test_a_short_common_beginning_does_not_cost_a_long_conversation_its_slot():
    shared = engine(2)
    run(shared, request([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3], new=2))
    run(shared, request([1, 2, 3, 4, 0]))  # the system message of both
    before = shared.tokens_read
    run(shared, request([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1, 2, 3, 4], new=1))
    assert shared.tokens_read - before == 2


def test_alternatives_are_the_models_own_likeliest():
    shared = engine(1)
    shared.submit(request([1, 2], new=1, top_logprobs=3, sampling=SamplingConfig(temperature=5.0)))
    [drawn] = shared.step()
    with torch.no_grad():
        expected = model()(torch.tensor([[1, 2]]))[0, -1].log_softmax(-1)
    values, ids = expected.topk(3)
    assert [i for i, _ in drawn.top] == ids.tolist()
    assert [logprob for _, logprob in drawn.top] == pytest.approx(values.tolist(), rel=1e-5)
    assert drawn.logprob == pytest.approx(float(expected[drawn.token]), rel=1e-5)


def test_a_request_longer_than_a_slot_is_refused():
    shared = Engine(TorchBackend(model(), slots=1, max_length=8), context_length=CONTEXT)
    with pytest.raises(GenerationError, match="have 9 tokens, a slot of the backend holds 8"):
        shared.submit(request([1, 2, 3], new=7))
    assert len(run(shared, request([1, 2, 3], new=6))[0][0]) == 6


def test_broken_logits_end_their_own_request_alone(monkeypatch):
    shared = engine(2)
    good, read = request([1, 2]), shared.backend.read

    def broken_in_slot_1(spans):
        logits = read(spans).clone()
        logits[[at for at, span in enumerate(spans) if span.slot == 1]] = float("nan")
        return logits

    [expected] = run(engine(2), good)
    monkeypatch.setattr(shared.backend, "read", broken_in_slot_1)
    ticket, lost = shared.submit(good), shared.submit(request([3]))
    with pytest.raises(BrokenRowsError, match="NaN or infinity") as caught:
        shared.step()
    assert caught.value.tickets == (lost,)
    tokens = [drawn.token for drawn in itertools.chain(*_steps(shared)) if drawn.ticket == ticket]
    assert tokens == expected[0]


def test_what_cannot_be_drawn_is_no_alternative():
    made = request([1, 2], new=1, top_logprobs=VOCABULARY, unused_ids=[4, 5], vocab_size=VOCABULARY - 1)
    own = engine()
    own.submit(made)
    [drawn] = own.step()
    assert sorted(token for token, _ in drawn.top) == [i for i in range(VOCABULARY - 1) if i not in (4, 5)]

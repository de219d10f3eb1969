"""Likelihoods by the chain rule: against one plain forward for each request, however they are batched and shared."""

import pytest
import torch

from hornbook.evaluation.exact_likelihoods import SHARED_FROM, exact_likelihoods
from hornbook.evaluation.requests import Request
from tiny_models import VOCABULARY, tiny_model

CONTEXT = 16


def ids(rng: torch.Generator, n: int) -> tuple[int, ...]:
    return tuple(torch.randint(VOCABULARY, (n,), generator=rng).tolist())


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """Short and long, alone and by threes after one context, up to one token more than the model reads."""
    rng = torch.Generator().manual_seed(0)
    found = [Request(ids(rng, 1 + n % 5), ids(rng, 1 + n % 7)) for n in range(20)]
    found.append(Request(ids(rng, 1), ids(rng, CONTEXT)))
    for length in (2, SHARED_FROM, SHARED_FROM + 3, CONTEXT):
        context = ids(rng, length)
        found += [Request(context, ids(rng, n)) for n in range(1, min(4, CONTEXT + 2 - length))]
        found += [Request(context, ids(rng, CONTEXT + 1 - length))]
    return found


def oracle(model, request: Request) -> tuple[float, bool]:
    """One forward of this request alone, token after token."""
    total, greedy = 0.0, True
    seen = list(request.context)
    for token in request.continuation:
        log_p = model(torch.tensor([seen]))[0, -1].log_softmax(-1)
        total, greedy = total + float(log_p[token]), greedy and int(log_p.argmax()) == token
        seen.append(token)
    return total, greedy


@pytest.mark.parametrize("position", ["rotary", "learned"])
@pytest.mark.parametrize("batch_tokens", [1, 50, 4096])
@torch.inference_mode()
def test_every_request_is_what_it_is_alone(requests, position, batch_tokens):
    model = tiny_model(position=position)
    found = dict(answer for batch in exact_likelihoods(model, requests, batch_tokens=batch_tokens) for answer in batch)
    assert sorted(found) == list(range(len(requests)))
    for place, request in enumerate(requests):
        expected, greedy = oracle(model, request)
        assert found[place].log_probability == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert found[place].is_greedy == greedy


@torch.inference_mode()
def test_what_the_model_would_say_is_greedy_and_nothing_else(requests):
    model = tiny_model()
    context = requests[0].context
    said: list[int] = []
    for _ in range(4):
        said.append(int(model(torch.tensor([[*context, *said]]))[0, -1].argmax()))
    wrong = [*said[:3], (said[3] + 1) % VOCABULARY]
    both = [Request(context, tuple(said)), Request(context, tuple(wrong))]
    (batch,) = exact_likelihoods(model, both)
    assert {place: answer.is_greedy for place, answer in batch} == {0: True, 1: False}

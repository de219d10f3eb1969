"""Likelihoods of diffusion models: the bound of an answer, and what the model names by itself."""

import functools

import pytest
import torch

from hornbook.config.bound import BoundConfig
from hornbook.config.model import ModelConfig
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.evaluation.answer_bound import bound_answer
from hornbook.evaluation.bounded_likelihoods import bounded_likelihoods
from hornbook.evaluation.mask_draws import by_block, every_mask, fixed_count
from hornbook.evaluation.noised_scorer import NoisedScorer
from hornbook.evaluation.requests import Request
from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer

DIFFUSION = {"kind": "masked_diffusion"}
BLOCKS = {"kind": "block_diffusion", "block_length": 3}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(["abcdefgh"], TokenizerConfig(kind="characters", special_tokens="pretraining"))


@pytest.fixture(scope="module")
def model(tokenizer) -> Transformer:
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8, "d_ff": 32}
    config = ModelConfig(
        **shape, vocab_size=tokenizer.vocab_size, context_length=12, tie_embeddings=False, init="torch_default"
    )
    return Transformer(config, seed=1).double().eval()


REQUESTS = [
    Request((8, 1, 2), (3, 4)),
    Request((8, 1, 2), (3, 4, 5, 6)),
    Request((8, 1, 2, 0), (3,)),
    Request((8,), (1, 1, 7)),
    Request((8, 2, 2), (5, 4)),
]


def answers(model, tokenizer, objective, requests, bound, size=4096):
    batches = bounded_likelihoods(model, tokenizer, objective, requests, bound, batch_tokens=size)
    found = dict(answer for batch in batches for answer in batch)
    return [found[place] for place in range(len(requests))]


@pytest.mark.parametrize("objective", [DIFFUSION, BLOCKS], ids=["whole", "blocks"])
@pytest.mark.parametrize("size", [1, 4096])
@pytest.mark.parametrize("estimator", ["exact", "fixed_count"])
def test_each_is_the_bound_of_its_answer(model, tokenizer, objective, size, estimator):
    bound = BoundConfig(estimator="exact") if estimator == "exact" else BoundConfig(draws=3, seed=5)
    draw = every_mask if estimator == "exact" else functools.partial(fixed_count, draws=3)
    length = objective.get("block_length")
    if length is not None:
        draw = functools.partial(by_block, draw, block_length=length)
    score = NoisedScorer(model, tokenizer.mask_id, block_length=length)
    found = answers(model, tokenizer, objective, REQUESTS, bound, size)
    for request, answer in zip(REQUESTS, found, strict=True):
        nats, _ = bound_answer(score, request.context, request.continuation, draw, seed=5)
        assert answer.log_probability == pytest.approx(-nats, rel=1e-12)


@torch.no_grad()
def said(model, mask_id: int, context, n: int, block_length: int | None) -> tuple[int, ...]:
    """Names n tokens, the surest first, one a reading; blocks count from the beginning of the text."""
    tokens = torch.tensor([*context, *[mask_id] * n])
    hidden = torch.arange(len(tokens)) >= len(context)
    while hidden.any():
        if block_length is None:
            logits = model(tokens[None], mask=FULL)[0]
            open_ = hidden
        else:
            both, t = torch.cat((tokens, tokens))[None], len(tokens)
            places = torch.arange(t).repeat(1, 2)
            mask = AttentionMask("block_diffusion", block_length=block_length)
            logits = model(both, positions=places, mask=mask)[0, :t]
            block = torch.arange(t) // block_length
            open_ = hidden & (block == block[hidden].min())
        p = logits.index_fill(1, torch.tensor([mask_id]), -torch.inf).softmax(-1)
        best = max(torch.nonzero(open_)[:, 0].tolist(), key=lambda place: float(p[place].max()))
        tokens[best], hidden[best] = p[best].argmax(), False
    return tuple(tokens[len(context) :].tolist())


@pytest.mark.parametrize("objective", [DIFFUSION, BLOCKS], ids=["whole", "blocks"])
def test_what_the_model_names_by_itself_is_greedy(model, tokenizer, objective):
    context = (8, 1, 2)
    own = said(model, tokenizer.mask_id, context, 4, objective.get("block_length"))
    others = [(*own[:place], (own[place] + 1) % 8, *own[place + 1 :]) for place in range(4)]
    requests = [Request(context, text) for text in (own, *others)]
    found = answers(model, tokenizer, objective, requests, BoundConfig(draws=1))
    assert [answer.is_greedy for answer in found] == [True, False, False, False, False]

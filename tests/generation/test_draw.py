"""The fast draw against the filters, token for token, and the parts that make it fast against sorting."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.config.generate import SamplingConfig
from hornbook.errors import GenerationError
from hornbook.generation.draw import draw, likeliest, penalised
from hornbook.generation.filters import choose

SAMPLINGS = [
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 0.01},
    {"temperature": 50.0, "top_p": 0.97},
    {"top_k": 1},
    {"top_k": 7},
    {"top_k": 1000, "temperature": 3.0},
    {"top_p": 0.9},
    {"top_p": 1e-9},
    {"min_p": 0.1},
    {"min_p": 1.0},
    {"min_p": 0.0},
    {"top_k": 40, "top_p": 0.8, "min_p": 0.05, "temperature": 2.0},
    {"top_p": 0.95, "min_p": 0.001, "repetition_penalty": 1.5},
    {"repetition_penalty": 0.5, "temperature": 0.0},
]


@st.composite
def rows(draw_one):
    """Logits peaked and flat, with ties and tokens that are ruled out, over vocabularies around the sizes of groups."""
    n = draw_one(st.sampled_from([1, 2, 63, 64, 65, 129, 700, 5000, 20_000]))
    rng = np.random.default_rng(draw_one(st.integers(0, 2**32)))
    logits = rng.standard_normal(n) * draw_one(st.sampled_from([0.0, 0.1, 1.0, 4.0, 30.0]))
    if draw_one(st.booleans()):
        logits = logits.round(draw_one(st.integers(0, 1)))  # ties
    logits = logits.astype(np.float32)
    logits[rng.random(n) < draw_one(st.sampled_from([0.0, 0.5]))] = -np.inf
    logits[rng.integers(n)] = 1.0
    return logits, rng.random(n) < 0.3


@settings(max_examples=80, deadline=None)
@given(rows(), st.sampled_from(SAMPLINGS), st.lists(st.floats(0, 1, exclude_max=True), min_size=5, max_size=5))
def test_it_draws_what_the_filters_draw(row, given_sampling, noises):
    logits, seen = row
    sampling = SamplingConfig(**given_sampling)
    expected = choose(
        torch.from_numpy(logits).expand(5, -1),
        torch.from_numpy(seen).expand(5, -1),
        torch.tensor(noises, dtype=torch.float64),
        sampling,
    )
    penalty = sampling.repetition_penalty
    weighed = logits if penalty == 1.0 else penalised(logits, seen, penalty)
    assert [draw(weighed, noise, sampling) for noise in noises] == expected.tolist()


@settings(max_examples=60, deadline=None)
@given(rows(), st.sampled_from([1, 2, 20, 64, 78, 300, 4999, 5001]))
def test_the_likeliest_are_those_of_a_stable_sort(row, k):
    assert likeliest(row[0], k).tolist() == np.argsort(-row[0], kind="stable")[:k].tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampling", SAMPLINGS[:3])
def test_broken_logits_are_refused(bad, sampling):
    logits = np.zeros(100, dtype=np.float32)
    logits[77] = bad
    with pytest.raises(GenerationError, match="NaN or infinity"):
        draw(logits, 0.5, SamplingConfig(**sampling))
    with pytest.raises(GenerationError, match="NaN or infinity"):
        draw(np.full(100, -np.inf, dtype=np.float32), 0.5, SamplingConfig(**sampling))

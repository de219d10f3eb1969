"""Scores of answers against whole logits read one number at a time, and masks as a function of the answer alone."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hornbook.data.batch import TokenBatch
from hornbook.models.masks import FULL
from hornbook.objectives.answer_noise import AnswerMasks
from hornbook.objectives.answer_scores import answer_lengths, answer_scores, draw_scores
from hornbook.objectives.masked_diffusion import noise_of
from hornbook.objectives.noise import CHOSEN, REJECTED
from hornbook.objectives.objective import StepContext
from oracles.preference import log_probability, masked_score, masks_of
from tiny_models import POSITIONS, VOCABULARY, tiny_model

MASK = VOCABULARY - 1
AT = StepContext(seed=2, step=3, samples_per_step=4)
# Weights of masked tokens are float32.
FLOAT32 = 2.0**-23


def batch_of(answers: list[tuple[int, int]], *, width: int = 12, seed: int = 0) -> TokenBatch:
    """A row for each answer, which stands from .. to below; what follows is padding. The prompt depends on `seed`."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(MASK, (len(answers), 16), generator=rng)[:, :width]
    places = torch.arange(width)
    mask = torch.stack([(places >= first) & (places < stop) for first, stop in answers])
    tokens = torch.where(places < torch.tensor([[stop] for _, stop in answers]), tokens, 0)
    return TokenBatch(tokens=tokens, loss_mask=mask, sample_ids=torch.arange(len(answers)))


UNEVEN = [(4, 5), (2, 9), (11, 12), (1, 6)]


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("chunk_tokens", [3, 1000])
def test_log_probabilities_are_the_oracles(position, chunk_tokens):
    model, batch = tiny_model(position=position), batch_of(UNEVEN)
    logits = model(batch.tokens)
    expected = [
        log_probability(*map(torch.Tensor.tolist, row))
        for row in zip(logits, batch.tokens, batch.loss_mask, strict=True)
    ]
    found = answer_scores(model, batch, chunk_tokens=chunk_tokens)
    assert found.tolist() == pytest.approx(expected, rel=1e-13)
    assert answer_lengths(batch).tolist() == [1, 7, 1, 5]


def test_each_mask_scores_by_what_the_model_sees_through_it():
    model, batch = tiny_model(), batch_of(UNEVEN)
    prepared = AnswerMasks(draws=5, mask_id=MASK)(batch, AT, CHOSEN)
    found, noised = draw_scores(model, prepared), noise_of(prepared)
    assert found.shape == (4, 5)
    for row, (first, stop) in enumerate(UNEVEN):
        for draw in range(5):
            number = 5 * row + draw
            places = tuple(noised.masked[number].nonzero()[:, 0].tolist())
            logits = model(noised.tokens[number : number + 1, :stop], mask=FULL)[0].tolist()  # without padding
            expected = masked_score(logits, batch.tokens[row].tolist(), places, stop - first)
            assert found[row, draw].item() == pytest.approx(expected, rel=FLOAT32)
    torch.testing.assert_close(answer_scores(model, prepared), found.mean(dim=1))
    assert answer_lengths(prepared).tolist() == [1, 7, 1, 5]


def test_the_mean_over_draws_is_the_bound_of_all_masks():
    """By enumeration; the error of 600 draws is that of independent ones at most, here 4 times."""
    model, batch = tiny_model(), batch_of([(3, 7)], width=7)
    tokens, places = batch.tokens[0].tolist(), list(range(3, 7))
    exact = 0.0
    for masked, share in masks_of(places):
        hidden = batch.tokens.clone()
        hidden[0, list(masked)] = MASK
        exact += share * masked_score(model(hidden, mask=FULL)[0].tolist(), tokens, masked, 4)
    draws = draw_scores(model, AnswerMasks(draws=600, mask_id=MASK)(batch, AT, CHOSEN))[0]
    assert draws.mean().item() == pytest.approx(exact, abs=4 * draws.std().item() / math.sqrt(600))


def test_counts_of_masked_tokens_are_spread_evenly_and_places_alike():
    draws, length = 8, 8
    seen = np.zeros(length)
    for step in range(200):
        batch = batch_of([(2, 2 + length)])
        noised = noise_of(AnswerMasks(draws=draws, mask_id=MASK)(batch, replace(AT, step=step), CHOSEN))
        counts = sorted(noised.masked.sum(dim=1).tolist())
        assert counts == list(range(1, length + 1))  # as many draws as tokens: each count once
        weights = noised.weight.sum(dim=1)
        torch.testing.assert_close(weights, torch.full((draws,), float(length)))
        seen += noised.masked[:, 2 : 2 + length].sum(dim=0).numpy()
    # A place is masked in (L + 1) / 2 of L draws; 200 steps of 8 draws that are at most as noisy as independent ones.
    assert seen == pytest.approx(np.full(length, 200 * (length + 1) / 2), abs=4 * math.sqrt(200 * draws / 4))


def test_only_tokens_of_the_answer_are_masked_and_padding_is_not_seen():
    model = tiny_model()
    batch = batch_of(UNEVEN)
    batch = replace(batch, tokens=batch.tokens.index_put((torch.tensor([1]), torch.tensor([4])), torch.tensor(MASK)))
    noised = noise_of(prepared := AnswerMasks(draws=6, mask_id=MASK)(batch, AT, CHOSEN))
    assert not (noised.masked & ~batch.loss_mask.repeat_interleave(6, dim=0)).any()
    assert not noised.masked[6:12, 4].any()  # the mask token in the text is nobody's target
    assert answer_lengths(prepared).tolist() == [1, 6, 1, 5]
    assert noised.masked.any(dim=1).all()
    behind = torch.arange(12) >= torch.tensor([[stop] for _, stop in UNEVEN])
    other = replace(
        prepared, noised=replace(noised, tokens=torch.where(behind.repeat_interleave(6, dim=0), 7, noised.tokens))
    )
    assert torch.equal(draw_scores(model, other), draw_scores(model, prepared))


def test_masks_are_a_function_of_step_sample_answer_and_purpose():
    draw = AnswerMasks(draws=4, mask_id=MASK)
    wide = noise_of(draw(batch_of(UNEVEN[:2], width=12), AT, CHOSEN))
    narrow = noise_of(draw(batch_of(UNEVEN[:2], width=9), AT, CHOSEN))
    assert torch.equal(wide.masked[:, :9], narrow.masked)  # padding changes nothing
    alone = replace(batch_of(UNEVEN), tokens=batch_of(UNEVEN).tokens[1:2], loss_mask=batch_of(UNEVEN).loss_mask[1:2])
    alone = replace(alone, sample_ids=torch.tensor([1]))
    assert torch.equal(noise_of(draw(alone, AT, CHOSEN)).masked, wide.masked[4:])
    others = [
        draw(batch_of(UNEVEN[:2]), AT, REJECTED),
        draw(batch_of(UNEVEN[:2]), replace(AT, step=4), CHOSEN),
        draw(batch_of(UNEVEN[:2]), replace(AT, seed=1), CHOSEN),
        draw(replace(batch_of(UNEVEN[:2]), sample_ids=torch.tensor([5, 6])), AT, CHOSEN),
    ]
    assert all(not torch.equal(noise_of(other).masked, wide.masked) for other in others)


def test_a_row_without_an_answer_scores_nothing():
    batch = batch_of([(2, 5), (3, 6)])
    blank = replace(batch, loss_mask=batch.loss_mask & torch.tensor([[True], [False]]))
    for prepared in (blank, AnswerMasks(draws=3, mask_id=MASK)(blank, AT, CHOSEN)):
        assert answer_scores(tiny_model(), prepared)[1].item() == 0.0
        assert answer_lengths(prepared).tolist() == [3, 0]
        nothing = replace(prepared, loss_mask=torch.zeros_like(prepared.loss_mask))
        assert prepared.noised is not None or answer_scores(tiny_model(), nothing).tolist() == [0.0, 0.0]

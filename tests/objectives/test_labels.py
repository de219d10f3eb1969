"""The weights that are shown, with nll of our own from whole logits, add up to what the objective says it minimises."""

from dataclasses import replace

import pytest
import torch

from hornbook.config.objective import (
    BlockDiffusionConfig,
    JointConfig,
    MaskedDiffusionConfig,
    NextTokenConfig,
    PreferenceConfig,
)
from hornbook.data.batch import PADDING_DOCUMENT, PreferenceBatch, TokenBatch
from hornbook.models.masks import AttentionMask
from hornbook.models.transformer import Transformer
from hornbook.objectives.block_diffusion import BlockDiffusion
from hornbook.objectives.joint import Joint
from hornbook.objectives.labels import LOG_PROBABILITY, NEXT_TOKEN, Labels, labels_of, pair_labels
from hornbook.objectives.masked_diffusion import TERM, MaskedDiffusion
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import StepContext
from hornbook.objectives.preference import Preference
from hornbook.objectives.preference_losses import preference_loss
from tiny_models import VOCABULARY, tiny_model

MASK, LENGTH, BLOCK = VOCABULARY - 1, 12, 4
AT = StepContext(seed=2, step=3, samples_per_step=4)
# Weights are float32, two of them multiplied at most: 2^-24 of itself each, and once more for the sum's order.
FLOAT32 = 2.0**-21
MADE = {
    "next_token": (NextToken, NextTokenConfig, {}),
    "masked": (MaskedDiffusion, MaskedDiffusionConfig, {"truncation_probability": 0.0}),
    "cut": (MaskedDiffusion, MaskedDiffusionConfig, {"truncation_probability": 1.0}),
    "block": (BlockDiffusion, BlockDiffusionConfig, {"block_length": BLOCK, "truncation_probability": 0.0}),
    "joint": (Joint, JointConfig, {"truncation_probability": 0.0, "diffusion_weight": 0.7}),
}


def objective_of(kind: str, normalize: str):
    made, config, settings = MADE[kind]
    mask = {} if kind == "next_token" else {"mask_id": MASK}
    return made(config(normalize=normalize, **settings), chunk_tokens=64, **mask)


def batch_of(seed: int, *, packed: bool, length: int) -> TokenBatch:
    """Rows with masks at random; packed ones hold two or three documents of different lengths, and padding."""
    rng = torch.Generator().manual_seed(seed)
    shape = (4, length)
    batch = TokenBatch(
        tokens=torch.randint(VOCABULARY - 1, shape, generator=rng),
        loss_mask=torch.rand(shape, generator=rng) < 0.6,
        sample_ids=torch.arange(4) + AT.step * AT.samples_per_step,
    )
    if not packed:
        return batch
    edges = torch.tensor([[3, 8, length], [5, 9, 10], [1, 2, 7], [4, 4, length]])
    places = torch.arange(length)
    documents = (places >= edges[:, :, None]).sum(1)
    starts = torch.cat((torch.zeros(4, 1, dtype=torch.long), edges), dim=1).gather(1, documents)
    documents = torch.where(documents == 3, PADDING_DOCUMENT, documents)
    first = places == starts
    return replace(
        batch,
        loss_mask=batch.loss_mask & (documents != PADDING_DOCUMENT) & ~first,
        document_ids=documents,
        positions=places - starts,
    )


def nll_of(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]


def ahead(model: Transformer, batch: TokenBatch) -> torch.Tensor:
    """Of every token but the first from those before it; (b, t), nothing at the first."""
    documents = None if batch.document_ids is None else batch.document_ids[:, :-1]
    positions = None if batch.positions is None else batch.positions[:, :-1]
    logits = model(batch.tokens[:, :-1], positions=positions, mask=AttentionMask("causal", document_ids=documents))
    return torch.nn.functional.pad(nll_of(logits, batch.tokens[:, 1:]), (1, 0))


def filled_in(model: Transformer, batch: TokenBatch, *, draw: int = 0, draws: int = 1) -> torch.Tensor:
    """Of every token from the noised row; (b, t), nothing behind its end."""
    noised, rest = batch.noised, 0
    own = slice(draw, None, draws)
    documents = None if noised.document_ids is None else noised.document_ids[own]
    tokens = noised.tokens[own]
    rest = batch.tokens.shape[1] - tokens.shape[1]
    positions = None if batch.positions is None else batch.positions[:, : tokens.shape[1]]
    logits = model(tokens, positions=positions, mask=AttentionMask("full", document_ids=documents))
    return torch.nn.functional.pad(nll_of(logits, batch.tokens[:, : tokens.shape[1]]), (0, rest))


def by_blocks(model: Transformer, batch: TokenBatch) -> torch.Tensor:
    """Of every token from its noised block and the clean ones before it."""
    mask, found = AttentionMask("block_causal", block_length=BLOCK), []
    for start in range(0, LENGTH, BLOCK):
        row = torch.cat((batch.tokens[:, :start], batch.noised.tokens[:, start : start + BLOCK]), dim=1)
        found.append(model(row, mask=mask)[:, start:])
    return nll_of(torch.cat(found, dim=1), batch.tokens)


def shown_sum(rows: list[Labels], term: str, nll: torch.Tensor) -> float:
    return sum(float((row.weights[term].double() * own).sum()) for row, own in zip(rows, nll, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("normalize", ["token", "sequence"])
@pytest.mark.parametrize(
    ("kind", "packed"),
    [(kind, packed) for kind in MADE for packed in (False, True) if not (kind == "block" and packed)],
)
def test_shown_weights_and_denominators_give_the_loss(kind, packed, normalize, seed):
    model, objective = tiny_model(), objective_of(kind, normalize)
    batch = batch_of(seed, packed=packed, length=LENGTH + objective.lookahead)
    # Row by row, as they are shown; the loss is of all at once.
    alone = [objective.prepare(row, AT) for row in batch.cut(1)]
    shown = [
        own for row in alone for own in labels_of(row, predicts_next=objective.lookahead == 1, normalize=normalize)
    ]
    denominators = {term: sum(objective.weight(row)[term] for row in alone) for term in objective.weight(alone[0])}
    prepared = objective.prepare(batch, AT)
    output = objective(model, prepared)
    assert denominators == objective.weight(prepared)
    nll = {NEXT_TOKEN: ahead, TERM: by_blocks if kind == "block" else filled_in}
    assert set(output.terms) == set(shown[0].weights)
    for term, total in output.terms.items():
        expected = shown_sum(shown, term, nll[term](model, prepared)) / denominators[term]
        assert expected == pytest.approx(total.item() / denominators[term], rel=FLOAT32)
    assert torch.stack([row.trained for row in shown]).equal(batch.loss_mask)
    for row in shown:
        for weight in row.weights.values():
            assert not weight[~row.trained].any()
        assert not (row.is_padding & row.trained).any()


def pairs_of(seed: int) -> PreferenceBatch:
    """Answers of different lengths after common prompts, the shorter ones filled up."""
    rng = torch.Generator().manual_seed(seed)
    prompts = torch.randint(VOCABULARY - 1, (4, 4), generator=rng)
    sides = []
    for lengths in ([5, 8, 1, 6], [8, 2, 3, 8]):
        answers = torch.randint(VOCABULARY - 1, (4, 8), generator=rng)
        places = torch.arange(LENGTH)
        behind = places >= 4 + torch.tensor(lengths)[:, None]
        tokens = torch.where(behind, 0, torch.cat((prompts, answers), dim=1))
        sides.append(
            TokenBatch(
                tokens=tokens,
                loss_mask=(places >= 4) & ~behind & (torch.rand(4, LENGTH, generator=rng) < 0.9),
                sample_ids=torch.arange(4) + AT.step * AT.samples_per_step,
                document_ids=torch.where(behind, PADDING_DOCUMENT, 0),
            )
        )
    reference = torch.tensor([-3.0, -20.0, -9.0, -1.0])
    return PreferenceBatch(
        chosen=sides[0], rejected=sides[1], reference_chosen=reference, reference_rejected=reference.flip(0)
    )


@torch.no_grad()
@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
@pytest.mark.parametrize("likelihood", ["next_token", "masked_diffusion"])
@pytest.mark.parametrize("average", [True, False])
def test_shown_weights_of_a_pair_give_the_loss_of_preferences(likelihood, average, loss):
    settings = PreferenceConfig(
        likelihood=likelihood, average=average, loss=loss, **({"draws": 3} if likelihood != "next_token" else {})
    )
    model, batch = tiny_model(), pairs_of(1)
    objective = Preference(settings, mask_id=MASK, chunk_tokens=64, reference=None)
    prepared = objective.prepare(batch, AT)
    output = objective(model, prepared)
    alone = [objective.prepare(row, AT) for row in batch.cut(1)]
    pairs = [pair for row in alone for pair in pair_labels(row, averages=objective.averages)]
    scores = []
    for number, answers in enumerate((prepared.chosen, prepared.rejected)):
        draws = len(pairs[0][number])
        assert draws == (3 if objective.masks else 1)
        total = torch.zeros(4, dtype=torch.float64)
        for draw in range(draws):
            nll = filled_in(model, answers, draw=draw, draws=draws) if objective.masks else ahead(model, answers)
            for place, (pair, own) in enumerate(zip(pairs, nll, strict=True)):
                total[place] -= (pair[number][draw].weights[LOG_PROBABILITY].double() * own).sum()
        scores.append(total)
        shown = torch.stack([pair[number][0].trained for pair in pairs])
        assert shown.equal(answers.loss_mask)
    lengths = [side.loss_mask[:, 0 if objective.masks else 1 :].sum(1) for side in (batch.chosen, batch.rejected)]
    references = [batch.reference_chosen.double(), batch.reference_rejected.double()]
    if average:
        references = [score / length for score, length in zip(references, lengths, strict=True)]
    margin = (scores[0] - references[0]) - (scores[1] - references[1])
    (term,) = output.terms.values()
    (n_pairs,) = objective.weight(prepared).values()
    assert n_pairs == 4
    assert sum(sum(objective.weight(row).values()) for row in alone) == n_pairs
    assert term.item() == pytest.approx(preference_loss(margin, settings).sum().item(), rel=2.0**-18)

"""Masked, block and joint diffusion against a slow oracle, against decoding, and across every way of cutting a step."""

import math
from dataclasses import replace

import pytest
import torch

from hornbook.config.objective import (
    BlockDiffusionConfig,
    JointConfig,
    MaskedDiffusionConfig,
    NextTokenConfig,
    ObjectiveConfig,
)
from hornbook.data.batch import TokenBatch
from hornbook.models.masks import FULL, AttentionMask
from hornbook.models.token_scores import TokenScores
from hornbook.models.transformer import Transformer
from hornbook.objectives.block_diffusion import BlockDiffusion
from hornbook.objectives.joint import Joint
from hornbook.objectives.masked_diffusion import BUCKETS, TERM, MaskedDiffusion, noise_of, weighted_sum
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import Objective, StepContext
from oracles.diffusion import weighted_nll
from tiny_models import POSITIONS, VOCABULARY, tiny_model

MASK, LENGTH, BLOCK = VOCABULARY - 1, 12, 4
AT = StepContext(seed=2, step=3, samples_per_step=4)
# Weights are float32: each is off by 2^-24 of itself, and so is their product with the nll.
FLOAT32 = 2.0**-23
KINDS = {
    "masked": (MaskedDiffusion, MaskedDiffusionConfig(truncation_probability=0.0)),
    "block": (BlockDiffusion, BlockDiffusionConfig(block_length=BLOCK, truncation_probability=0.0)),
    "joint": (Joint, JointConfig(truncation_probability=0.0, diffusion_weight=0.7, label_smoothing=0.1, z_loss=1e-3)),
}


def objective_of(kind: str, config: ObjectiveConfig | None = None, **changes: object) -> Objective[TokenBatch]:
    made, usual = KINDS[kind]
    return made(config or usual, mask_id=MASK, **{"chunk_tokens": 64, **changes})


def batch_of(rows: int = 4, *, extra: int = 0, step: int = AT.step) -> TokenBatch:
    rng = torch.Generator().manual_seed(rows)
    shape = (rows, LENGTH + extra)
    return TokenBatch(
        tokens=torch.randint(VOCABULARY - 1, shape, generator=rng),
        loss_mask=torch.rand(shape, generator=rng) < 0.8,
        sample_ids=torch.arange(rows) + step * AT.samples_per_step,
    )


def decoded_logits(model: Transformer, batch: TokenBatch, kind: str) -> torch.Tensor:
    """What a decoder would have of the noised tokens: the whole row at once, or block for block after clean ones."""
    noised = noise_of(batch).tokens
    if kind != "block":
        return model(noised, mask=FULL)
    mask, found = AttentionMask("block_causal", block_length=BLOCK), []
    for start in range(0, LENGTH, BLOCK):
        stop = start + BLOCK
        row = torch.cat((batch.tokens[:, :start], noised[:, start:stop]), dim=1)
        found.append(model(row, mask=mask)[:, start:])
    return torch.cat(found, dim=1)


@pytest.mark.parametrize("kind", ["masked", "block"])
@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("chunk_tokens", [5, 1000])
def test_the_sum_is_the_oracles_on_what_decoding_would_see(kind, position, chunk_tokens):
    model = tiny_model(position=position)
    objective = objective_of(kind, chunk_tokens=chunk_tokens)
    batch = objective.prepare(batch_of(), AT)
    noised, logits = noise_of(batch), decoded_logits(model, batch, kind)
    sums, hits = zip(
        *(
            weighted_nll(*map(torch.Tensor.tolist, row))
            for row in zip(logits, batch.tokens, noised.masked, noised.mask_probability, strict=True)
        ),
        strict=True,
    )
    output = objective(model, batch)
    assert sum(hits) == int(noised.masked.sum()) > 0
    assert output.terms[TERM].item() == pytest.approx(sum(sums), rel=FLOAT32)
    assert objective.weight(batch) == {TERM: int(batch.loss_mask.sum())}  # masked or not


def test_ngrams_read_the_noised_row():
    """They look backwards only, at what the model reads; the targets are not among it."""
    model = tiny_model(ngram_length=3, ngram_rows=97)
    with torch.no_grad():
        model.ngram_embedding.weight.normal_(generator=torch.Generator().manual_seed(0))
    objective = objective_of("masked")
    batch = objective.prepare(batch_of(), AT)
    logits = model(noise_of(batch).tokens, mask=FULL)
    nll = -logits.log_softmax(-1).gather(-1, batch.tokens[..., None])[..., 0]
    expected = (noise_of(batch).weight * nll).sum().item()
    assert objective(model, batch).terms[TERM].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["masked", "block"])
def test_packed_documents_are_as_separate_rows(kind):
    """Here the boundary is one of blocks, too."""
    model, objective, first = tiny_model(), objective_of(kind), 2 * BLOCK
    places = torch.arange(LENGTH).expand(4, -1)
    packed = replace(batch_of(), document_ids=(places >= first).long(), positions=places % first)
    packed = objective.prepare(packed, AT)
    noised = noise_of(packed)
    parts = []
    for piece in (slice(0, first), slice(first, LENGTH)):
        row = replace(batch_of(), tokens=packed.tokens[:, piece], loss_mask=packed.loss_mask[:, piece])
        inside = noised.with_each(lambda tensor, piece=piece: tensor[:, piece])
        parts.append(replace(row, noised=replace(inside, document_ids=None)))
    expected = sum(objective(model, part).terms[TERM].item() for part in parts)
    assert objective(model, packed).terms[TERM].item() == pytest.approx(expected, rel=1e-12)


def test_joint_is_the_sum_of_its_halves():
    model, batch = tiny_model(), batch_of(extra=1)
    objective = objective_of("joint")
    batch = objective.prepare(batch, AT)
    output, weights = objective(model, batch), objective.weight(batch)
    ahead = NextToken(NextTokenConfig(label_smoothing=0.1, z_loss=1e-3), chunk_tokens=64)
    masked = objective_of("masked")
    front = replace(batch, tokens=batch.tokens[:, :-1], loss_mask=batch.loss_mask[:, :-1], noised=None)
    front = masked.prepare(front, AT)
    assert weights == {**ahead.weight(batch), **masked.weight(front)}
    expected = {**ahead(model, batch).terms, TERM: 0.7 * masked(model, front).terms[TERM]}
    assert output.terms.keys() == expected.keys()
    assert all(torch.equal(output.terms[name], expected[name]) for name in expected)
    assert torch.equal(output.metrics["diffusion_nll"][0], masked(model, front).metrics["nll"][0])
    assert torch.equal(output.metrics["nll"][0], ahead(model, batch).metrics["nll"][0])


def test_the_weight_of_the_diffusion_half_follows_its_schedule():
    config = JointConfig(diffusion_weight=2.0, diffusion_weight_start=0.5, diffusion_weight_steps=10)
    objective = objective_of("joint", config)
    found = [
        noise_of(objective.prepare(batch_of(extra=1), replace(AT, step=step))).coefficient for step in (0, 5, 10, 11)
    ]
    assert found == pytest.approx([0.5, 1.25, 2.0, 2.0])


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_of_a_step_has_the_same_sums(kind):
    model, objective = tiny_model(), objective_of(kind)
    batch = batch_of(extra=objective.lookahead)
    whole = objective(model, objective.prepare(batch, AT))
    parts = [objective(model, objective.prepare(part, AT)) for part in batch.cut(1)]
    for name, term in whole.terms.items():
        assert sum(part.terms[name].item() for part in parts) == pytest.approx(term.item(), rel=1e-6)
    for name, (total, weight) in whole.metrics.items():
        assert sum(part.metrics[name][0].item() for part in parts) == pytest.approx(total.item(), rel=1e-6)
        assert sum(part.metrics[name][1].item() for part in parts) == weight


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_window_is_a_short_one(kind):
    config = KINDS[kind][1].model_validate({**KINDS[kind][1].model_dump(), "truncation_probability": 1.0})
    objective, model = objective_of(kind, config), tiny_model()
    batch = batch_of(extra=objective.lookahead)
    kept = (objective.diffusion if kind == "joint" else objective).masking.kept_tokens(AT, LENGTH)
    assert BLOCK < kept < LENGTH
    cut = objective.prepare(batch, AT)
    noised = noise_of(cut).with_each(lambda tensor: tensor[:, :kept])
    short = replace(
        cut,
        tokens=cut.tokens[:, : kept + objective.lookahead],
        loss_mask=cut.loss_mask[:, : kept + objective.lookahead],
        noised=replace(noised, document_ids=None),
    )
    found, expected = (objective(model, each).terms[TERM].item() for each in (cut, short))
    assert found == pytest.approx(expected, rel=1e-6)
    assert objective.weight(cut)[TERM] == objective.weight(short)[TERM]


def test_scores_of_what_is_not_masked_reach_neither_sum_nor_gradient():
    batch = objective_of("masked").prepare(batch_of(), AT)
    masked = noise_of(batch).masked
    nll = torch.ones(masked.shape, dtype=torch.float64).masked_fill(~masked, math.inf).requires_grad_()
    output = weighted_sum(TokenScores(nll, nll, nll), batch.tokens, noise_of(batch), None, "token")
    assert all(total.isfinite() for total, _ in output.metrics.values())
    output.terms[TERM].backward()
    assert nll.grad is not None
    assert torch.equal(nll.grad, noise_of(batch).weight.double())


def test_metrics_are_of_the_masked_tokens_by_their_probability():
    lengths = torch.arange(VOCABULARY)
    objective = objective_of("masked", byte_lengths=lengths)
    model, batch = tiny_model(), objective.prepare(batch_of(), AT)
    noised, metrics = noise_of(batch), objective(model, batch).metrics
    nll = -model(noised.tokens, mask=FULL).log_softmax(-1).gather(-1, batch.tokens[..., None])[..., 0]
    seen = 0
    for quarter, name in enumerate(BUCKETS):
        p = noised.mask_probability
        inside = noised.masked & (p >= quarter / 4) & (p <= (quarter + 1) / 4)
        total, weight = metrics[name]
        assert (total.item(), weight.item()) == (pytest.approx(nll[inside].sum().item()), int(inside.sum()))
        seen += int(weight)
    assert seen == int(noised.masked.sum())
    count = int(noised.counted.sum())
    assert metrics["mask_ratio"] == (seen, count)
    assert metrics["bytes"] == (lengths[batch.tokens][noised.counted].sum().item(), count)
    assert metrics["nll"][0].item() == pytest.approx(objective(model, batch).terms[TERM].item())
    assert metrics["nll"][1] == count


def test_a_certain_mask_is_in_the_last_bucket():
    batch = objective_of("masked").prepare(batch_of(), AT)
    everything = torch.ones_like(noise_of(batch).mask_probability)
    batch = replace(batch, noised=replace(noise_of(batch), mask_probability=everything))
    metrics = objective_of("masked")(tiny_model(), batch).metrics
    assert metrics["nll_p75_100"][1] == noise_of(batch).masked.sum()


def test_a_noised_block_does_not_see_itself_clean():
    """What stands in a block, and behind it, changes nothing that is said of its masked tokens."""
    model, mask = tiny_model(), AttentionMask("block_diffusion", block_length=BLOCK)
    batch = objective_of("block").prepare(batch_of(), AT)
    positions = torch.arange(LENGTH).repeat(2).expand(4, -1)

    def said(clean: torch.Tensor) -> torch.Tensor:
        return model(torch.cat((noise_of(batch).tokens, clean), dim=1), positions=positions, mask=mask)[:, :LENGTH]

    for start in range(0, LENGTH, BLOCK):
        other = batch.tokens.clone()
        other[:, start:] = (other[:, start:] + 1) % MASK
        stop = start + BLOCK
        assert torch.equal(said(batch.tokens)[:, :stop], said(other)[:, :stop])
        assert not torch.equal(said(batch.tokens)[:, stop:], said(other)[:, stop:]) or stop == LENGTH

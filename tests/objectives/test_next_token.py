"""Next-token sums against a slow oracle, against torch, and across every way of cutting a batch."""

import math

import pytest
import torch
import torch.nn.functional as F

from hornbook.config.model import ModelConfig
from hornbook.config.objective import NextTokenConfig
from hornbook.data.batch import TokenBatch
from hornbook.models.transformer import Transformer
from hornbook.objectives.next_token import NextToken
from hornbook.objectives.objective import Objective, StepContext
from oracles.next_token import log_normaliser, smoothed_cross_entropy

VOCAB = 11
AT = StepContext(seed=0, step=0, samples_per_step=4)


def tiny(**changes: object) -> Transformer:
    shape = {"vocab_size": VOCAB, "context_length": 8, "d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1}
    return Transformer(ModelConfig(**(shape | {"head_dim": 8, "d_ff": 32} | changes))).double()


def batch_of(rows: int, *, seed: int = 0, tokens_per_row: int = 9) -> TokenBatch:
    rng = torch.Generator().manual_seed(seed)
    return TokenBatch(
        tokens=torch.randint(VOCAB, (rows, tokens_per_row), generator=rng),
        loss_mask=torch.rand((rows, tokens_per_row), generator=rng) < 0.6,
        sample_ids=torch.arange(rows),
    )


def test_it_is_an_objective_without_noise() -> None:
    objective: Objective[TokenBatch] = NextToken(NextTokenConfig(), chunk_tokens=4)
    batch = batch_of(2)
    assert objective.lookahead == 1
    assert objective.prepare(batch, AT) is batch


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("z_loss", [0.0, 1e-2])
@pytest.mark.parametrize("chunk_tokens", [3, 1000])
def test_sums_equal_the_oracle(epsilon: float, z_loss: float, chunk_tokens: int) -> None:
    model, batch = tiny(), batch_of(3)
    objective = NextToken(NextTokenConfig(label_smoothing=epsilon, z_loss=z_loss), chunk_tokens=chunk_tokens)
    logits = model(batch.tokens[:, :-1]).tolist()
    cross_entropy, nll, squared_z, count = [], [], [], 0
    for row in range(3):
        for place in range(8):
            if batch.loss_mask[row, place + 1]:
                target = int(batch.tokens[row, place + 1])
                cross_entropy.append(smoothed_cross_entropy(logits[row][place], target, epsilon))
                nll.append(smoothed_cross_entropy(logits[row][place], target, 0.0))
                squared_z.append(log_normaliser(logits[row][place]) ** 2)
                count += 1

    output = objective(model, batch)
    # float64 sums of 24 terms of order 1 to 10.
    assert output.terms["cross_entropy"].item() == pytest.approx(math.fsum(cross_entropy), rel=1e-13)
    assert output.metrics["nll"][0].item() == pytest.approx(math.fsum(nll), rel=1e-13)
    assert output.metrics["z"][0].item() == pytest.approx(math.fsum(squared_z), rel=1e-13)
    assert output.metrics["nll"][1].item() == count
    if z_loss:
        assert output.terms["z_loss"].item() == pytest.approx(z_loss * math.fsum(squared_z), rel=1e-13)
        assert objective.weight(batch) == {"cross_entropy": count, "z_loss": count}
    else:
        assert objective.weight(batch) == {"cross_entropy": count}
        assert set(output.terms) == {"cross_entropy"}


def test_smoothing_is_torch_s() -> None:
    model, batch = tiny(), batch_of(3)
    objective = NextToken(NextTokenConfig(label_smoothing=0.1), chunk_tokens=64)
    targets = torch.where(batch.loss_mask[:, 1:], batch.tokens[:, 1:], -100)
    logits = model(batch.tokens[:, :-1])
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(objective(model, batch).terms["cross_entropy"], expected, rtol=1e-13, atol=0.0)


@pytest.mark.parametrize("cuts", [[1, 3], [2, 2], [1, 1, 1, 1]])
def test_micro_batches_with_uneven_masks_add_up_to_the_joint_batch(cuts: list[int]) -> None:
    """One row with a single counted target and one with all of them: a mean of means would be far off."""
    joint = batch_of(4)
    joint.loss_mask[0] = False
    joint.loss_mask[0, 5] = True
    joint.loss_mask[1] = True
    objective = NextToken(NextTokenConfig(label_smoothing=0.1, z_loss=1e-3), chunk_tokens=5)

    def gradient(pieces: list[TokenBatch]) -> torch.Tensor:
        model = tiny()
        weight = sum(objective.weight(piece)["cross_entropy"] for piece in pieces)
        for piece in pieces:
            output = objective(model, piece)
            (sum(output.terms.values()) / weight).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    whole = gradient([joint])
    parts = [
        TokenBatch(tokens=tokens, loss_mask=mask, sample_ids=ids)
        for tokens, mask, ids in zip(
            joint.tokens.split(cuts), joint.loss_mask.split(cuts), joint.sample_ids.split(cuts), strict=True
        )
    ]
    # The same 32 contributions per weight in another order: 32 eps of the largest.
    bound = 32 * torch.finfo(torch.float64).eps * whole.abs().max().item()
    torch.testing.assert_close(gradient(parts), whole, rtol=0.0, atol=bound)


def test_a_row_that_counts_nothing_gives_zero_and_a_zero_gradient() -> None:
    model, batch = tiny(), batch_of(2)
    batch.loss_mask[:] = False
    objective = NextToken(NextTokenConfig(z_loss=1e-3), chunk_tokens=64)
    output = objective(model, batch)
    assert objective.weight(batch) == {"cross_entropy": 0, "z_loss": 0}
    sum(output.terms.values()).backward()
    assert all(torch.all(parameter.grad == 0) for parameter in model.parameters() if parameter.grad is not None)


def test_the_mask_of_the_first_token_is_never_asked() -> None:
    model, batch = tiny(), batch_of(2)
    objective = NextToken(NextTokenConfig(), chunk_tokens=64)
    before = objective(model, batch).terms["cross_entropy"].item()
    batch.loss_mask[:, 0] = ~batch.loss_mask[:, 0]
    assert objective(model, batch).terms["cross_entropy"].item() == before


@pytest.mark.parametrize("position", ["rotary", "learned", "sinusoidal"])
def test_packed_documents_cost_what_they_cost_alone(position: str) -> None:
    model = tiny(position=position)
    objective = NextToken(NextTokenConfig(), chunk_tokens=64)
    rng = torch.Generator().manual_seed(3)
    first, second = torch.randint(VOCAB, (1, 4), generator=rng), torch.randint(VOCAB, (1, 5), generator=rng)
    packed = TokenBatch(
        tokens=torch.cat([first, second], dim=1),
        # The first token of a document is nobody's target: what precedes it is another document.
        loss_mask=torch.tensor([[False, True, True, True, False, True, True, True, True]]),
        sample_ids=torch.zeros(1, dtype=torch.int64),
        document_ids=torch.tensor([[0] * 4 + [1] * 5]),
        positions=torch.tensor([[*range(4), *range(5)]]),
    )
    alone = [
        TokenBatch(tokens=part, loss_mask=torch.ones_like(part, dtype=torch.bool), sample_ids=torch.zeros(1).long())
        for part in (first, second)
    ]
    expected = sum(objective(model, part).terms["cross_entropy"] for part in alone)
    torch.testing.assert_close(objective(model, packed).terms["cross_entropy"], expected, rtol=1e-12, atol=0.0)
    assert objective.weight(packed) == {"cross_entropy": 7}


def test_bytes_are_those_of_the_targets_that_count() -> None:
    lengths = torch.arange(VOCAB)
    objective = NextToken(NextTokenConfig(), chunk_tokens=64, byte_lengths=lengths)
    batch = TokenBatch(
        tokens=torch.tensor([[9, 1, 2, 3]]),
        loss_mask=torch.tensor([[True, True, False, True]]),
        sample_ids=torch.zeros(1, dtype=torch.int64),
    )
    total, count = objective(tiny(), batch).metrics["bytes"]
    assert (total.item(), count.item()) == (1 + 3, 2)
    assert "bytes" not in NextToken(NextTokenConfig(), chunk_tokens=64)(tiny(), batch).metrics


def test_metrics_carry_no_gradient() -> None:
    metrics = NextToken(NextTokenConfig(z_loss=1.0), chunk_tokens=64)(tiny(), batch_of(2)).metrics
    assert not any(value.requires_grad or weight.requires_grad for value, weight in metrics.values())

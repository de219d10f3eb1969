"""One step is exactly: summed gradient over summed weights, clipped, one optimizer update."""

import math

import pytest
import torch

from hornbook.config.objective import NextTokenConfig
from hornbook.data.batch import TokenBatch
from hornbook.objectives.objective import StepContext
from hornbook.training.step import Learner, seed_dropout, train_step
from training.rig import CONTEXT, SAMPLES, VOCAB, build_learner, draw

AT = StepContext(seed=5, step=0, samples_per_step=SAMPLES)


def join(batches: list[TokenBatch]) -> TokenBatch:
    return TokenBatch(
        tokens=torch.cat([batch.tokens for batch in batches]),
        loss_mask=torch.cat([batch.loss_mask for batch in batches]),
        sample_ids=torch.cat([batch.sample_ids for batch in batches]),
    )


def rows(batches: list[TokenBatch]) -> list[TokenBatch]:
    joint = join(batches)
    parts = zip(joint.tokens.split(1), joint.loss_mask.split(1), joint.sample_ids.split(1), strict=True)
    return [TokenBatch(tokens=tokens, loss_mask=mask, sample_ids=ids) for tokens, mask, ids in parts]


def weights(learner: Learner[TokenBatch]) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.model.parameters()])


def first_moments(learner: Learner[TokenBatch]) -> torch.Tensor:
    state = learner.optimizer.state
    return torch.cat([state[parameter]["exp_avg"].flatten() for parameter in learner.model.parameters()])


def reference_gradient(learner: Learner[TokenBatch], batches: list[TokenBatch]) -> torch.Tensor:
    """The gradient of the mean nll over every counted target, by torch's own cross-entropy on whole logits."""
    joint = join(batches)
    logits = learner.model(joint.tokens[:, :-1])
    counted = joint.loss_mask[:, 1:]
    loss = torch.nn.functional.cross_entropy(logits[counted], joint.tokens[:, 1:][counted])
    gradients = torch.autograd.grad(loss, list(learner.model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("cut", [join, rows], ids=["joint", "rows"])
def test_every_cut_of_a_step_gives_the_same_gradient(cut: object) -> None:
    objective = NextTokenConfig(label_smoothing=0.1, z_loss=1e-3)
    whole, parts = (build_learner(dtype=torch.float64, objective=objective) for _ in range(2))
    pieces = cut(draw(0))
    report = train_step(whole, draw(0), AT, multiplier=1.0)
    other = train_step(parts, pieces if isinstance(pieces, list) else [pieces], AT, multiplier=1.0)
    assert other.trained_tokens == report.trained_tokens
    assert other.loss == pytest.approx(report.loss, rel=1e-14)
    # After one update the first moment is a tenth of the gradient: a sum over 32 positions, in another order.
    bound = 32 * torch.finfo(torch.float64).eps * first_moments(whole).abs().max().item()
    torch.testing.assert_close(first_moments(parts), first_moments(whole), rtol=0.0, atol=bound)
    assert other.grad_norm == pytest.approx(report.grad_norm, rel=32 * 2**-52)


def test_one_target_and_a_hundred_are_a_hundred_and_one() -> None:
    rng = torch.Generator().manual_seed(3)
    counted = [torch.zeros(13, CONTEXT + 1, dtype=torch.bool) for _ in range(2)]
    counted[0][4, 5] = True
    counted[1][:, 1:] = True
    counted[1][0, 1:5] = False
    batches = [
        TokenBatch(tokens=torch.randint(VOCAB, mask.shape, generator=rng), loss_mask=mask, sample_ids=torch.arange(13))
        for mask in counted
    ]
    assert [int(batch.loss_mask.sum()) for batch in batches] == [1, 100]
    learner = build_learner(dtype=torch.float64, clip=None)
    expected = reference_gradient(learner, batches)
    means = [reference_gradient(learner, [batch]) for batch in batches]
    report = train_step(learner, batches, AT, multiplier=1.0)
    found = first_moments(learner) / (1.0 - 0.9)
    bound = (
        202 * torch.finfo(torch.float64).eps * expected.abs().max().item()
    )  # a sum over 101 targets, in another order
    torch.testing.assert_close(found, expected, rtol=0.0, atol=bound)
    assert report.trained_tokens == 101
    assert not torch.allclose(found, (means[0] + means[1]) / 2, rtol=0.1)


def test_loss_and_norm_are_those_of_the_reduced_gradient_before_clipping() -> None:
    learner = build_learner(dtype=torch.float64, clip=1e-3)
    expected = reference_gradient(learner, draw(0))
    report = train_step(learner, draw(0), AT, multiplier=1.0)
    assert report.grad_norm == pytest.approx(expected.norm().item(), rel=1e-12)
    assert report.grad_norm > 1e-3
    total, count = report.metrics["nll"]
    assert report.loss == pytest.approx(total / count)
    assert report.trained_tokens == count


@pytest.mark.parametrize("clip", [None, 1e-3, 1e3])
def test_the_optimizer_sees_the_clipped_gradient(clip: float | None) -> None:
    learner = build_learner(dtype=torch.float64, clip=clip)
    expected = reference_gradient(learner, draw(0))
    train_step(learner, draw(0), AT, multiplier=1.0)
    norm = first_moments(learner).norm().item() / (1.0 - 0.9)  # (1 - beta1) g after one update
    assert norm == pytest.approx(min(clip or math.inf, expected.norm().item()), rel=2e-3)  # clipping adds 1e-6 to 1e-3


def test_metrics_are_counted_and_unsmoothed() -> None:
    smooth, plain = build_learner(objective=NextTokenConfig(label_smoothing=0.3)), build_learner()
    with_smoothing, without = (train_step(learner, draw(0), AT, multiplier=1.0) for learner in (smooth, plain))
    assert with_smoothing.metrics["nll"] == without.metrics["nll"]
    assert with_smoothing.loss != without.loss
    joint = join(draw(0))
    counted = joint.loss_mask[:, 1:]
    assert without.metrics["bytes"] == (joint.tokens[:, 1:][counted].sum().item(), counted.sum().item())


def test_the_learning_rate_is_set_before_the_update() -> None:
    learner = build_learner(learning_rate=0.5)
    report = train_step(learner, draw(0), AT, multiplier=0.25)
    assert report.learning_rate == 0.125
    still = build_learner(learning_rate=0.5)
    before = weights(still)
    train_step(still, draw(0), AT, multiplier=0.0)
    assert torch.equal(weights(still), before)


def test_gradients_are_gone_after_the_step() -> None:
    learner = build_learner()
    train_step(learner, draw(0), AT, multiplier=1.0)
    assert all(parameter.grad is None for parameter in learner.model.parameters())


def test_a_step_that_is_not_finite_changes_nothing_and_leaves_no_gradient() -> None:
    learner = build_learner()
    train_step(learner, draw(0), AT, multiplier=1.0)
    before = learner.strategy.full_state(learner.model, learner.optimizer)
    handle = learner.model.norm.weight.register_hook(lambda gradient: gradient * math.nan)
    report = train_step(learner, draw(1), AT, multiplier=1.0)
    handle.remove()
    assert report.skipped
    assert math.isnan(report.grad_norm)
    after = learner.strategy.full_state(learner.model, learner.optimizer)
    assert all(torch.equal(after.model[name], value) for name, value in before.model.items())
    assert all(torch.equal(after.optimizer[name], value) for name, value in before.optimizer.items())
    assert not train_step(learner, draw(2), AT, multiplier=1.0).skipped


def test_a_step_without_any_target_is_an_update_by_zero_gradients() -> None:
    batches = draw(0)
    for batch in batches:
        batch.loss_mask[:] = False
    report = train_step(build_learner(), batches, AT, multiplier=1.0)
    assert (report.loss, report.grad_norm, report.skipped) == (0.0, 0.0, False)


def test_dropout_is_a_function_of_seed_step_and_micro_batch() -> None:
    def noise(seed: int, step: int, micro_batch: int) -> torch.Tensor:
        at = StepContext(seed=seed, step=step, samples_per_step=1)
        seed_dropout(at, micro_batch=micro_batch, device=torch.device("cpu"))
        return torch.rand(8)

    assert torch.equal(noise(1, 2, 3), noise(1, 2, 3))
    others = [noise(0, 2, 3), noise(1, 0, 3), noise(1, 2, 0), noise(2, 1, 3), noise(1, 3, 2)]
    assert not any(torch.equal(noise(1, 2, 3), other) for other in others)


def test_dropout_does_not_depend_on_what_ran_before() -> None:
    first, second = (build_learner(dropout=0.5) for _ in range(2))
    for learner in (first, second):
        learner.model.train()
    torch.manual_seed(0)
    train_step(first, draw(0), AT, multiplier=1.0)
    torch.manual_seed(1)
    torch.rand(77)
    train_step(second, draw(0), AT, multiplier=1.0)
    assert torch.equal(weights(first), weights(second))


def test_it_overfits_64_tokens() -> None:
    rng = torch.Generator().manual_seed(0)
    row = torch.randint(VOCAB, (8, CONTEXT + 1), generator=rng)
    row[:, 0] = torch.arange(8)  # tell the rows apart, so that every target can be learnt
    batch = TokenBatch(tokens=row, loss_mask=torch.ones_like(row, dtype=torch.bool), sample_ids=torch.arange(8))
    learner = build_learner(learning_rate=2e-2)
    losses = [train_step(learner, [batch], AT, multiplier=1.0).loss for _ in range(100)]
    assert losses[0] > 2.0
    assert losses[-1] < 0.05


GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_bf16_follows_fp32_and_keeps_fp32_state(device: str) -> None:
    exact, coarse = build_learner(device=device), build_learner(device=device, precision="bf16")
    for step in range(3):
        at = StepContext(seed=5, step=step, samples_per_step=SAMPLES)
        reference = train_step(exact, draw(step), at, multiplier=1.0)
        report = train_step(coarse, draw(step), at, multiplier=1.0)
        # Logits of order 1 rounded to 8 bits: a loss off by about 2^-8 of itself, a few times over.
        assert report.loss == pytest.approx(reference.loss, rel=8 * 2**-8)
    state = coarse.strategy.full_state(coarse.model, coarse.optimizer)
    assert {tensor.dtype for tensor in [*state.model.values(), *state.optimizer.values()]} == {torch.float32}

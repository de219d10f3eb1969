"""Objectives with noise, in whole steps: any cut, any way of computing it, any batches of a validation."""

from dataclasses import replace

import pytest
import torch

from hornbook.config.objective import BlockDiffusionConfig, JointConfig, MaskedDiffusionConfig
from hornbook.data.batch import TokenBatch
from hornbook.objectives.block_diffusion import BlockDiffusion
from hornbook.objectives.joint import Joint
from hornbook.objectives.masked_diffusion import MaskedDiffusion, noise_of
from hornbook.objectives.objective import StepContext
from hornbook.training.step import Learner, train_step
from hornbook.training.validation import Validation
from training.rig import CONTEXT, SAMPLES, VOCAB, build_learner, build_trainer, draw

AT = StepContext(seed=5, step=0, samples_per_step=SAMPLES)
NOISY = {"mask_id": VOCAB - 1, "chunk_tokens": 64, "byte_lengths": torch.arange(VOCAB)}
OBJECTIVES = {
    "masked": lambda: MaskedDiffusion(MaskedDiffusionConfig(truncation_probability=0.3), **NOISY),
    "cosine": lambda: MaskedDiffusion(MaskedDiffusionConfig(schedule="cosine", mask_draws="independent"), **NOISY),
    "block": lambda: BlockDiffusion(BlockDiffusionConfig(block_length=4), **NOISY),
    "joint": lambda: Joint(JointConfig(diffusion_weight=0.5, z_loss=1e-3), **NOISY),
}


def learner_of(kind: str, **changes: object) -> Learner[TokenBatch]:
    return replace(build_learner(**changes), objective=OBJECTIVES[kind]())


def windows(step: int) -> list[TokenBatch]:
    """The rig's micro-batches, as long as a window is without the token behind it."""
    return [
        replace(batch, tokens=batch.tokens[:, :CONTEXT], loss_mask=batch.loss_mask[:, :CONTEXT]) for batch in draw(step)
    ]


def batches_for(kind: str, step: int) -> list[TokenBatch]:
    return draw(step) if kind == "joint" else windows(step)


def weights(learner: Learner[TokenBatch]) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in learner.model.parameters()])


def gradients(learner: Learner[TokenBatch]) -> torch.Tensor:
    state = learner.optimizer.state
    return torch.cat([state[parameter]["exp_avg"].flatten() for parameter in learner.model.parameters()])


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_cut_of_a_step_gives_the_same_update(kind):
    whole, parts = (learner_of(kind, dtype=torch.float64) for _ in range(2))
    for step in range(3):
        at = replace(AT, step=step)
        batches = batches_for(kind, step)
        report = train_step(whole, batches, at, multiplier=1.0)
        other = train_step(parts, [row for batch in batches for row in batch.cut(1)], at, multiplier=1.0)
        assert report.trained_tokens == other.trained_tokens
        # Weights of the nll are float32 and equal; what differs is the order of some 100 sums in float64.
        assert other.loss == pytest.approx(report.loss, rel=1e-12)
        torch.testing.assert_close(gradients(parts), gradients(whole), rtol=1e-10, atol=1e-13)


GPU = pytest.param(
    "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
)


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_bf16_follows_fp32_on_the_same_noise(kind, device):
    exact, coarse = learner_of(kind, device=device), learner_of(kind, device=device, precision="bf16")
    for step in range(3):
        reports = [
            train_step(learner, batches_for(kind, step), replace(AT, step=step), multiplier=1.0)
            for learner in (exact, coarse)
        ]
        assert reports[0].metrics["mask_ratio"] == reports[1].metrics["mask_ratio"]
        # Logits of order 1 rounded to 8 bits: a loss off by about 2^-8 of itself, a few times over.
        assert reports[1].loss == pytest.approx(reports[0].loss, rel=8 * 2**-8)


@pytest.mark.medium
@pytest.mark.compiles
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_compiled_steps_equal_eager_ones(kind):
    eager, compiled = (learner_of(kind, dtype=torch.float64) for _ in range(2))
    compiled.model.compiled = True
    for learner in (eager, compiled):
        learner.model.train()
    for step in range(4):  # with truncated ones among them
        at, batches = replace(AT, step=step), batches_for(kind, step)
        expected = train_step(eager, batches, at, multiplier=1.0)
        assert train_step(compiled, batches, at, multiplier=1.0).loss == pytest.approx(expected.loss, rel=1e-10)
    torch.testing.assert_close(weights(compiled), weights(eager), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_validation_repeats_whatever_its_batches_are(kind):
    learner = learner_of(kind, dtype=torch.float64)
    rows = [replace(batch, sample_ids=batch.sample_ids % SAMPLES) for batch in batches_for(kind, 0)]
    whole = Validation(learner, rows, seed=1)
    assert whole.at.samples_per_step == SAMPLES
    values = whole()
    assert values == whole()
    cut = Validation(learner, [piece for batch in rows for piece in batch.cut(1)], seed=1)()
    assert cut == pytest.approx(values, rel=1e-6)
    assert values.keys() >= {"loss", "perplexity", "bits_per_byte", "mask_ratio"}
    assert ("diffusion_nll" in values) == (kind == "joint")


def test_validation_sees_every_mask_probability_once():
    learner = learner_of("masked")
    at = Validation(learner, windows(0), seed=1).at
    prepared = [noise_of(learner.objective.prepare(batch, at)).mask_probability[:, 0] for batch in windows(0)]
    times = (torch.cat(prepared).sort().values - 1e-3) / (1 - 1e-3)
    torch.testing.assert_close(times, (torch.arange(SAMPLES) + 0.5) / SAMPLES)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_a_broken_run_goes_on_to_the_same_weights(kind):
    class Source:
        def step(self, step: int) -> list[TokenBatch]:
            return batches_for(kind, step)

    unbroken = learner_of(kind, dropout=0.1)
    build_trainer(unbroken, steps=6, batches=Source()).run()
    before = learner_of(kind, dropout=0.1)
    state = build_trainer(before, steps=3, batches=Source()).run().state
    saved = before.strategy.full_state(before.model, before.optimizer)
    after = learner_of(kind, dropout=0.1, seed=99)
    after.strategy.load_full_state(after.model, after.optimizer, saved)
    build_trainer(after, steps=6, batches=Source(), state=state).run()
    assert torch.equal(weights(after), weights(unbroken))


@pytest.mark.medium
def test_it_learns_a_text_that_can_be_known():
    """Rows of one token repeated: whatever one unmasked token is, all are."""
    rng = torch.Generator().manual_seed(0)
    learner, losses = learner_of("masked", learning_rate=2e-2), []
    for step in range(80):
        tokens = torch.randint(VOCAB - 1, (16, 1), generator=rng).expand(16, CONTEXT).contiguous()
        ids = torch.arange(16) + 16 * step
        batch = TokenBatch(tokens=tokens, loss_mask=torch.ones_like(tokens, dtype=torch.bool), sample_ids=ids)
        at = StepContext(seed=5, step=step, samples_per_step=16)
        losses.append(train_step(learner, [batch], at, multiplier=1.0).metrics["nll_p0_25"])
    nats = [total / weight if weight else None for total, weight in losses]
    assert nats[0] > 2.0
    assert sum(filter(None, nats[-10:])) / 10 < 0.2

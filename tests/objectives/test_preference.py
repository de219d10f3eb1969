"""Preferences: exactly ln 2 while policy and reference are one, gradients of the policy alone, sums in every cut."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from hornbook.config.lora import LoraConfig
from hornbook.config.objective import PreferenceConfig
from hornbook.data.batch import PreferenceBatch, TokenBatch
from hornbook.models.lora import LoraLinear, add_lora
from hornbook.models.transformer import Transformer
from hornbook.objectives.answer_scores import answer_lengths, answer_scores, draw_scores
from hornbook.objectives.objective import LossOutput, StepContext
from hornbook.objectives.preference import TERM, Preference
from hornbook.objectives.reference import frozen, without_adapters
from oracles import preference as oracle
from tiny_models import VOCABULARY, tiny_model

MASK = VOCABULARY - 1
AT = StepContext(seed=2, step=3, samples_per_step=3)
BOTH = pytest.mark.parametrize("likelihood", ["next_token", "masked_diffusion"])
LOSSES = [("sigmoid", 0.0), ("sigmoid", 0.2), ("robust", 0.3), ("ipo", 0.0), ("hinge", 0.0)]


def answers(stops: list[int], *, width: int, seed: int) -> TokenBatch:
    """Rows with a prompt of three tokens, an answer up to `stops`, and padding."""
    rng = torch.Generator().manual_seed(seed)
    places = torch.arange(width)
    inside = places < torch.tensor(stops)[:, None]
    tokens = torch.where(inside, torch.randint(1, MASK, (len(stops), width), generator=rng), 0)
    tokens[:, :3] = torch.tensor([1, 2, 3])
    return TokenBatch(tokens=tokens, loss_mask=inside & (places >= 3), sample_ids=torch.arange(len(stops)))


def pairs() -> PreferenceBatch:
    return PreferenceBatch(chosen=answers([5, 9, 12], width=12, seed=0), rejected=answers([10, 4, 9], width=10, seed=1))


def settings_of(likelihood: str = "next_token", **changes: object) -> PreferenceConfig:
    return PreferenceConfig.model_validate({"likelihood": likelihood, "beta": 0.5, **changes})


def objective_of(settings: PreferenceConfig, reference: Transformer | None) -> Preference:
    given = None if reference is None else frozen(reference)
    return Preference(settings, mask_id=MASK, chunk_tokens=64, reference=given)


def loss_of(output: LossOutput, objective: Preference, batch: PreferenceBatch) -> float:
    return output.terms[TERM].item() / objective.weight(batch)[TERM]


def values(output: LossOutput) -> dict[str, float]:
    return {name: (total / weight).item() for name, (total, weight) in output.metrics.items()}


@BOTH
@pytest.mark.parametrize(("kind", "flipped"), LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_at_the_start_every_loss_is_what_it_is_without_a_margin(likelihood, kind, flipped, dtype):
    model = tiny_model().to(dtype)
    objective = objective_of(settings_of(likelihood, loss=kind, label_smoothing=flipped), copy.deepcopy(model))
    batch = objective.prepare(pairs(), AT)
    output = objective(model, batch)
    expected = {"ipo": 1.0, "hinge": 1.0}.get(kind, 0.693147181)
    assert loss_of(output, objective, batch) == pytest.approx(expected, abs=1e-6)
    found = values(output)
    assert (found["rewards/margin"], found["rewards/accuracy"]) == (0.0, 0.5)  # nothing at all, and every pair a tie
    assert found.get("rewards/score_variance", 0.0) == 0.0


def test_shared_masks_give_exactly_no_margin_and_independent_ones_do_not():
    model = tiny_model()
    objective = objective_of(settings_of("masked_diffusion"), copy.deepcopy(model))
    batch = objective.prepare(pairs(), AT)
    shared = objective(model, batch)
    assert values(shared)["rewards/margin"] == 0.0
    assert abs(loss_of(shared, objective, batch) - math.log(2)) < 1e-15
    other = objective.prepare(pairs(), replace(AT, step=99))
    with torch.no_grad():
        scores = {name: answer_scores(model, getattr(other, name)).float() for name in ("chosen", "rejected")}
    independent = replace(batch, reference_chosen=scores["chosen"], reference_rejected=scores["rejected"])
    alone = objective(model, independent)
    assert abs(loss_of(alone, objective, batch) - math.log(2)) > 0.01
    assert values(alone)["rewards/score_variance"] > 0.01


@pytest.mark.parametrize("max_keys", [0, 64])
@pytest.mark.parametrize("train", [False, True])
def test_the_reference_computes_in_float32_as_the_policy_does(max_keys, train):
    """Attention with a gradient goes another way than without, whose last digits differ."""
    model = tiny_model().float()
    model.use_plain_attention(max_keys)
    objective = objective_of(settings_of(), copy.deepcopy(model))
    model.train(train)
    with torch.set_grad_enabled(train):
        output = objective(model, pairs())
    assert [output.metrics[f"rewards/{side}"][0].item() for side in ("chosen", "rejected")] == [0.0, 0.0]


@BOTH
@pytest.mark.parametrize(("kind", "flipped"), LOSSES)
@pytest.mark.parametrize("average", [None, True, False])
def test_losses_and_metrics_are_those_of_scores_and_oracle(likelihood, kind, flipped, average):
    model, reference = tiny_model(seed=1), tiny_model(seed=2)
    settings = settings_of(likelihood, loss=kind, label_smoothing=flipped, average=average)
    objective = objective_of(settings, reference)
    batch = objective.prepare(pairs(), AT)
    by_token = average or (average is None and kind == "ipo")
    gains, logps = [], []
    for side in (batch.chosen, batch.rejected):
        length = answer_lengths(side) if by_token else torch.ones(3)
        policy, expected = (answer_scores(each, side) / length for each in (model, reference))
        gains.append((policy - expected).tolist())
        logps.append(policy.mean().item())
    margins = [first - second for first, second in zip(*gains, strict=True)]
    expected = [oracle.loss(kind, margin, 0.5, flipped) for margin in margins]
    output = objective(model, batch)
    # Ten or so sums of float64 numbers of order 10, whose differences are of order 0.1.
    assert output.terms[TERM].item() == pytest.approx(math.fsum(expected), rel=1e-12)
    names = "logps_per_token" if by_token else "logps"
    found = values(output)
    found.pop("rewards/score_variance", None)
    assert found == pytest.approx(
        {
            "loss": sum(expected) / 3,
            "rewards/chosen": 0.5 * sum(gains[0]) / 3,
            "rewards/rejected": 0.5 * sum(gains[1]) / 3,
            "rewards/margin": 0.5 * sum(margins) / 3,
            "rewards/accuracy": sum(margin > 0 for margin in margins) / 3,
            f"{names}/chosen": logps[0],
            f"{names}/rejected": logps[1],
        },
        rel=1e-10,
    )
    assert objective.weight(batch) == {TERM: 3}


@BOTH
def test_the_gradient_is_the_policys_alone_and_that_of_the_paper(likelihood):
    """-beta sigmoid(-beta m) (d log pi(chosen) - d log pi(rejected)): equation 7 of arXiv:2305.18290."""
    model, reference = tiny_model(seed=1), tiny_model(seed=2)
    objective = objective_of(settings_of(likelihood), reference)
    batch = objective.prepare(pairs(), AT)
    objective(model, batch).terms[TERM].backward()
    found = [parameter.grad.clone() for parameter in model.parameters()]
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in reference.parameters())
    model.zero_grad()
    ahead = answer_scores(model, batch.chosen) - answer_scores(model, batch.rejected)
    margin = ahead - (answer_scores(reference, batch.chosen) - answer_scores(reference, batch.rejected))
    (-0.5 * torch.sigmoid(-0.5 * margin.detach()) * ahead).sum().backward()
    for gradient, parameter in zip(found, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-9, atol=1e-12)


@BOTH
def test_what_is_no_answer_reaches_neither_loss_nor_gradient(likelihood):
    model, reference = tiny_model(seed=1), tiny_model(seed=2)
    objective = objective_of(settings_of(likelihood), reference)
    batch, blank = pairs(), torch.zeros(1, 12, dtype=torch.bool)
    more = replace(
        batch,
        chosen=_with_row(batch.chosen, blank),
        rejected=_with_row(batch.rejected, blank[:, :10]),
    )
    outputs = [objective(model, objective.prepare(each, AT)) for each in (batch, more)]
    assert objective.weight(objective.prepare(more, AT)) == {TERM: 3}
    assert outputs[1].terms[TERM].item() == pytest.approx(outputs[0].terms[TERM].item(), rel=1e-12)
    assert values(outputs[1]) == pytest.approx(values(outputs[0]), rel=1e-6)


def _with_row(batch: TokenBatch, mask: torch.Tensor) -> TokenBatch:
    return TokenBatch(
        tokens=torch.cat([batch.tokens, batch.tokens[:1]]),
        loss_mask=torch.cat([batch.loss_mask, mask]),
        sample_ids=torch.arange(batch.n_rows + 1),
    )


@BOTH
def test_every_cut_of_a_step_has_the_same_sums(likelihood):
    model, reference = tiny_model(seed=1), tiny_model(seed=2)
    objective = objective_of(settings_of(likelihood), reference)
    whole = objective(model, objective.prepare(pairs(), AT))
    parts = [objective(model, objective.prepare(part, AT)) for part in pairs().cut(1)]
    assert sum(part.terms[TERM].item() for part in parts) == pytest.approx(whole.terms[TERM].item(), rel=1e-12)
    for name, (total, weight) in whole.metrics.items():
        assert sum(part.metrics[name][0].item() for part in parts) == pytest.approx(total.item(), rel=1e-10), name
        assert sum(part.metrics[name][1].item() for part in parts) == weight


def test_the_variance_is_that_of_the_mean_over_draws():
    model, reference = tiny_model(seed=1), tiny_model(seed=2)
    objective = objective_of(settings_of("masked_diffusion", draws=5), reference)
    batch = objective.prepare(pairs(), AT)
    sides = [draw_scores(model, side) - draw_scores(reference, side) for side in (batch.chosen, batch.rejected)]
    expected = 0.5**2 * sum(side.var(dim=1) / 5 for side in sides).mean().item()
    assert values(objective(model, batch))["rewards/score_variance"] == pytest.approx(expected, rel=1e-6)
    alone = objective_of(settings_of("masked_diffusion", draws=1), reference)
    assert "rewards/score_variance" not in alone(model, alone.prepare(pairs(), AT)).metrics


@pytest.mark.medium
def test_more_draws_make_the_margin_less_noisy():
    """Independent draws would have a variance of 1 / draws; strata have less."""
    model, reference = tiny_model(seed=1), tiny_model(seed=2)
    spread = {}
    for draws in (1, 8):
        objective = objective_of(settings_of("masked_diffusion", draws=draws), reference)
        margins = [
            values(objective(model, objective.prepare(pairs(), replace(AT, step=step))))["rewards/margin"]
            for step in range(60)
        ]
        spread[draws] = torch.tensor(margins).var().item()
    # A variance of 60 has a relative error of sqrt(2 / 59) = 0.18, their ratio of 0.26: 1 / 8 is below 1 / 4 by far.
    assert spread[8] < spread[1] / 4


@BOTH
def test_adapters_that_are_off_are_the_reference(likelihood):
    model, base = tiny_model(seed=1), tiny_model(seed=1)
    add_lora(model, LoraConfig(rank=2))
    model = model.double()
    settings = settings_of(likelihood)
    objective = Preference(settings, mask_id=MASK, chunk_tokens=64, reference=without_adapters)
    batch = objective.prepare(pairs(), AT)
    assert abs(loss_of(objective(model, batch), objective, batch) - math.log(2)) < 1e-15
    for module in model.modules():
        if isinstance(module, LoraLinear):
            torch.nn.init.normal_(module.lora_b, std=0.3, generator=torch.Generator().manual_seed(0))
    beside = objective_of(settings, base)
    output, expected = objective(model, batch), beside(model, batch)
    assert values(output)["rewards/margin"] != 0.0
    assert output.terms[TERM].item() == expected.terms[TERM].item()
    output.terms[TERM].backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained
    assert all("lora_" in name for name in trained)


@pytest.mark.parametrize("activation_checkpointing", [False, True])
@pytest.mark.parametrize("target", ["v_proj", "o_proj", "down_proj"])
def test_layers_below_the_first_adapter_compute_in_float32_as_the_reference_does(target, activation_checkpointing):
    """They have no gradient either, and their attention goes the way of those that have."""
    model = tiny_model(seed=1).float()
    add_lora(model, LoraConfig(rank=2, targets=(target,)))
    model.use_plain_attention(64)
    model.activation_checkpointing = activation_checkpointing
    objective = Preference(settings_of(), mask_id=MASK, chunk_tokens=64, reference=without_adapters)
    output = objective(model.train(), pairs())
    assert [output.metrics[f"rewards/{side}"][0].item() for side in ("chosen", "rejected")] == [0.0, 0.0]
    output.terms[TERM].backward()


def test_precomputed_scores_take_the_place_of_the_reference():
    model, reference = tiny_model(seed=1), tiny_model(seed=2)
    batch = pairs()
    with torch.no_grad():
        scores = [answer_scores(reference, side).float() for side in (batch.chosen, batch.rejected)]
    given = replace(batch, reference_chosen=scores[0], reference_rejected=scores[1])
    alone = objective_of(settings_of(), None)
    found = [alone(model, part).terms[TERM].item() for part in given.cut(2)]
    expected = objective_of(settings_of(), reference)(model, batch).terms[TERM].item()
    # Scores of order 10 are kept in float32, and the loss moves by half of what they do.
    assert sum(found) == pytest.approx(expected, abs=3 * 10 * 2.0**-24)


def test_there_is_no_dropout():
    """Neither for the reference, whatever mode it came in, nor for a policy in training."""
    noisy = tiny_model(dropout=0.5).train()
    objective_of(settings_of(), noisy)
    assert not noisy.training
    objective = objective_of(settings_of(), tiny_model())
    with pytest.raises(AssertionError, match="without dropout"):
        objective(tiny_model(dropout=0.5).train(), pairs())


def test_metrics_carry_no_gradient():
    metrics = objective_of(settings_of(), tiny_model(seed=2))(tiny_model(), pairs()).metrics
    assert not any(value.requires_grad or weight.requires_grad for value, weight in metrics.values())

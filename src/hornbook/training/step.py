"""One optimizer step: the whole arithmetic of training.

    loss = sum over terms of (sum of the term over micro-batches and ranks) / (sum of its weight over both)

The weights are known before any forward pass, so each micro-batch can be divided at once and its gradient added up. A
mean of micro-batch means instead would weigh a row with one trained token as much as a full one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from hornbook.data.batch import B
from hornbook.distributed.parts import part_of
from hornbook.distributed.precision import Precision, is_overflow, unscale
from hornbook.distributed.strategy import Flags, Strategy
from hornbook.models.transformer import Transformer
from hornbook.objectives.objective import Objective, StepContext
from hornbook.optim.groups import set_learning_rate
from hornbook.optim.optimizer import RuledOptimizer
from hornbook.training.compiled import CompilerFailed
from hornbook.training.metrics import Sums, total_sums
from hornbook.training.out_of_memory import MicroBatchTooLarge, watched, without_frames
from hornbook.training.skipping import SkipReason, SpikeLimits, why_skipped

_DROPOUT = 1  # the purpose in the key of the default generator
_READ = "tokens read"  # beside the names of terms, so that one sum over ranks serves both


class Watch(Protocol[B]):
    """Looks at a step from outside and changes nothing; it decides by `at.step` whether there is anything to do."""

    def before_update(self, learner: "Learner[B]", batches: Sequence[B], at: StepContext) -> None:
        """Gradients are complete, in the units of the loss, and not clipped; `batches` are prepared, on the host."""
        ...

    def after_update(self, learner: "Learner[B]", at: StepContext, *, skipped: bool) -> None:
        """Weights are updated, unless the step was skipped."""
        ...


@dataclass(frozen=True, kw_only=True)
class Learner(Generic[B]):
    """What a step works on and with; the same for every step of a run."""

    model: Transformer
    objective: Objective[B]
    optimizer: Optimizer
    strategy: Strategy
    precision: Precision
    clip_grad_norm: float | None
    """Largest global gradient norm; None never clips."""
    watch: Watch[B] | None = None


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What one step did, in host numbers that are equal on every rank."""

    loss: float
    """What was minimised, smoothing and z-loss included."""
    trained_tokens: int
    """Denominator of the loss: the largest weight of its terms."""
    tokens: int
    """That were read, padding left out, over all micro-batches and ranks."""
    grad_norm: float
    """Of the summed gradient, before clipping."""
    learning_rate: float
    """Peak times multiplier, of the first group."""
    metrics: Sums
    skip_reason: SkipReason | None = None
    """Why the update was left out: weights and optimizer are as they were. None: it was made, or it overflowed."""
    overflowed: bool = False
    """The gradient was too large for float16 under its scale: weights and optimizer are as they were."""

    @property
    def skipped(self) -> bool:
        """Whether the update was left out for something else than its scale."""
        return self.skip_reason is not None


NO_LIMITS = SpikeLimits()


def train_step(
    learner: Learner[B],
    batches: Sequence[B],
    at: StepContext,
    *,
    multiplier: float,
    loss_scale: float | None = None,
    limits: SpikeLimits = NO_LIMITS,
) -> StepReport:
    """One update from this rank's micro-batches, at `multiplier` times the peak learning rate.

    It is left out where loss or gradient norm is not finite, or lies above `limits`. `loss_scale` multiplies the loss
    before backward only: everything that is reported is unscaled.

    Raises:
        MicroBatchTooLarge, CompilerFailed: before anything was updated; no gradient is left behind.
    """
    objective, strategy, optimizer = learner.objective, learner.strategy, learner.optimizer
    device = learner.precision.device

    batches = [objective.prepare(batch, at) for batch in batches]
    ahead = objective.lookahead
    counts = [{**objective.weight(batch), _READ: batch.tokens_read(lookahead=ahead)} for batch in batches]
    weights = total_weights(counts, strategy, device)
    tokens = weights.pop(_READ)
    outputs = _all_accumulate(learner, batches, at, weights, loss_scale or 1.0)
    sums = total_sums(outputs, strategy)
    loss_value, _ = sums.pop("loss")
    unscale((p.grad if p.grad is None else part_of(p.grad) for p in learner.model.parameters()), loss_scale)
    if learner.watch is not None:
        learner.watch.before_update(learner, batches, at)
    grad_norm = strategy.clip_grad_norm(learner.model, learner.clip_grad_norm or math.inf).item()
    reason = why_skipped(loss_value, grad_norm, limits)
    if strategy.agree(Flags(skip=reason is not None)).skip:
        reason = reason or "gradient"
    set_learning_rate(optimizer, multiplier)
    if reason is None:
        _update(learner)
    if learner.watch is not None:
        learner.watch.after_update(learner, at, skipped=reason is not None)
    strategy.zero_grad(optimizer)
    overflowed = is_overflow(loss=loss_value, grad_norm=grad_norm, scale=loss_scale)
    return StepReport(
        loss=loss_value,
        trained_tokens=max(weights.values()),
        tokens=tokens,
        grad_norm=grad_norm,
        learning_rate=optimizer.param_groups[0]["lr"],
        metrics=sums,
        skip_reason=None if overflowed else reason,
        overflowed=overflowed,
    )


def _update(learner: Learner[B]) -> None:
    """Move the weights. Out of memory here has no second try: some of them may have moved."""
    strategy, optimizer = learner.strategy, learner.optimizer
    try:
        with watched(memory=False):
            strategy.update(optimizer)
    except CompilerFailed:  # before anything moved
        if strategy.world_size > 1 and isinstance(optimizer, RuledOptimizer):
            optimizer.run_eagerly()  # others may have moved theirs, so the step cannot be had again
            strategy.update(optimizer)
            return
        strategy.zero_grad(optimizer)
        raise


def _all_accumulate(
    learner: Learner[B], batches: Sequence[B], at: StepContext, weights: Mapping[str, int], loss_scale: float
) -> list[Mapping[str, tuple[Tensor, Tensor]]]:
    """`_accumulate` on every rank, or on none: where one fails, all do, and can try again alike.

    Raises:
        MicroBatchTooLarge, CompilerFailed: on every rank.
    """
    strategy = learner.strategy
    outputs: list[Mapping[str, tuple[Tensor, Tensor]]] = []
    failure: MicroBatchTooLarge | CompilerFailed | None = None
    try:
        with watched():
            outputs = _accumulate(learner, batches, at, weights, loss_scale)
    except (MicroBatchTooLarge, CompilerFailed) as error:
        failure = without_frames(error)
        strategy.abandon()
    too_large, not_compiled = isinstance(failure, MicroBatchTooLarge), isinstance(failure, CompilerFailed)
    agreed = strategy.agree(Flags(too_large=too_large, not_compiled=not_compiled))
    if agreed.too_large or agreed.not_compiled:
        strategy.zero_grad(learner.optimizer)
        if agreed.too_large:
            raise failure if too_large and failure else MicroBatchTooLarge("in another process")
        raise failure or CompilerFailed("in another process")
    return outputs


def _accumulate(
    learner: Learner[B], batches: Sequence[B], at: StepContext, weights: Mapping[str, int], loss_scale: float
) -> list[Mapping[str, tuple[Tensor, Tensor]]]:
    """Forward and backward of every micro-batch; the gradients add up in the parameters, the metrics are returned."""
    strategy, device = learner.strategy, learner.precision.device
    outputs: list[Mapping[str, tuple[Tensor, Tensor]]] = []
    for index, batch in enumerate(batches):
        seed_dropout(at, micro_batch=index * strategy.world_size + strategy.rank, device=device)
        with learner.precision.autocast():
            output = learner.objective(learner.model, batch.to(device))
        loss = share_of_loss(output.terms, weights)
        strategy.backward(loss * loss_scale if loss_scale != 1.0 else loss, last=index == len(batches) - 1)
        outputs.append({**output.metrics, "loss": (loss.detach(), torch.ones_like(loss))})
    return outputs


def share_of_loss(terms: Mapping[str, Tensor], weights: Mapping[str, int]) -> Tensor:
    """What a micro-batch adds to the loss of its step: its terms, each over that term's weight in the whole step."""
    return torch.stack([term / weights[name] for name, term in terms.items()]).sum()


def total_weights(weights: Sequence[Mapping[str, int]], strategy: Strategy, device: torch.device) -> dict[str, int]:
    """Each term's denominator over micro-batches and ranks; 1 where nothing counts, since its sum is then 0."""
    names = sorted(weights[0])
    local = torch.tensor([sum(weight[name] for weight in weights) for name in names], device=device)
    totals: list[int] = strategy.sum(local).tolist()
    return {name: max(total, 1) for name, total in zip(names, totals, strict=True)}


def seed_dropout(at: StepContext, *, micro_batch: int, device: torch.device) -> None:
    """Key the device's default generator by (seed, step, global micro-batch): a resumed run drops what it would have.

    Dropout is the one noise drawn inside the model, and the only one that depends on how a step is split.
    """
    key = int(np.random.SeedSequence((at.seed, at.step, micro_batch, _DROPOUT)).generate_state(1, np.uint64)[0])
    if device.type == "cpu":  # for CUDA, too, torch would note who asked: a millisecond a micro-batch without a GPU
        torch.default_generator.manual_seed(key)
    else:
        torch.manual_seed(key)

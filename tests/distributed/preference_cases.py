"""What the processes of test_preference_ranks do."""

from dataclasses import replace
from typing import Any

import torch

from distributed.cases import Settings, build, weights
from hornbook.distributed.process_group import ALONE, Processes
from hornbook.models.transformer import Transformer
from hornbook.objectives.objective import StepContext
from hornbook.training.step import train_step
from hornbook.training.validation import Validation
from training.preference_rig import PAIRS_PER_STEP, Pairs, Source, objective_of


def train(processes: Processes, settings: Settings, likelihood: str, n: int) -> dict[str, Any]:
    """Losses, metrics and weights of `n` steps, and a validation of which not every rank has as much."""
    learner = build(processes, settings)
    reference = build(ALONE, replace(settings, seed=7, fully_sharded=False)).model
    assert isinstance(reference, Transformer)
    learner = replace(learner, objective=objective_of(likelihood, reference))
    before = [parameter.clone() for parameter in reference.parameters()]
    reports = []
    for step in range(n):
        own = Source(1).step(step)[processes.rank :: processes.world_size]
        at = StepContext(seed=5, step=step, samples_per_step=PAIRS_PER_STEP)
        reports.append(train_step(learner, own, at, multiplier=1.0))
    share = [range(0, 3), range(3, 5), range(5, 9)][processes.rank :: processes.world_size]
    validated = Validation(learner, [Pairs().batch(part, part) for part in share], seed=1)()
    return {
        "weights": weights(learner),
        "losses": [report.loss for report in reports],
        "norms": [report.grad_norm for report in reports],
        "metrics": [report.metrics for report in reports],
        "validated": validated,
        "moved": any(not torch.equal(*each) for each in zip(before, reference.parameters(), strict=True)),
        "bucketed": _bucketed(learner.strategy),
        "trained": sum(parameter.numel() for parameter in learner.model.parameters()),
    }


def _bucketed(strategy: Any) -> int | None:
    buckets = getattr(strategy, "buckets", None)
    return None if buckets is None else sum(p.numel() for bucket in buckets.buckets for p in bucket.parameters)

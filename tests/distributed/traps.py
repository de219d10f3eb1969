"""What the processes of test_traps.py do; each function is called on all of them."""

from typing import Any

import torch

from distributed.cases import Branches, Settings, build, draw, steps, weights
from hornbook.distributed.ddp import DataParallel
from hornbook.distributed.process_group import Processes
from hornbook.distributed.strategy import Flags
from hornbook.objectives.objective import StepContext
from hornbook.training.skipping import SpikeLimits
from hornbook.training.step import train_step


def skip_one(processes: Processes, settings: Settings) -> dict[str, Any]:
    """Two steps, the first of which is left out by all for its loss, then a third."""
    learner = build(processes, settings)
    own = draw(0, 6)[processes.rank :: processes.world_size]
    at = StepContext(seed=5, step=0, samples_per_step=12)
    skipped = train_step(learner, own, at, multiplier=1.0, limits=SpikeLimits(loss=0.0))
    reports = steps(learner, 1, 3, 6)
    return {
        "reason": skipped.skip_reason,
        "norms": [report.grad_norm for report in reports],
        "weights": weights(learner),
    }


def buffers_at_the_start(processes: Processes) -> list[float]:
    """Of a model that has others on each rank before."""
    model = Branches()
    model.count.fill_(7.0 - processes.rank)
    DataParallel(processes, bucket_bytes=0, shard_optimizer=False).prepare(model)
    return model.count.tolist()


def used_in_turn(processes: Processes) -> list[list[torch.Tensor | None]]:
    """Rank k alone uses the layer `right`, and in step k alone: its gradient after each of three steps."""
    model, strategy = Branches(), DataParallel(processes, bucket_bytes=0, shard_optimizer=False)
    strategy.prepare(model)
    optimizer = strategy.optimizer(model, lambda named: torch.optim.AdamW(named, lr=0.0))
    x = torch.arange(3.0, dtype=torch.float64)
    found = []
    for step in range(3):
        strategy.backward(model((step + 1) * x, right=step == processes.rank), last=True)
        found.append([None if each.grad is None else each.grad.clone() for each in model.right.parameters()])
        strategy.update(optimizer)
        strategy.zero_grad(optimizer)
    return found


def wants(processes: Processes) -> list[Flags]:
    """What all agree on when rank 1 alone wants something, and when nobody does."""
    strategy = build(processes, Settings()).strategy
    return [strategy.agree(Flags(skip=processes.rank == 1, out_of_time=processes.rank == 0)), strategy.agree(Flags())]

"""One step of tuning on rows of uneven masks, as any number of processes and micro-batches make it."""

from typing import Any

import torch

from data.conversations import drawn
from hornbook.config.optim import AdamWConfig
from hornbook.config.run import Config
from hornbook.data.batch import TokenBatch
from hornbook.data.loader import StepBatches
from hornbook.data.order import SampleOrder
from hornbook.data.rows import Rows
from hornbook.distributed.ddp import DataParallel
from hornbook.distributed.precision import Precision
from hornbook.distributed.process_group import Processes
from hornbook.distributed.single import SingleProcess
from hornbook.models.transformer import Transformer, roles
from hornbook.objectives.objective import Objective, StepContext
from hornbook.optim.build import make_optimizer
from hornbook.training.start import build_objective
from hornbook.training.step import Learner, train_step
from hornbook.training.validation import Validation
from tiny_models import VOCABULARY, tiny_config

ROWS = 12


def tuned(processes: Processes, kind: str, normalize: str, packing: bool, micro_batch_size: int) -> dict[str, Any]:
    """Losses, norms and weights of three steps, and a validation."""
    model = Transformer(tiny_config(context_length=16), seed=1).double()
    alone = processes.world_size == 1
    strategy = SingleProcess() if alone else DataParallel(processes, bucket_bytes=4096, shard_optimizer=True)
    strategy.prepare(model)
    settings = AdamWConfig(learning_rate=1e-2)
    objective = _objective(kind, normalize)
    learner = Learner(
        model=model,
        objective=objective,
        optimizer=strategy.optimizer(model, lambda named: make_optimizer(named, roles(model), settings)),
        strategy=strategy,
        precision=Precision("fp32", torch.device("cpu")),
        clip_grad_norm=0.5,
    )
    rows = Rows(
        drawn(90, most=9, vocabulary=VOCABULARY - 1),
        context_length=16,
        lookahead=objective.lookahead,
        packing=packing,
        pad_id=0,
        answer_padding=2 if kind in ("masked_diffusion", "block_diffusion") else 0,
        end_of_text_id=1,
        block_length=2 if kind == "block_diffusion" else 1,
        keeps_end_free=kind == "joint",
    )
    place = {"rank": processes.rank, "world_size": processes.world_size}
    order = SampleOrder(len(rows), seed=2)
    batches = StepBatches(rows, order, samples_per_step=ROWS, micro_batch_size=micro_batch_size, **place)
    reports = []
    for step in range(3):
        at = StepContext(seed=3, step=step, samples_per_step=ROWS)
        reports.append(train_step(learner, batches.step(step), at, multiplier=1.0))
    return {
        "losses": [report.loss for report in reports],
        "norms": [report.grad_norm for report in reports],
        "tokens": [report.tokens for report in reports],
        "trained": [report.trained_tokens for report in reports],
        "validated": Validation(learner, batches.step(9), seed=1)()["loss"],
        "weights": {name: each.detach().clone() for name, each in model.named_parameters()},
    }


def _objective(kind: str, normalize: str) -> Objective[TokenBatch]:
    """As a run builds it."""
    more = {"next_token": {"z_loss": 1e-3}, "block_diffusion": {"block_length": 2}}.get(kind, {})
    values = {
        "objective": {"kind": kind, "normalize": normalize, **more},
        "data": {"stage": "sft", "tuning": {"packing": False}},
        "model": {"context_length": 16},
        "train": {"nll_chunk_tokens": 64},
    }
    return build_objective(Config.model_validate(values), mask_id=VOCABULARY - 1)

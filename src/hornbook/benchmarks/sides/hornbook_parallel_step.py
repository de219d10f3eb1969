"""A training step of two processes of one thread each, in bf16 and compiled: by our strategies, or by torch's DDP.

The side is rank 0 and starts rank 1, which makes as many steps as it is told to before each block. Between blocks it
waits in a receive and uses no processor.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hornbook.benchmarks.torch_ddp import TorchDdp
from hornbook.config.distributed import DistributedConfig
from hornbook.config.model import ModelTable
from hornbook.config.run import Config
from hornbook.data.batch import TokenBatch
from hornbook.distributed.environment import Place
from hornbook.distributed.process_group import Processes, joined
from hornbook.distributed.strategy import Strategy
from hornbook.models.transformer import roles
from hornbook.objectives.objective import StepContext
from hornbook.optim.build import make_optimizer
from hornbook.training.choices import Choices
from hornbook.training.compiled import compile_updates
from hornbook.training.start import build_learner, build_model
from hornbook.training.step import Learner, train_step

RANKS = 2
WARM_UP_STEPS = 3
HOURS_BETWEEN_BLOCKS = 6.0


def setup(settings: dict[str, Any]) -> tuple[Callable[[], float], Callable[[float], dict[str, Any]]]:
    """The loss that is compared is that of the last warm-up step."""
    settings["meeting_point"] = f"file://{Path(tempfile.mkdtemp()) / 'rendezvous'}"
    subprocess.Popen([sys.executable, __file__, json.dumps(settings)], stdin=subprocess.PIPE)  # ends when this ends
    place = _joined(settings, rank=0)
    processes = place.__enter__()
    steps, facts = _prepare(settings, processes)
    first = steps(1)
    loss = steps(WARM_UP_STEPS - 1)

    def block() -> float:
        processes.broadcast(settings["steps"])
        return steps(settings["steps"])

    return block, lambda last: {**facts, "loss": loss, "learns": last < first}


def _follow(settings: dict[str, Any]) -> None:
    """Rank 1, until rank 0 is gone."""
    with _joined(settings, rank=1) as processes:
        steps, _ = _prepare(settings, processes)
        steps(WARM_UP_STEPS)
        while True:
            steps(processes.broadcast(None))


@contextlib.contextmanager
def _joined(settings: dict[str, Any], *, rank: int) -> Iterator[Processes]:
    place = Place(
        rank=rank, world_size=RANKS, local_rank=rank, local_world_size=RANKS, meeting_point=settings["meeting_point"]
    )
    with joined(place, DistributedConfig(timeout_minutes=60 * HOURS_BETWEEN_BLOCKS), torch.device("cpu")) as processes:
        yield processes


def _prepare(settings: dict[str, Any], processes: Processes) -> tuple[Callable[[int], float], dict[str, Any]]:
    torch.set_num_threads(1)
    rows, context = settings["rows"], settings["context"]
    learner = _learner(settings, processes)
    generator = torch.Generator().manual_seed(1 + processes.rank)
    tokens = torch.randint(0, settings["table"]["vocab_size"], (rows, context + 1), generator=generator)
    batch = TokenBatch(
        tokens=tokens,
        loss_mask=torch.ones_like(tokens, dtype=torch.bool),
        sample_ids=torch.arange(rows) + rows * processes.rank,
    )
    done = 0

    def steps(count: int) -> float:
        nonlocal done
        loss = float("nan")
        for _ in range(count):
            at = StepContext(seed=0, step=done, samples_per_step=rows * RANKS)
            loss = train_step(learner, [batch], at, multiplier=1.0).loss
            done += 1
        return loss

    state = sum(tensor.nbytes for each in learner.optimizer.state.values() for tensor in each.values())
    whole = 2 * sum(parameter.nbytes for parameter in learner.model.parameters())  # AdamW's two moments
    said = f"optimizer state {state / 1e6:,.0f} MB a process, {state / whole:.2f} of the whole"
    return steps, {"said": said, "state": state / whole}


def _learner(settings: dict[str, Any], processes: Processes) -> Learner[TokenBatch]:
    config = _config(settings)
    shape = ModelTable.model_validate(settings["table"]).complete(vocab_size=settings["table"]["vocab_size"])
    choices = Choices(
        device="cpu",
        threads=1,
        fp32_products="exact",
        compile=True,
        plain_max_keys=settings["plain_max_keys"],
        micro_batch_size=settings["rows"],
        eval_batch_size=settings["rows"],
        world_size=RANKS,
    )
    model = build_model(config, shape, choices, None).train()
    if settings["strategy"] == "torch":
        learner = build_learner(config, model)
        strategy = TorchDdp(processes, bucket_size_mb=config.distributed.bucket_size_mb)
        strategy.prepare(model)
        optimizer = strategy.optimizer(model, lambda named: make_optimizer(named, roles(model), config.optim))
        wrapped: Any = strategy.wrapped
        by_torch: Strategy = strategy
        learner = replace(learner, model=wrapped, strategy=by_torch, optimizer=optimizer)
    else:
        learner = build_learner(config, model, processes)
    compile_updates(learner.optimizer)
    return learner


def _config(settings: dict[str, Any]) -> Config:
    return Config.model_validate_json(
        json.dumps(
            {
                "model": settings["table"],
                "optim": {"kind": "adamw", "learning_rate": settings["learning_rate"], "clip_grad_norm": 1.0},
                "distributed": {"shard_optimizer": settings["strategy"] == "sharded"},
                "train": {
                    "precision": "bf16",
                    "micro_batch_size": settings["rows"],
                    "tokens_per_step": settings["rows"] * settings["context"] * RANKS,
                    "compile": "on",
                },
            }
        )
    )


if __name__ == "__main__":
    _follow(json.loads(sys.argv[1]))

"""A training step of two processes of one thread each, in bf16 and compiled: by our strategies, and by torch's DDP.

The side is rank 0 and starts rank 1, which makes as many steps, by the strategy that it is told, before each block.
Between blocks it waits in a receive and uses no processor.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
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
MOST_STATE = 0.6
"""Share of the optimizer's state that one of two processes may have where they share it."""


class Trained:
    """A model of its own that trains by one strategy, and the rows that it trains on."""

    def __init__(self, settings: dict[str, Any], strategy: str, processes: Processes) -> None:
        self.strategy = strategy
        self.learner = _learner(settings, strategy, processes)
        self.batch = _rows(settings, processes.rank)
        self.done = 0
        self.first = self.steps(1)
        self.loss = self.steps(WARM_UP_STEPS - 1)

    def steps(self, count: int) -> float:
        """The loss of the last one."""
        loss = float("nan")
        for _ in range(count):
            at = StepContext(seed=0, step=self.done, samples_per_step=self.batch.n_rows * RANKS)
            loss = train_step(self.learner, [self.batch], at, multiplier=1.0).loss
            self.done += 1
        return loss

    def checks(self, last: float) -> dict[str, Any]:
        """The loss that is compared is that of the last warm-up step."""
        state = sum(tensor.nbytes for each in self.learner.optimizer.state.values() for tensor in each.values())
        whole = 2 * sum(parameter.nbytes for parameter in self.learner.model.parameters())  # AdamW's two moments
        said = f"optimizer state {state / 1e6:,.0f} MB a process, {state / whole:.2f} of the whole"
        if self.strategy == "sharded":
            said += f", at most {MOST_STATE} {'met' if state <= MOST_STATE * whole else 'MISSED'}"
        return {"said": said, "state": state / whole, "loss": self.loss, "learns": last < self.first}


def setup(settings: dict[str, Any]) -> tuple[Callable[[str], tuple[str, float]], Callable[[Any], dict[str, Any]]]:
    """Each part is a strategy."""
    settings["meeting_point"] = f"file://{Path(tempfile.mkdtemp()) / 'rendezvous'}"
    subprocess.Popen([sys.executable, "-P", __file__, json.dumps(settings)], stdin=subprocess.PIPE)
    processes = _joined(settings, rank=0).__enter__()  # until this process ends
    trained = {strategy: Trained(settings, strategy, processes) for strategy in settings["strategies"]}

    def block(strategy: str) -> tuple[str, float]:
        processes.broadcast(strategy)
        return strategy, trained[strategy].steps(settings["steps"])

    return block, lambda result: trained[result[0]].checks(result[1])


def _follow(settings: dict[str, Any]) -> None:
    """Rank 1, until rank 0 is gone."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    with _joined(settings, rank=1) as processes:
        trained = {strategy: Trained(settings, strategy, processes) for strategy in settings["strategies"]}
        while True:
            trained[processes.broadcast(None)].steps(settings["steps"])


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


@contextlib.contextmanager
def _joined(settings: dict[str, Any], *, rank: int) -> Iterator[Processes]:
    torch.set_num_threads(1)
    place = Place(
        rank=rank, world_size=RANKS, local_rank=rank, local_world_size=RANKS, meeting_point=settings["meeting_point"]
    )
    with joined(place, DistributedConfig(timeout_minutes=60 * HOURS_BETWEEN_BLOCKS), torch.device("cpu")) as processes:
        yield processes


def _rows(settings: dict[str, Any], rank: int) -> TokenBatch:
    rows, context = settings["rows"], settings["context"]
    generator = torch.Generator().manual_seed(1 + rank)
    tokens = torch.randint(0, settings["table"]["vocab_size"], (rows, context + 1), generator=generator)
    return TokenBatch(
        tokens=tokens,
        loss_mask=torch.ones_like(tokens, dtype=torch.bool),
        sample_ids=torch.arange(rows) + rows * rank,
    )


def _learner(settings: dict[str, Any], by: str, processes: Processes) -> Learner[TokenBatch]:
    config = _config(settings, is_sharded=by == "sharded")
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
    if by == "torch":
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


def _config(settings: dict[str, Any], *, is_sharded: bool) -> Config:
    return Config.model_validate_json(
        json.dumps(
            {
                "model": settings["table"],
                "optim": {"kind": "adamw", "learning_rate": settings["learning_rate"], "clip_grad_norm": 1.0},
                "distributed": {"shard_optimizer": is_sharded},
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

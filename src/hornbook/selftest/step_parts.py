"""What the parts of a data-parallel step take on this machine, and what whole steps take, measured by all processes.

They measure at the same time, since they share memory, caches and cores, but never a part in a whole step: sums with
nothing else going on; forward, backward and update without sums; and how much backward and sums slow each other down.
"""

import json
import math
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from hornbook.config.dump import to_json
from hornbook.config.load import load_config
from hornbook.config.model import ModelConfig
from hornbook.config.run import Config
from hornbook.data.batch import TokenBatch
from hornbook.distributed.process_group import Processes
from hornbook.objectives.objective import StepContext
from hornbook.planning.overlap import MEGABYTE
from hornbook.training.choices import Choices
from hornbook.training.choosing import choose
from hornbook.training.start import build_learner, build_model
from hornbook.training.step import Learner, share_of_loss, total_weights, train_step

SUM_BYTES = tuple(2**power for power in range(12, 27, 2))
WARM_UP = 2
_SUMMED_BYTES = 25 * MEGABYTE
_POLL_SECONDS = 0.0005
_MOST_SUMS = 200
"""So that a disturbed measurement ends."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What every measurement works with."""

    config: Config
    device: torch.device
    processes: Processes
    choices: Choices
    repeats: int

    @classmethod
    def begin(cls, config: Config, device: torch.device, processes: Processes, repeats: int) -> "Work":
        """Make the choices of training; every process calls this."""
        steps, shape = config.train.steps, _shape(config)
        choices, _ = choose(config, shape, device, kept=None, steps_left=steps, processes=processes)
        torch.set_num_threads(choices.threads)
        return cls(config=config, device=device, processes=processes, choices=choices, repeats=repeats)

    def learner(self, *, bucket_mb: float, shard_optimizer: bool) -> Learner[TokenBatch]:
        """A new one: hooks of one size of buckets stay on a model for ever."""
        settings = {"strategy": "ddp", "bucket_size_mb": bucket_mb, "shard_optimizer": shard_optimizer}
        config = load_config(None, values={**json.loads(to_json(self.config)), "distributed": settings}).config
        model = build_model(config, _shape(config), self.choices, None).to(self.device)
        return build_learner(config, model.train(), self.processes)

    def batches(self, learner: Learner[TokenBatch]) -> list[TokenBatch]:
        """Random tokens, others on each process."""
        rows, length = self.choices.micro_batch_size, self.config.model.context_length
        samples = self.config.rows_per_step // self.processes.world_size
        rng = torch.Generator().manual_seed(self.processes.rank)
        width, vocab = length + learner.objective.lookahead, learner.model.config.vocab_size
        return [
            TokenBatch(
                tokens=(tokens := torch.randint(vocab, (rows, width), generator=rng)),
                loss_mask=torch.ones_like(tokens, dtype=torch.bool),
                sample_ids=torch.arange(rows),
            )
            for _ in range(samples // rows)
        ]

    def now(self) -> float:
        """The clock, when the device has done its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def together(self) -> float:
        """The clock, when all processes are here."""
        dist.barrier()
        return self.now()

    def slowest(self, seconds: float) -> float:
        """The largest over processes."""
        return float(max(self.processes.everyones(seconds)))


def sums(work: Work) -> list[dict[str, float]]:
    """Sums of different sizes with nothing else going on."""
    found = []
    for n_bytes in SUM_BYTES:
        numbers = torch.zeros(n_bytes // 4, device=work.device)
        repeats = max(work.repeats, min(100, 2**24 // n_bytes))
        seconds = []
        for _ in range(WARM_UP + repeats):
            start = work.together()
            dist.all_reduce(numbers)
            seconds.append(work.now() - start)
        found.append({"n_bytes": n_bytes, "seconds": work.slowest(statistics.median(seconds[WARM_UP:]))})
    return found


def parts(work: Work) -> dict[str, Any]:
    """Computing without sums, and both at once."""
    learner = work.learner(bucket_mb=0.0, shard_optimizer=False)
    passes = _Passes(work, learner)
    for _ in range(WARM_UP + work.repeats):
        work.together()
        passes.forward_backward()
        passes.update()
    forward, backward, update = (statistics.median(times[WARM_UP:]) for times in passes.times.values())
    medians = {name: statistics.median(times[WARM_UP:]) for name, times in passes.arrivals.items()}
    arrivals = sorted((seconds, passes.sizes[name]) for name, seconds in medians.items())
    after_last = max(0.0, backward - arrivals[-1][0])
    totals = [sum(times) for times in zip(*passes.times.values(), strict=True)][WARM_UP:]
    return {
        "compute": {
            "forward": forward,
            "arrivals": [seconds for seconds, _ in arrivals],
            "sizes": [size for _, size in arrivals],
            "update": update + after_last,
            "micro_batches": len(passes.batches),
        },
        "variation": work.slowest(statistics.stdev(totals) / statistics.fmean(totals)),
        **_interference(work, passes, forward + backward),
    }


class _Passes:
    """The parts of a step, each timed by itself."""

    def __init__(self, work: Work, learner: Learner[TokenBatch]) -> None:
        self.work = work
        self.learner = learner
        at = StepContext(seed=0, step=0, samples_per_step=work.config.rows_per_step)
        self.batches = [learner.objective.prepare(batch, at) for batch in work.batches(learner)]
        weights = [learner.objective.weight(batch) for batch in self.batches]
        self.weights = total_weights(weights, learner.strategy, work.device)
        self.times: dict[str, list[float]] = {"forward": [], "backward": [], "update": []}
        self.arrivals: dict[str, list[float]] = {}
        self.sizes: dict[str, int] = {}
        self.began = math.nan
        for name, parameter in learner.model.named_parameters():
            self.arrivals[name], self.sizes[name] = [], parameter.nbytes
            parameter.register_post_accumulate_grad_hook(self._hook(name))  # type: ignore[no-untyped-call]

    def _hook(self, name: str) -> Callable[[torch.Tensor], None]:
        def arrived(parameter: torch.Tensor) -> None:
            self.arrivals[name].append(self.work.now() - self.began)

        return arrived

    def forward_backward(self) -> None:
        """One micro-batch, whose gradients stay here."""
        learner, start = self.learner, self.work.now()
        with learner.precision.autocast():
            output = learner.objective(learner.model, self.batches[0].to(self.work.device))
        loss = share_of_loss(output.terms, self.weights)
        self.began = self.work.now()
        learner.strategy.backward(loss, last=False)
        end = self.work.now()
        self.times["forward"].append(self.began - start)
        self.times["backward"].append(end - self.began)

    def update(self) -> None:
        """Clipping, the optimizer, and gradients forgotten."""
        learner, start = self.learner, self.work.now()
        learner.strategy.clip_grad_norm(learner.model, learner.clip_grad_norm or math.inf)
        learner.optimizer.step()
        learner.strategy.zero_grad(learner.optimizer)
        self.times["update"].append(self.work.now() - start)


class _Sums:
    """So many sums of 25 MB one behind another, while this thread does something else."""

    def __init__(self, work: Work, count: int) -> None:
        pieces = [torch.zeros(_SUMMED_BYTES // 4, device=work.device) for _ in range(4)]
        self._start = work.together()
        self._waiting = [dist.all_reduce(pieces[number % 4], async_op=True) for number in range(count)]
        self._end = math.nan
        self._thread = threading.Thread(target=self._watch, name="sums")
        self._thread.start()

    def _watch(self) -> None:
        while not all(each.is_completed() for each in self._waiting):
            time.sleep(_POLL_SECONDS)
        self._end = time.perf_counter()

    @property
    def are_over(self) -> bool:
        """Whether all have ended."""
        return not self._thread.is_alive()

    def seconds(self) -> float:
        """From the first one's start to the last one's end, when that has come."""
        self._thread.join()
        return self._end - self._start


def _interference(work: Work, passes: _Passes, alone: float) -> dict[str, float]:
    """Sums for about four passes of forward and backward, alone and beside these passes."""
    few = work.slowest(_Sums(work, 8).seconds())
    count = min(_MOST_SUMS, max(8, math.ceil(8 * 4 * work.slowest(alone) / few)))
    undisturbed = _Sums(work, count).seconds()
    sums, beside = _Sums(work, count), []
    while not sums.are_over:
        passes.forward_backward()
        beside.append(passes.times["forward"][-1] + passes.times["backward"][-1])
        passes.learner.strategy.zero_grad(passes.learner.optimizer)
    disturbed = sums.seconds()
    whole = beside[:-1] or beside  # the last pass was beside sums for a part of its time
    return {
        "compute_beside_network": work.slowest(statistics.fmean(whole) / alone),
        "network_beside_compute": work.slowest(disturbed / undisturbed),
    }


def whole_step(work: Work, bucket_mb: float, is_sharded: bool) -> dict[str, Any]:
    """Whole steps, as training makes them."""
    learner = work.learner(bucket_mb=bucket_mb, shard_optimizer=is_sharded)
    batches = work.batches(learner)
    at = StepContext(seed=0, step=0, samples_per_step=work.config.rows_per_step)
    seconds = []
    for _ in range(WARM_UP + work.repeats):
        start = work.together()
        train_step(learner, batches, at, multiplier=1.0)
        seconds.append(work.slowest(work.now() - start))
    return {
        "bucket_bytes": bucket_mb * MEGABYTE,
        "shard_optimizer": is_sharded,
        "seconds": statistics.median(seconds[WARM_UP:]),
    }


def _shape(config: Config) -> ModelConfig:
    assert config.model.vocab_size is not None
    return config.model.complete(vocab_size=config.model.vocab_size)

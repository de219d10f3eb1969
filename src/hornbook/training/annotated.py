"""Which calls of training are which part of a step, for whatever wants ranges of them: NVTX, torch.profiler, a clock.

    data            waiting for the loader, drawing noise
    forward         the objective: model and loss
    backward        gradients; without the waiting for their sums
    optimizer       clipping, the update, forgetting gradients
    communication   sums and agreements of processes, as far as the step waits for them
    logging         hooks and watches

Parts lie inside one another, and each instant counts for the innermost.
"""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch

from hornbook.data.loader import Prefetcher
from hornbook.distributed.ddp import DataParallel
from hornbook.profiling.nvtx import SWITCH, Level, Nvtx, asked_level, is_available
from hornbook.profiling.ranges import Point, Ranges, module_ranges, ranged
from hornbook.training.trainer import Trainer


def points(trainer: Trainer[Any]) -> list[Point]:
    """The parts of a step of this trainer."""
    learner = trainer.learner
    objective, strategy = learner.objective, learner.strategy
    found = [
        Point(Prefetcher, "__next__", "data/wait"),
        Point(trainer, "_step", "step"),
        Point(objective, "prepare", "data/prepare"),
        Point(objective, "weight", "data/prepare"),
        Point(type(objective), "__call__", "forward"),
        Point(strategy, "backward", "backward"),
        Point(strategy, "clip_grad_norm", "optimizer/clip"),
        Point(strategy, "update", "optimizer/update"),
        Point(strategy, "zero_grad", "optimizer/zero"),
        Point(strategy, "sum", "communication/sum"),
        Point(strategy, "agree", "communication/agree"),
        Point(trainer, "_call_hooks", "logging"),
    ]
    if isinstance(strategy, DataParallel):
        found.append(Point(strategy.buckets, "finish", "communication/gradients"))
        found.append(Point(strategy.buckets, "_send_next", "communication/gradients"))
        if strategy.shards is not None:
            found.append(Point(strategy.shards, "share", "communication/parameters"))
    if strategy.cuts_up_model:
        found += _of_fsdp()
    if learner.watch is not None:
        found += [Point(learner.watch, name, "logging/watch") for name in ("before_update", "after_update")]
    return found


def _of_fsdp() -> list[Point]:
    """Parameters gathered and gradients scattered, where torch's FSDP2 waits for them inside of passes."""
    from torch.distributed.fsdp._fully_shard._fsdp_param_group import FSDPParamGroup  # a second of imports

    gathers, scatters = ("unshard", "wait_for_unshard"), ("post_backward", "finalize_backward")
    return [
        *(Point(FSDPParamGroup, method, "communication/parameters") for method in gathers),
        *(Point(FSDPParamGroup, method, "communication/gradients") for method in scatters),
    ]


@contextlib.contextmanager
def annotated(trainer: Trainer[Any], ranges: Ranges, *, level: Level = "coarse") -> Iterator[None]:
    """Inside, the steps of `trainer` are told to `ranges`; afterwards it is as it was.

    Ranges of "verbose" come from threads that read data too.
    """
    model, found = trainer.learner.model, points(trainer)
    if level == "verbose":
        found.append(Point(trainer.batches, "step", "data/read"))
    with contextlib.ExitStack() as at_end:
        if level != "coarse":
            at_end.enter_context(module_ranges(model, ranges, every=level == "verbose"))
        at_end.enter_context(ranged(found, ranges))
        yield


@contextlib.contextmanager
def annotated_for_nvtx(trainer: Trainer[Any]) -> Iterator[None]:
    """Inside, the steps of `trainer` are NVTX ranges, if the environment asks for them and this torch has NVTX.

    Raises:
        ConfigError: if the environment asks for something else than it may.
    """
    level = asked_level(os.environ)
    if level is None or not is_available():
        yield
        return
    with contextlib.ExitStack() as at_end:
        if level == "verbose":
            at_end.enter_context(torch.autograd.profiler.emit_nvtx())  # type: ignore[no-untyped-call]
        at_end.enter_context(annotated(trainer, Nvtx(), level=level))
        yield


def nvtx_remark() -> str | None:
    """What to say where the environment asks for ranges that cannot be had; None where all is well.

    Raises:
        ConfigError: as `annotated_for_nvtx`.
    """
    if asked_level(os.environ) is None or is_available():
        return None
    return f"{SWITCH}=1 has no effect: this torch is built without CUDA, and so without NVTX"

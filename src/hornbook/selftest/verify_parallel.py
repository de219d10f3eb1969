"""Does every strategy train as one process does? What `hornbook verify-parallel` finds out.

    reference       here, each step at once                         one for each type of numbers
    accumulated     here, each step in micro-batches                compared with it
    2 processes     DDP, sharded optimizer, FSDP2, in 1 and 3 micro-batches each     compared with it, too
    3 processes     the same

Processes are started once for each number of them and make all their cases one after another.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hornbook.checkpoint.tensors import write_tensors
from hornbook.config.dump import to_json
from hornbook.config.run import Config
from hornbook.distributed.device import device_of_rank
from hornbook.distributed.environment import Place
from hornbook.errors import ConfigError, TrainingError
from hornbook.selftest.parallel_cases import (
    STRATEGIES,
    Case,
    Number,
    alone,
    cut_down,
    refusal,
    rows_for,
    together,
    verified,
)
from hornbook.selftest.parallel_data import Tokens
from hornbook.selftest.parallel_difference import Difference, of_tensors
from hornbook.selftest.parallel_run import ANSWER, TASK, Say, Task, Trace, compared, progress
from hornbook.selftest.ranks import run_ranks
from hornbook.storage.atomic import replace_file

LEAST_MOVED = 1e-3
"""By so much of its scale some tensor must have moved: where nothing is learned, everything is equal."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is asked for."""

    world_sizes: Sequence[int] = (2, 3)
    steps: int = 50
    numbers: Sequence[Number] = ("float64", "float32")
    full_size: bool = False
    """Train the configuration's own model instead of a small one of its kind."""
    quiet: bool = False
    """Processes say nothing of their cases on stderr."""


def verify(config: Config, settings: Settings, say: Say) -> list[Difference]:
    """Train in every case; `say` hears a line for each as soon as it is done.

    Raises:
        ConfigError: if there are too few devices, or the reference does not learn, or it is about pairs.
        HornbookError: the reason why a case could not be trained.
    """
    if config.data.stage == "dpo":
        raise ConfigError(
            'data.stage = "dpo" trains on pairs, and what is compared here are steps on rows of tokens; verify a '
            "configuration of stage sft or pretrain: how steps are shared out is the same"
        )
    rows = rows_for(settings.world_sizes)
    most = max(settings.world_sizes)
    config = verified(placed(config if settings.full_size else cut_down(config), most), rows)
    device_of_rank(config.run.device, Place(world_size=most, local_world_size=most))  # now rather than in the middle
    tokens = Tokens.of(config, is_small=not settings.full_size)
    device = device_of_rank(config.run.device, Place())
    say(_plan(config, tokens, settings, rows, device))
    task = Task(config=config, tokens=tokens, rows=rows, steps=settings.steps, device=device)
    with tempfile.TemporaryDirectory(prefix="hornbook-") as name:
        folder = Path(name)
        found = [each for number in settings.numbers for each in _alone(task, number, folder, say)]
        asked = {
            "config": json.loads(to_json(config)),
            "is_small": not settings.full_size,
            "rows": rows,
            "steps": settings.steps,
            "numbers": list(settings.numbers),
            "quiet": settings.quiet,
        }
        replace_file(folder / TASK, json.dumps(asked))
        for n in settings.world_sizes:
            say(f"starting {n} processes")
            run_ranks("hornbook.selftest.parallel_run", folder, n)
            found += _answer(folder, [case for number in settings.numbers for case in together(config, number, n)])
    return found


def placed(config: Config, n: int) -> Config:
    """On the CPU, which `n` processes can share, where device = "auto" would give them fewer CUDA devices."""
    if config.run.device != "auto" or torch.cuda.device_count() >= n:
        return config
    return config.model_copy(update={"run": config.run.model_copy(update={"device": "cpu"})})


def _answer(folder: Path, expected: Sequence[Case]) -> list[Difference]:
    """What the processes found.

    Raises:
        TrainingError: if they did not train in these cases, such as each by itself.
    """
    answer = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    found = [Difference.from_json(each) for each in answer]
    if [each.case for each in found] != [*expected]:
        raise TrainingError(
            f"expected the cases {'; '.join(case.words for case in expected)}, and what was trained is "
            f"{'; '.join(each.case.words for each in found)}: a bug in how processes find one another"
        )
    return found


def _alone(task: Task, number: Number, folder: Path, say: Say) -> list[Difference]:
    """The reference, which is left in the folder, and the other ways of one process."""
    first, *others = alone(number)
    began = time.perf_counter()
    reference = _of_one(task.trace(first))
    say(f"{first.words}, the reference: {time.perf_counter() - began:.1f} s")
    _check_moved(reference, task)
    write_tensors(folder / f"{number}.safetensors", reference.last)
    told = {"losses": reference.losses, "grad_norms": reference.grad_norms}
    replace_file(folder / f"{number}.json", json.dumps(told))
    found = []
    for case in others:
        began = time.perf_counter()
        trace = _of_one(task.trace(case))
        found.append(compared(case, trace, reference, time.perf_counter() - began))
        say(progress(found[-1]))
    return found


def _of_one(trace: Trace | None) -> Trace:
    assert trace is not None, "one process is always the first"
    return trace


def _check_moved(reference: Trace, task: Task) -> None:
    moved = of_tensors(reference.last, reference.first)
    if moved < LEAST_MOVED:
        raise ConfigError(
            f"in {task.steps} steps no tensor moved by more than {moved:.0e} of its size, so there is nothing to "
            "compare; raise optim.learning_rate or --steps"
        )


def _plan(config: Config, tokens: Tokens, settings: Settings, rows: int, device: torch.device) -> str:
    kind = "" if settings.full_size else "cut down to "
    left_out = [f"no {name}: {why}" for name in STRATEGIES if (why := refusal(config, name)) is not None]
    lines = [
        f"{kind}{config.model.architecture}, {config.optim.kind}, {config.objective.kind}; {settings.steps} steps of "
        f"{rows} windows of {config.model.context_length} on {device}; {tokens.words}",
        *left_out,
    ]
    return "\n".join(lines)

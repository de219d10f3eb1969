"""Steps of training in one case, and what came of them; many cases by the same processes.

python -m hornbook.selftest.parallel_run FOLDER      one of the processes; FOLDER/task.json says what to do
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hornbook.checkpoint.tensors import read_tensors
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.distributed.device import device_of_rank
from hornbook.distributed.environment import place_of
from hornbook.distributed.precision import fp32_products
from hornbook.distributed.process_group import ALONE, Processes, joined
from hornbook.errors import TrainingError
from hornbook.models.transformer import Transformer
from hornbook.objectives.objective import StepContext
from hornbook.optim.schedules import multiplier
from hornbook.selftest.parallel_cases import Case, case_config, together
from hornbook.selftest.parallel_data import Tokens
from hornbook.selftest.parallel_difference import Difference, of_numbers, of_tensors
from hornbook.selftest.ranks import be_a_rank
from hornbook.storage.atomic import replace_file
from hornbook.training.choices import Choices
from hornbook.training.start import build_learner, build_model
from hornbook.training.step import train_step

TASK, ANSWER = "task.json", "differences.json"
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What came of the steps of a case; on the first process alone."""

    losses: list[float]
    grad_norms: list[float]
    first: Mapping[str, Tensor]
    """Weights before the first step, on the CPU."""
    last: Mapping[str, Tensor]
    """Weights after the last."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What all cases have in common."""

    config: Config
    """What `verified` gave."""
    tokens: Tokens
    rows: int
    """Of a step."""
    steps: int
    device: torch.device
    processes: Processes = ALONE

    def trace(self, case: Case) -> Trace | None:
        """Make the steps; every process of the case calls this, and the first is given what came of them.

        The learning rate goes through its whole schedule in these steps.

        Raises:
            TrainingError: if a step is not finite.
            HornbookError: if it cannot be trained so.
        """
        config = case_config(self.config, case, self.rows)
        learner = build_learner(config, self._model(config, case), self.processes, mask_id=self.tokens.mask_id)
        lookahead = learner.objective.lookahead
        source = self.tokens.source(config, lookahead=lookahead, rows=self.rows, processes=self.processes)
        first = learner.strategy.full_state(learner.model, None)
        losses, norms, total = [], [], config.train.steps
        with fp32_products("exact", self.device):
            for step in range(self.steps):
                at = StepContext(seed=config.run.seed, step=step, samples_per_step=self.rows)
                rate = multiplier(config.schedule, step * total // self.steps, total, config.model.d_model)
                report = train_step(learner, source.step(step), at, multiplier=rate)
                if report.skipped:
                    raise TrainingError(
                        f"{case.words}: the {report.skip_reason} of step {step + 1} is not finite (loss {report.loss}, "
                        f"gradient norm {report.grad_norm}); lower optim.learning_rate if it grew, else it is a bug"
                    )
                losses.append(report.loss)
                norms.append(report.grad_norm)
        last = learner.strategy.full_state(learner.model, None)
        if first is None or last is None:
            return None
        return Trace(losses=losses, grad_norms=norms, first=first.model, last=last.model)

    def _model(self, config: Config, case: Case) -> Transformer:
        assert config.train.micro_batch_size != "auto"
        choices = Choices(
            device=self.device.type,
            threads=torch.get_num_threads(),
            fp32_products="exact",
            compile=False,
            plain_max_keys=0,
            micro_batch_size=config.train.micro_batch_size,
            eval_batch_size=1,
        )
        shape = config.model.complete(vocab_size=self.tokens.vocab_size)
        model = build_model(config, shape, choices, None)
        model = model.to(device=self.device, dtype=getattr(torch, case.number)).train()
        if not self.processes.is_first:  # all shall begin as the first one does
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(self.processes.rank)
        return model


def compared(case: Case, trace: Trace, reference: Trace, seconds: float) -> Difference:
    """How far a case lies from its reference."""
    return Difference(
        case=case,
        parameters=of_tensors(trace.last, reference.last),
        losses=of_numbers(trace.losses, reference.losses),
        grad_norms=of_numbers(trace.grad_norms, reference.grad_norms),
        seconds=seconds,
    )


def progress(difference: Difference) -> str:
    """A line for people when a case is done."""
    return f"{difference.case.words}: {difference.worst:.1e}, {difference.seconds:.1f} s"


def work(folder: Path) -> None:
    """Be one of several processes: all their cases, one after another; the first one writes and speaks."""
    asked = json.loads((folder / TASK).read_text(encoding="utf-8"))
    config = load_config(None, values=asked["config"]).config
    place = place_of(os.environ)
    device = device_of_rank(config.run.device, place)
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    tokens = Tokens.of(config, is_small=asked["is_small"])
    with joined(place, config.distributed, device) as processes:
        task = Task(
            config=config, tokens=tokens, rows=asked["rows"], steps=asked["steps"], device=device, processes=processes
        )
        found = []
        for number in asked["numbers"]:
            for case in together(config, number, processes.world_size):
                began = time.perf_counter()
                trace = task.trace(case)
                if trace is not None:
                    reference = read_trace(folder, number)
                    found.append(compared(case, trace, reference, time.perf_counter() - began))
                    sys.stderr.write("" if asked["quiet"] else progress(found[-1]) + "\n")
        if processes.is_first:
            replace_file(folder / ANSWER, json.dumps([each.to_json() for each in found]))


def read_trace(folder: Path, number: str) -> Trace:
    """What `write_trace` wrote."""
    tensors = read_tensors(folder / f"{number}.safetensors")
    return Trace(**json.loads((folder / f"{number}.json").read_text(encoding="utf-8")), first={}, last=tensors)


if __name__ == "__main__":
    be_a_rank(work)

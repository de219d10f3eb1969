"""Stages of exactness: a run that was taken up again equals an unbroken one, and many processes equal one."""

from pathlib import Path

import torch

from hornbook import assemble
from hornbook.checkpoint.load import load_checkpoint
from hornbook.models.transformer import Transformer
from hornbook.selftest.doctor_check import Check
from hornbook.selftest.doctor_text import Values, configure, markov_config, markov_data
from hornbook.selftest.parallel_difference import TOLERANCES
from hornbook.selftest.verify_parallel import Settings, verify

_STEPS, _MIDDLE = 12, 6
_PROCESSES = 2


def resume(folder: Path) -> list[Check]:
    """Twelve steps at once, and six, then six more by another run from its checkpoint; on the CPU, bit for bit."""
    steps: Values = {"train.steps": _STEPS, "checkpoint.full_every": _MIDDLE, "schedule.warmup_steps": 2}
    config = markov_config(folder, {**steps, "run.device": "cpu", "model.dropout": 0.1})
    markov_data(config)
    unbroken = assemble.train(config)
    middle = unbroken.run_dir.checkpoints / f"step-{_MIDDLE:08d}"
    before = load_checkpoint(middle).weights
    expected = {name: tensor.clone() for name, tensor in unbroken.model.state_dict().items()}
    taken_up = assemble.train(config, resume=middle)
    numbers = sum(tensor.numel() for tensor in expected.values())
    unlike = _unlike(taken_up.model, expected)
    moved = sum(int((expected[name] != before[name]).sum()) for name in expected)
    return [
        Check(what=f"of {numbers:,} weights unlike the unbroken run's", value=unlike, truth=0),
        Check(what="share of them that moved since the checkpoint", value=moved / numbers, truth=1.0, below=0.5),
    ]


def parallel(folder: Path) -> list[Check]:
    """The same steps by two processes as by one, in float64, by every strategy and in one or three micro-batches."""
    del folder  # what processes tell each other lies in a folder of their own
    config = configure(Path(), {"run.device": "cpu", "model.context_length": 16})
    settings = Settings(world_sizes=(_PROCESSES,), steps=8, numbers=("float64",), quiet=True)
    found = verify(config, settings, lambda line: None)
    return [
        Check(
            what=f"largest relative difference of weights and losses: {name}",
            value=max(each.worst for each in found if each.case.name == name),
            truth=0.0,
            above=TOLERANCES["float64"]["parameters"],
        )
        for name in dict.fromkeys(each.case.name for each in found)
    ]


def _unlike(model: Transformer, expected: dict[str, torch.Tensor]) -> int:
    found = model.state_dict()
    return sum(int((found[name] != tensor).sum()) for name, tensor in expected.items())

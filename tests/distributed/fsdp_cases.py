"""What the processes of the tests of fully sharded training do; each function is called on all of them."""

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor

from distributed.cases import VOCAB, Settings, build, draw, steps, weights
from hornbook.checkpoint import sharded
from hornbook.checkpoint.load import load_checkpoint
from hornbook.checkpoint.sharded import ShardedSaves
from hornbook.config.objective import JointConfig
from hornbook.config.train import CheckpointConfig
from hornbook.distributed import fsdp
from hornbook.distributed.fsdp import FullySharded
from hornbook.distributed.parts import WholeMatrices, rows_of
from hornbook.distributed.process_group import Processes
from hornbook.errors import HornbookError, TrainingError
from hornbook.objectives.joint import Joint
from hornbook.objectives.objective import StepContext
from hornbook.training.norms import NormWatch
from hornbook.training.saving import Saver, restore, whole_model
from hornbook.training.state import TrainState
from hornbook.training.step import train_step


def what_is_where(processes: Processes, settings: Settings) -> dict[str, Any]:
    """Types and sizes of what a rank keeps after two steps."""
    learner = build(processes, settings)
    steps(learner, 0, 2, settings.micro_batches)
    parameters = dict(learner.model.named_parameters())
    return {
        "names": list(parameters),
        "all_cut_up": all(isinstance(parameter, DTensor) for parameter in parameters.values()),
        "types": {str(parameter.dtype) for parameter in parameters.values()},
        "numbers": sum(own.numel() for own in learner.strategy.own.values()),
        "rows": {name: len(own) for name, own in learner.strategy.own.items()},
    }


def watch_norms(processes: Processes, settings: Settings) -> dict[str, float]:
    watch = NormWatch(norms_every=1, histograms_every=0)
    learner = replace(build(processes, settings), watch=watch)
    steps(learner, 0, 2, settings.micro_batches)
    return {name: value for name, value in watch.norms.items() if "activation" not in name}  # of the rank's own rows


def two_passes(processes: Processes, settings: Settings) -> dict[str, Any]:
    """An objective that runs the model twice before one backward pass."""
    learner = build(processes, settings)
    learner = replace(learner, objective=Joint(JointConfig(), mask_id=VOCAB - 1, chunk_tokens=64))
    losses = []
    for step in range(2):
        own = draw(step, 6)[processes.rank :: processes.world_size]
        at = StepContext(seed=5, step=step, samples_per_step=12)
        losses.append(train_step(learner, own, at, multiplier=1.0).loss)
    return {"losses": losses, "weights": weights(learner)}


def scaled_steps(processes: Processes, settings: Settings) -> dict[str, Any]:
    """A step whose scale is too large for float16, then one that fits."""
    learner = build(processes, settings)
    own = draw(0, 6)[processes.rank :: processes.world_size]
    at = StepContext(seed=5, step=0, samples_per_step=12)
    before = weights(learner)
    reports = [train_step(learner, own, at, multiplier=1.0, loss_scale=2.0**60)]
    unmoved = all(torch.equal(tensor, before[name]) for name, tensor in weights(learner).items())
    reports.append(train_step(learner, own, at, multiplier=1.0, loss_scale=2.0**10))
    return {
        "overflowed": [report.overflowed for report in reports],
        "unmoved": unmoved,
        "norm": reports[1].grad_norm,
        "weights": weights(learner),
    }


def whole_matrices(processes: Processes, rows: int) -> dict[str, Any]:
    """Doubles matrices of so many rows as a whole; the most of them that this rank had at once."""
    group, size = dist.group.WORLD, torch.Size((rows, 64))
    assert group is not None
    own = rows_of(rows, processes.rank, processes.world_size)
    whole = [torch.arange(float(size.numel())).view(size) + index for index in range(2 * processes.world_size + 1)]
    parts = [matrix[own].clone() for matrix in whole]
    n_bytes = whole.pop().nbytes
    whole.clear()

    def large() -> int:
        tensors = [each for each in gc.get_objects() if type(each) is torch.Tensor]
        return len({t.untyped_storage().data_ptr() for t in tensors if t.untyped_storage().nbytes() >= n_bytes})

    def make(given: list[torch.Tensor]) -> list[torch.Tensor]:
        at_once.append(large() - before)
        return [2.0 * matrix for matrix in given]

    at_once: list[int] = []
    before = large()
    moves = WholeMatrices(group, dict.fromkeys(parts, size))(parts, parts, make)
    right = all(torch.equal(move, 2.0 * part) for move, part in zip(moves, parts, strict=True))
    return {"right": right, "at_once": max(at_once)}


def all_fail_in_backward(processes: Processes, settings: Settings) -> dict[str, Any]:
    """Every rank fails in the middle of a backward pass, then everybody makes two good steps."""
    learner = build(processes, settings)
    own = draw(7, 6)[processes.rank :: processes.world_size]

    def explode(*_: object) -> None:
        raise OSError("in backward")

    handle = learner.model.layers[0].feed_forward.register_full_backward_hook(explode)
    raised = False
    try:
        learner.strategy.backward(learner.objective(learner.model, own[0]).terms["cross_entropy"], last=True)
    except OSError:
        raised = True
    handle.remove()
    learner.strategy.zero_grad(learner.optimizer)
    steps(learner, 0, 2, settings.micro_batches)
    return {"raised": raised, "weights": weights(learner)}


def give_up(processes: Processes, settings: Settings) -> str:
    strategy = build(processes, settings).strategy
    try:
        try:
            raise MemoryError("no more")
        except MemoryError:
            strategy.abandon()
    except TrainingError as error:
        return str(error)
    return ""


def group_wrongly(processes: Processes) -> str:
    try:
        FullySharded(processes, device=torch.device("cpu"), group_size=processes.world_size + 1)
    except HornbookError as error:
        return str(error)
    return ""


def whole_copy(processes: Processes, settings: Settings) -> dict[str, Any]:
    """The model that samples are drawn from, while the others wait."""
    learner = build(processes, settings)
    steps(learner, 0, 1, settings.micro_batches)
    copy = whole_model(learner)
    found = None if copy is None else copy(torch.arange(6)[None]).detach()
    return {"logits": found, "weights": weights(learner)}


def save(processes: Processes, settings: Settings, folder: Path, kinds: list[str], spoil: bool = False) -> Any:
    """A sharded checkpoint after each step; training goes on at once. What the weights were, and the state then."""
    learner = build(processes, settings)
    saver = Saver(
        directory=folder,
        learner=learner,
        tokenizer=None,
        objective={"kind": "next_token"},
        keep=CheckpointConfig(light_keep=5, full_keep=5),
        parts=ShardedSaves(folder, processes, timeout_minutes=5.0),
    )
    found: dict[str, Any] = {"weights": [], "state": [], "error": ""}
    try:
        for step, kind in enumerate(kinds, start=1):
            steps(learner, step - 1, step, settings.micro_batches)
            found["weights"].append(weights(learner))
            full = learner.strategy.full_state(learner.model, learner.optimizer)
            found["state"].append(full and full.optimizer)
            if spoil and step == len(kinds):
                saver.parts.save = _spoiled(saver.parts)
            saver(TrainState(step=step), kind=kind, best=step == 1)
        steps(learner, len(kinds), len(kinds) + 1, settings.micro_batches)
        saver.parts.finish()
    except HornbookError as error:
        found["error"] = str(error)
    return found


def save_whole(processes: Processes, settings: Settings, folder: Path) -> dict[str, Any]:
    """A light checkpoint that the first process writes; how many tensors were gathered for it, and the weights."""
    learner = build(processes, settings)
    keep = CheckpointConfig()
    saver = Saver(directory=folder, learner=learner, tokenizer=None, objective={"kind": "next_token"}, keep=keep)
    gathered: list[str] = []
    real = fsdp.gathered_rows

    def counted(*given: Any) -> torch.Tensor:
        gathered.append("")
        return real(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fsdp, "gathered_rows", counted)
        saver(TrainState(step=1), kind="light", best=False)
    return {"gathered": len(gathered), "weights": weights(learner)}


def save_elsewhere(processes: Processes, settings: Settings, folder: Path) -> dict[str, Any]:
    """The last process sees another file system under the same name: the folder of parts is its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharded, "SEEN_WITHIN_SECONDS", 0.1)
        if processes.rank == processes.world_size - 1:
            writer = sharded.HuggingFaceStorageWriter
            patch.setattr(sharded, "HuggingFaceStorageWriter", lambda path, **more: writer(f"{folder}-own", **more))
        found: dict[str, Any] = save(processes, settings, folder, ["full"])
    return found


def patience_of_writers(processes: Processes, folder: Path, minutes: float) -> float:
    """Minutes that they wait for one another."""
    saves = ShardedSaves(folder, processes, timeout_minutes=minutes)
    backend = saves.group._get_backend(torch.device("cpu"))  # type: ignore[union-attr]
    return backend.options._timeout.total_seconds() / 60.0


def _spoiled(parts: ShardedSaves) -> Any:
    """Where the folder of parts ought to be, there is a file."""
    real = parts.save

    def save_badly(*args: Any, describe: Any, **more: Any) -> Path:
        def describe_badly(directory: Path) -> None:
            describe(directory)
            (directory / "shards").write_text("in the way")

        return real(*args, describe=describe_badly, **more)

    return save_badly


def go_on(processes: Processes, settings: Settings, path: Path, last: int) -> dict[str, Any]:
    """Resume from a checkpoint on disk."""
    learner = build(processes, settings)
    state = restore(learner, load_checkpoint(path))
    steps(learner, state.step, last, settings.micro_batches)
    return {"weights": weights(learner)}

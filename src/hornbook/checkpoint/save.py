"""Saving a checkpoint: whole or not at all, whenever the process dies.

    1  model, optimizer, model.json, state.json and tokenizer/ into a temporary directory
    2  manifest.json with the size and digest of each, last
    3  sync everything, rename to step-00005000, sync the parent     (replacing: see hornbook.storage.atomic)
    4  BEST, one rename                                               (if it is the best so far)
    5  LATEST, one rename                                             (full checkpoints only)

Killed before 3 ends, the old state stands; killed before 5, the new directory is complete and LATEST still names the
old one. LATEST comes last, because a resumed run repeats only what lies beyond it: BEST, moved after it, would be
forgotten by a kill between the two.

What a killed writer leaves is swept by the next save. The crash points are those instants, before and after.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hornbook.checkpoint.load import Checkpoint
from hornbook.checkpoint.manifest import (
    MODEL_FILE,
    MODEL_JSON,
    OPTIMIZER_FILE,
    STATE_JSON,
    TOKENIZER_FOLDER,
    read_manifest,
    write_manifest,
)
from hornbook.checkpoint.tensors import tensors_sha256, write_tensors
from hornbook.config.lora import LoraConfig
from hornbook.config.model import ModelConfig
from hornbook.errors import CheckpointError
from hornbook.storage.atomic import commit_directory, replace_file, sweep_temporaries
from hornbook.storage.disk import explained
from hornbook.storage.faults import crash_point
from hornbook.storage.run_dir import Kind, list_checkpoints, pointed, pointer_file, read_entry
from hornbook.tokenizer.tokenizer import Tokenizer


def save_checkpoint(
    directory: Path,
    *,
    step: int,
    kind: Kind,
    model_config: ModelConfig,
    objective: Mapping[str, object],
    weights: Mapping[str, Tensor],
    optimizer: Mapping[str, Tensor] | None,
    state: Mapping[str, object],
    tokenizer: Tokenizer | None,
    best: bool = False,
    lora: LoraConfig | None = None,
) -> Path:
    """Write a checkpoint below `directory` (a run's checkpoints/) and return where it stands.

    A checkpoint of the same step is replaced, except that a light one adds nothing to a full one of the same weights,
    which then stays. Only a full one, which needs `optimizer`, moves LATEST; a light one leaves `optimizer` out.
    `objective` and `state` are JSON objects; `lora` says which adapters are among `weights`. With `best`, BEST names it
    from now on. One process at a time saves into a directory.

    Raises:
        StorageError: if the disk refuses; older checkpoints and LATEST are as they were.
    """
    assert kind == "light" or optimizer is not None, "a full checkpoint holds the optimizer"
    assert not any("_orig_mod." in name for name in weights), "names are those of the bare model"
    with explained(directory):
        directory.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(directory)
    final = place_of_step(directory, step)
    if kind == "light" and _is_full_with(final, weights):
        if best:
            mark_best(directory, step)
        return final
    with commit_directory(final, replace=True) as temporary:
        crash_point("checkpoint:model")
        write_tensors(temporary / MODEL_FILE, weights)
        write_description(temporary, model_config, objective, state, tokenizer, lora)
        crash_point("checkpoint:model")
        if kind == "full" and optimizer is not None:
            crash_point("checkpoint:optimizer")
            write_tensors(temporary / OPTIMIZER_FILE, optimizer)
            crash_point("checkpoint:optimizer")
        crash_point("checkpoint:manifest")
        write_manifest(temporary, step=step, kind=kind)
        crash_point("checkpoint:manifest")
        crash_point("checkpoint:rename")
    crash_point("checkpoint:rename")
    point(directory, final, step=step, kind=kind, best=best)
    return final


def write_description(
    directory: Path,
    model_config: ModelConfig,
    objective: Mapping[str, object],
    state: Mapping[str, object],
    tokenizer: Tokenizer | None,
    lora: LoraConfig | None = None,
) -> None:
    """Write all of a checkpoint but its tensors and its manifest.

    Raises:
        StorageError: if the disk refuses.
    """
    described = {"model": model_config.model_dump(mode="json"), "objective": dict(objective)}
    if lora is not None:
        described["lora"] = lora.model_dump(mode="json")
    _write_json(directory / MODEL_JSON, described)
    _write_json(directory / STATE_JSON, dict(state))
    if tokenizer is not None:
        tokenizer.save(directory / TOKENIZER_FOLDER)


def point(directory: Path, final: Path, *, step: int, kind: Kind, best: bool) -> None:
    """Make BEST and LATEST name the checkpoint `final` of `directory`, as its kind deserves.

    Raises:
        StorageError: if the disk refuses.
    """
    if best:
        mark_best(directory, step)
    _point_latest(directory, final, kind=kind)


def consolidate(checkpoint: Checkpoint, out: Path | None = None) -> Path:
    """Write a checkpoint as an ordinary one, in its place or at `out`, which must not exist; returns where.

    For those that are not: sharded ones, and what `Checkpoint.plain` gives.

    Pointers that name it go on naming it.

    Raises:
        StorageError: if the disk refuses, or `out` exists; what stood there is as it was.
    """
    final = out or checkpoint.path
    with explained(final):
        final.parent.mkdir(parents=True, exist_ok=True)
    with commit_directory(final, replace=out is None) as temporary:
        write_tensors(temporary / MODEL_FILE, checkpoint.weights)
        if checkpoint.optimizer is not None:
            write_tensors(temporary / OPTIMIZER_FILE, checkpoint.optimizer)
        described = (checkpoint.model_config, checkpoint.objective, checkpoint.state, checkpoint.tokenizer)
        write_description(temporary, *described, checkpoint.lora)
        write_manifest(temporary, step=checkpoint.step, kind=checkpoint.kind)
    return final


def mark_best(directory: Path, step: int) -> Path:
    """Make BEST name the complete checkpoint of `step` and return that; the former best loses its protection.

    Raises:
        CheckpointError: if there is no complete checkpoint of that step.
        StorageError: if the disk refuses.
    """
    sweep_temporaries(directory)
    found = [entry.path for entry in list_checkpoints(directory) if entry.step == step]
    if not found:
        raise CheckpointError(f"{directory}: no complete checkpoint of step {step} to mark as best; save it first")
    usual = place_of_step(directory, step)
    best = usual if usual in found else found[0]  # one that somebody renamed
    crash_point("checkpoint:best")
    replace_file(pointer_file(directory, "best"), best.name + "\n")
    crash_point("checkpoint:best")
    return best


def place_of_step(directory: Path, step: int) -> Path:
    """Where the checkpoint of a step is written."""
    return directory / f"step-{step:08d}"


def _is_full_with(final: Path, weights: Mapping[str, Tensor]) -> bool:
    # Compared, not assumed: after a resume with changed settings the full one may be of a former life.
    entry = read_entry(final)
    if entry is None or entry.kind != "full":
        return False
    try:
        record = read_manifest(final).files.get(MODEL_FILE)
    except CheckpointError:
        return False
    return record is not None and record.sha256 == tensors_sha256(weights)


def _point_latest(directory: Path, final: Path, *, kind: Kind) -> None:
    latest = pointer_file(directory, "latest")
    crash_point("checkpoint:latest")
    if kind == "full":
        replace_file(latest, final.name + "\n")
    elif pointed(directory, "latest") == final:  # a light one has replaced it: the newest full one is another
        latest.unlink()
    crash_point("checkpoint:latest")


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    with explained(path):
        path.write_text(text, encoding="utf-8", newline="\n")

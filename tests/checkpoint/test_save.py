"""What stands on disk after a save: layout, pointers, replacement, and nothing after a failed one."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hornbook.checkpoint.load import load_checkpoint
from hornbook.checkpoint.retention import prune
from hornbook.checkpoint.save import mark_best, save_checkpoint
from hornbook.errors import CheckpointError
from hornbook.storage.disk import StorageError
from tiny_checkpoint import optimizer_of, save, tiny_config, weights_of


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def text(root: Path, pointer: str) -> str:
    return (root / pointer).read_text()


def test_layout_of_a_full_one(tmp_path: Path) -> None:
    path = save(tmp_path / "checkpoints", 5)
    assert path == tmp_path / "checkpoints" / "step-00000005"
    assert names(path) == ["manifest.json", "model.json", "model.safetensors", "optimizer.safetensors", "state.json"]
    assert names(path.parent) == ["LATEST", "step-00000005"]
    assert text(path.parent, "LATEST") == "step-00000005\n"
    assert json.loads((path / "state.json").read_text()) == {"step": 5, "best": None}
    described = json.loads((path / "model.json").read_text())
    assert described["objective"] == {"kind": "next_token"}
    assert described["model"]["d_model"] == 16


def test_names_are_bare_and_read_by_the_library(tmp_path: Path) -> None:
    path = save(tmp_path, 5)
    assert load_file(path / "model.safetensors").keys() == weights_of(5).keys()
    assert "layers.0.attention.q_proj.weight/exp_avg" in load_file(path / "optimizer.safetensors")


def test_light_one_leaves_latest_alone(tmp_path: Path) -> None:
    save(tmp_path, 5)
    path = save(tmp_path, 6, "light")
    assert names(path) == ["manifest.json", "model.json", "model.safetensors", "state.json"]
    assert text(tmp_path, "LATEST") == "step-00000005\n"


def test_light_and_full_of_one_step_are_one_full(tmp_path: Path) -> None:
    save(tmp_path, 5)
    assert save(tmp_path, 5, "light") == tmp_path / "step-00000005"
    assert load_checkpoint(tmp_path).kind == "full"
    save(tmp_path, 6, "light")
    save(tmp_path, 6, "full")
    assert load_checkpoint(tmp_path / "step-00000006").kind == "full"
    assert text(tmp_path, "LATEST") == "step-00000006\n"
    assert names(tmp_path) == ["LATEST", "step-00000005", "step-00000006"]


def test_light_one_of_other_weights_replaces_the_full_one_of_a_former_life(tmp_path: Path) -> None:
    save(tmp_path, 5, seed=1)
    save(tmp_path, 6, seed=1)
    save(tmp_path, 6, "light", seed=2)
    assert load_checkpoint(tmp_path / "step-00000006").kind == "light"
    assert load_checkpoint(tmp_path).step == 5  # LATEST never names a light one


def test_saving_again_replaces(tmp_path: Path) -> None:
    save(tmp_path, 5, seed=1)
    path = save(tmp_path, 5, seed=2)
    assert torch.equal(load_checkpoint(path).weights["norm.weight"], weights_of(2)["norm.weight"])
    assert torch.equal(load_checkpoint(path).optimizer["norm.weight/step"], torch.tensor(2))
    assert names(tmp_path) == ["LATEST", "step-00000005"]


def test_incomplete_directory_of_the_step_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "step-00000005").mkdir()
    (tmp_path / "step-00000005" / "rubbish").write_text("half a copy")
    path = save(tmp_path, 5)
    assert "rubbish" not in names(path)


def test_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a", 5), save(tmp_path / "b", 5)
    for name in names(first):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    assert "head.weight" not in load_file(save(tmp_path, 5) / "model.safetensors")


def test_best(tmp_path: Path) -> None:
    save(tmp_path, 5)
    save(tmp_path, 6, "light")
    assert mark_best(tmp_path, 6) == tmp_path / "step-00000006"
    assert text(tmp_path, "BEST") == "step-00000006\n"
    with pytest.raises(CheckpointError, match="step 7"):
        mark_best(tmp_path, 7)
    assert prune(tmp_path, light_keep=0, full_keep=1) == []
    mark_best(tmp_path, 5)
    assert prune(tmp_path, light_keep=0, full_keep=1) == [tmp_path / "step-00000006"]


def test_best_of_two_of_one_step_is_ours(tmp_path: Path) -> None:
    renamed = save(tmp_path, 5).rename(tmp_path / "a copy")
    assert mark_best(tmp_path, 5) == renamed
    path = save(tmp_path, 5)
    assert mark_best(tmp_path, 5) == path


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_disk_that_refuses_leaves_everything_as_it_was(tmp_path: Path, monkeypatch, number: int) -> None:
    save(tmp_path, 5, seed=1)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    for step in (5, 6):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", refuse)
            with pytest.raises(StorageError, match=rf"{tmp_path}/step-0000000{step}.*cannot be written") as caught:
                save(tmp_path, step, seed=2)
            assert ".tmp-" not in str(caught.value)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_full_needs_an_optimizer_and_bare_names(tmp_path: Path) -> None:
    weights = weights_of(0)
    common = {"model_config": tiny_config(), "objective": {}, "state": {}, "tokenizer": None}
    with pytest.raises(AssertionError, match="optimizer"):
        save_checkpoint(tmp_path, step=1, kind="full", weights=weights, optimizer=None, **common)
    wrapped = {f"_orig_mod.{name}": tensor for name, tensor in weights.items()}
    with pytest.raises(AssertionError, match="bare"):
        save_checkpoint(tmp_path, step=1, kind="full", weights=wrapped, optimizer=optimizer_of(weights, 0), **common)

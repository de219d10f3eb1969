"""Checkpoints of which every process writes its own part, while training goes on."""

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint import HuggingFaceStorageReader, load

from distributed import cases, fsdp_cases
from distributed.ranks import Ranks
from distributed.test_ddp import OPTIMIZERS, assert_close, assert_same
from distributed.test_fsdp import CUT_UP
from hornbook.checkpoint.inspection import find_problems, summarise
from hornbook.checkpoint.load import load_checkpoint, load_model
from hornbook.checkpoint.tensors import read_tensors, write_tensors
from hornbook.cli.main import main
from hornbook.distributed.full_state import StoredTensors
from hornbook.distributed.process_group import ALONE
from hornbook.errors import CheckpointError
from hornbook.storage.run_dir import list_checkpoints, pointed

pytestmark = pytest.mark.medium

# float32, since a model is built anew in that; uneven parts: 13 rows of embedding over 3.
SETTINGS = replace(CUT_UP, dtype=torch.float32)


def test_what_was_saved_is_what_the_weights_were_then(ranks: Ranks, tmp_path: Path) -> None:
    found = ranks.call(fsdp_cases.save, SETTINGS, tmp_path, ["full", "light", "full"])
    assert [(entry.step, entry.kind) for entry in list_checkpoints(tmp_path)] == [
        (1, "full"),
        (2, "light"),
        (3, "full"),
    ]
    assert pointed(tmp_path, "latest") == tmp_path / "step-00000003"
    assert pointed(tmp_path, "best") == tmp_path / "step-00000001"
    assert set(find_problems(tmp_path).values()) == {None}
    for index, entry in enumerate(list_checkpoints(tmp_path)):
        loaded = load_checkpoint(entry.path)
        wanted = found[0]["weights"][index]
        assert_same({name: loaded.weights[name] for name in wanted}, wanted)
        assert sorted(loaded.weights) == sorted(wanted)
        assert len([*(entry.path / "shards").iterdir()]) == ranks.n
        if entry.kind == "light":
            assert loaded.optimizer is None
        else:
            state = found[0]["state"][index]
            assert sorted(loaded.optimizer) == sorted(state)
            assert_same({name: loaded.optimizer[name] for name in state}, state)
        assert summarise(entry.path).parameters == sum(tensor.numel() for tensor in wanted.values())


def test_replicas_write_each_part_once(four: Ranks, tmp_path: Path) -> None:
    settings = replace(SETTINGS, group_size=2, micro_batches=8)
    found = four.call(fsdp_cases.save, settings, tmp_path, ["full"])
    wanted = found[0]["weights"][0]
    loaded = load_checkpoint(tmp_path)
    assert_same({name: loaded.weights[name] for name in wanted}, wanted)
    assert summarise(loaded.path).parameters == sum(tensor.numel() for tensor in wanted.values())
    alone = fsdp_cases.go_on(ALONE, settings, tmp_path, 3)["weights"]
    for each in four.call(fsdp_cases.go_on, settings, tmp_path, 3):
        assert_close(each["weights"], alone, 1e-4)


def test_for_a_light_checkpoint_only_weights_are_gathered(pair: Ranks, tmp_path: Path) -> None:
    found = pair.call(fsdp_cases.save_whole, SETTINGS, tmp_path)
    for each in found:
        assert each["gathered"] == len(each["weights"])
    assert_same(dict(load_checkpoint(tmp_path).weights), dict(sorted(found[0]["weights"].items())))


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_torch_reads_the_same(pair: Ranks, tmp_path: Path) -> None:
    wanted = pair.call(fsdp_cases.save, SETTINGS, tmp_path, ["full"])[0]["weights"][0]
    state = {f"model/{name}": torch.zeros_like(tensor) for name, tensor in wanted.items()}
    load(state, storage_reader=HuggingFaceStorageReader(str(tmp_path / "step-00000001" / "shards")), no_dist=True)
    assert_same({name.removeprefix("model/"): tensor for name, tensor in state.items()}, wanted)


@pytest.mark.parametrize("kind", ["adamw", "averages", "schedule_free", "muon"])
def test_any_number_and_strategy_goes_on_from_one(ranks: Ranks, pair: Ranks, tmp_path: Path, kind: str) -> None:
    settings = replace(CUT_UP, optim=OPTIMIZERS[kind])
    ranks.call(fsdp_cases.save, settings, tmp_path, ["full", "full"])
    expected = cases.train(ALONE, settings, 4)["weights"]
    plain = replace(settings, fully_sharded=False)
    for found in (
        fsdp_cases.go_on(ALONE, settings, tmp_path, 4),
        *pair.call(fsdp_cases.go_on, settings, tmp_path, 4),
        *pair.call(fsdp_cases.go_on, plain, tmp_path, 4),
    ):
        assert_close(found["weights"], expected, 1e-9)


def test_consolidate(pair: Ranks, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = pair.call(fsdp_cases.save, SETTINGS, tmp_path, ["full", "full"])[0]["weights"]
    second, out = tmp_path / "step-00000002", tmp_path / "out" / "ordinary"
    sharded = load_checkpoint(second)
    state = {name: sharded.optimizer[name] for name in sharded.optimizer}
    assert main(["checkpoint", "consolidate", str(second), "--out", str(out)]) == 0
    assert (second / "shards").is_dir()
    assert main(["checkpoint", "consolidate", str(tmp_path / "step-00000001")]) == 0
    assert pointed(tmp_path, "latest") == second
    assert pointed(tmp_path, "best") == tmp_path / "step-00000001"
    for path, weights in ((out, wanted[1]), (tmp_path / "step-00000001", wanted[0])):
        assert not (path / "shards").exists()
        loaded = load_checkpoint(path)
        assert_same({name: loaded.weights[name] for name in weights}, weights)
        assert list(find_problems(path).values()) == [None]
    loaded = load_checkpoint(out)
    assert_same({name: loaded.optimizer[name] for name in state}, state)
    assert (loaded.state, loaded.objective, loaded.step) == (sharded.state, sharded.objective, sharded.step)
    assert main(["checkpoint", "consolidate", str(out)]) == 2
    assert "an ordinary checkpoint already" in capsys.readouterr().err
    assert main(["checkpoint", "consolidate", str(second), "--out", str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


def test_a_model_is_loaded_from_parts(pair: Ranks, tmp_path: Path) -> None:
    wanted = pair.call(fsdp_cases.save, SETTINGS, tmp_path, ["light"])[0]["weights"][0]
    model, _, _ = load_model(tmp_path / "step-00000001")
    assert_same(dict(model.state_dict()), wanted)


def test_a_save_that_fails_is_told_on_every_rank_and_leaves_the_old_one(pair: Ranks, tmp_path: Path) -> None:
    found = pair.call(fsdp_cases.save, SETTINGS, tmp_path, ["full", "full"], True)
    for each in found:
        assert "step-00000002: could not be written" in each["error"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["BEST", "LATEST", "step-00000001"]
    assert load_checkpoint(tmp_path).step == 1


def test_a_missing_part_is_damage(pair: Ranks, tmp_path: Path) -> None:
    pair.call(fsdp_cases.save, SETTINGS, tmp_path, ["full"])
    path = tmp_path / "step-00000001"
    first = sorted((path / "shards").iterdir())[0]
    first.unlink()
    with pytest.raises(CheckpointError, match=f"shards/{first.name}: missing"):
        load_checkpoint(path)


def test_parts_on_another_file_system_are_no_checkpoint(pair: Ranks, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    for each in pair.call(fsdp_cases.save_elsewhere, SETTINGS, folder):
        assert "step-00000001: rank 0 does not see what other processes have written" in each["error"]
        assert "run.out_dir" in each["error"]
    assert not [*folder.iterdir()]


def test_writers_wait_no_longer_than_others(pair: Ranks, tmp_path: Path) -> None:
    assert pair.call(fsdp_cases.patience_of_writers, tmp_path, 7.0) == [7.0, 7.0]


def test_a_file_that_the_manifest_does_not_list_is_not_read(pair: Ranks, tmp_path: Path) -> None:
    wanted = pair.call(fsdp_cases.save, SETTINGS, tmp_path, ["full"])[0]["weights"][0]
    shards = tmp_path / "step-00000001" / "shards"
    first = min(shards.iterdir())
    (shards / f"again-{first.name}").write_bytes(first.read_bytes())
    loaded = load_checkpoint(tmp_path)
    assert_same({name: loaded.weights[name] for name in wanted}, wanted)


class _Read(StoredTensors):
    """Large tensors that exist when they are asked for; counts those that are in memory."""

    def __init__(self) -> None:
        self.alive: list[weakref.ref[torch.Tensor]] = []
        self.most = 0
        self.shapes = {f"layers.{index}": (3, 2) for index in range(5)}

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = torch.full(self.shapes[name], float(name[-1]))
        self.alive = [*(each for each in self.alive if each() is not None), weakref.ref(tensor)]
        self.most = max(self.most, len(self.alive))
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def test_tensors_are_put_together_one_at_a_time(tmp_path: Path) -> None:
    tensors = _Read()
    write_tensors(tmp_path / "model.safetensors", tensors)
    assert tensors.most <= 2  # the next is made before the name of the last is given away
    assert_same(read_tensors(tmp_path / "model.safetensors"), dict(_Read()))

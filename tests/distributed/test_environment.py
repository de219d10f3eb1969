"""What torchrun, srun and --nproc say in the environment, and what is made of it."""

import pytest
import torch

from hornbook.distributed.device import device_of_rank
from hornbook.distributed.environment import RENDEZVOUS, Place, first_host, place_of
from hornbook.distributed.process_group import backend_for
from hornbook.errors import ConfigError

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
MASTER = {"MASTER_ADDR": "a", "MASTER_PORT": "29500"}
SRUN = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_ID": "2",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
    "SLURM_STEP_NUM_TASKS": "6",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1(x2)",
    "SLURM_STEP_NODELIST": "node[07-09,12],other",
}


def test_alone() -> None:
    assert place_of({}) == Place()
    assert place_of({"WORLD_SIZE": "1", "RANK": "0"}).world_size == 1


def test_torchrun() -> None:
    place = place_of(TORCHRUN | MASTER)
    assert (place.rank, place.world_size, place.local_rank, place.local_world_size) == (3, 4, 1, 2)
    assert (place.meeting_point, place.is_ours) == ("env://", False)


def test_our_own_launcher() -> None:
    place = place_of(TORCHRUN | {RENDEZVOUS: "/tmp/x/rendezvous"})
    assert (place.meeting_point, place.is_ours) == ("file:///tmp/x/rendezvous", True)


def test_srun() -> None:
    place = place_of(SRUN)
    assert (place.rank, place.world_size, place.local_rank, place.local_world_size) == (5, 6, 0, 1)
    assert place.meeting_point == f"tcp://node07:{15_000 + 77 * 31 + 2}"
    assert place_of(SRUN | {"MASTER_ADDR": "b", "MASTER_PORT": "1234"}).meeting_point == "tcp://b:1234"
    assert place_of(SRUN | {"WORLD_SIZE": "6"}) == place  # which the batch script exported
    assert place_of(SRUN | TORCHRUN | MASTER).meeting_point == "env://"  # torchrun started by srun


def test_a_batch_script_outside_of_a_step_is_alone() -> None:
    assert place_of({"SLURM_JOB_ID": "1", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) == Place()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("gpu-[003-005,9]", "gpu-003"),
        ("r1n[2,4]-ib,x", "r1n2-ib"),
        ("a.b.c,d", "a.b.c"),
        ("rack[0-3]node[1-8],x", "rack0node1"),
    ],
)
def test_the_first_host_of_a_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    ("environ", "phrase"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is not set"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "WORLD_SIZE = 'two' is no number"),
        (TORCHRUN, "MASTER_ADDR is not set"),
        (TORCHRUN | MASTER | {"RANK": "4"}, "makes this process 4 of 4"),
        (TORCHRUN | MASTER | {"LOCAL_RANK": "2"}, "on this machine 2 of 2"),
        (SRUN | {"SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST"),
    ],
)
def test_what_makes_no_sense_is_named(environ: dict[str, str], phrase: str) -> None:
    with pytest.raises(ConfigError) as caught:
        place_of(environ)
    assert phrase in str(caught.value)


def test_every_rank_has_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(rank=3, world_size=4, local_rank=1, local_world_size=2)
    assert device_of_rank("cpu", place) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert device_of_rank("auto", place) == torch.device("cuda:1")
    assert device_of_rank("cuda", place) == torch.device("cuda:1")
    assert chosen == [torch.device("cuda:1")] * 2
    with pytest.raises(ConfigError, match="need one each"):
        device_of_rank("cuda:0", place)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="2 processes on a machine with 1 CUDA"):
        device_of_rank("cuda", place)


def test_backends() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda:0")
    assert [backend_for(name, cpu) for name in ("auto", "gloo")] == ["gloo", "gloo"]
    assert [backend_for(name, cuda) for name in ("auto", "nccl", "gloo")] == ["cpu:gloo,cuda:nccl"] * 2 + ["gloo"]
    with pytest.raises(ConfigError, match="nccl"):
        backend_for("nccl", cpu)

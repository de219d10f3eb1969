"""Real processes, compared with one; what keeps a comparison from meaning something is said."""

import json

import pytest
import torch

from hornbook.config.load import load_config
from hornbook.distributed.process_group import ALONE, Processes
from hornbook.errors import ConfigError, HornbookError, TrainingError
from hornbook.selftest import verify_parallel
from hornbook.selftest.parallel_cases import Case, cut_down, verified
from hornbook.selftest.parallel_data import Tokens
from hornbook.selftest.parallel_difference import Difference
from hornbook.selftest.parallel_run import ANSWER, Task
from hornbook.selftest.verify_parallel import Settings, placed, verify
from tiny_project import make_project

CPU = {"run.device": "cpu", "run.threads": 1}


def loaded(**values):
    return load_config(None, values={**CPU, **values}).config


@pytest.mark.medium
def test_two_processes_train_as_one_does():
    said = []
    found = verify(loaded(), Settings(world_sizes=(2,), steps=6, numbers=("float64",)), said.append)
    assert [each.case.name for each in found[:5]] == ["one process", *["DDP"] * 2, *["DDP, sharded optimizer"] * 2]
    assert [each.case.accumulation for each in found[:5]] == [3, 1, 3, 1, 3]
    assert [each.verdict for each in found] == ["within"] * len(found)
    assert max(each.worst for each in found) > 0.0  # sums in another order: nothing was compared with itself
    assert {each.case.name for each in found} == {"one process", "DDP", "DDP, sharded optimizer", "FSDP2"}
    assert "cut down to 2 layers, d_model 32" in said[0]
    assert any("float64, one process, 3 micro-batch(es)" in line for line in said)


@pytest.mark.medium
def test_a_data_set_in_float32(tmp_path):
    config = load_config(make_project(tmp_path)).config
    said = []
    found = verify(config, Settings(world_sizes=(2,), steps=4, numbers=("float32",), full_size=True), said.append)
    assert str(tmp_path / "data") in said[0]
    assert [each.verdict for each in found] == ["within"] * len(found)


@pytest.mark.medium
def test_masked_diffusion_with_muon():
    config = loaded(**{"objective.kind": "masked_diffusion", "optim.kind": "muon"})
    found = verify(config, Settings(world_sizes=(2,), steps=4, numbers=("float64",)), lambda line: None)
    assert [each.verdict for each in found] == ["within"] * len(found)


def test_where_nothing_is_learned_nothing_is_compared():
    config = loaded(**{"optim.learning_rate": 1e-9})
    with pytest.raises(ConfigError, match=r"no tensor moved by more than .*raise optim.learning_rate or --steps"):
        verify(config, Settings(world_sizes=(2,), steps=1, numbers=("float64",)), lambda line: None)


@pytest.mark.medium
def test_what_a_case_cannot_do_is_one_message():
    """More NCCL than there is: found by the processes, told by the one that started them."""
    config = loaded(**{"distributed.backend": "nccl"})
    with pytest.raises(HornbookError, match=r'distributed\.backend = "nccl" is for CUDA devices') as caught:
        verify(config, Settings(world_sizes=(2,), steps=2, numbers=("float64",)), lambda line: None)
    assert "\n" not in str(caught.value)


def test_processes_begin_with_other_weights():
    """Or nobody would see that the first one's are not sent."""
    config = verified(cut_down(loaded()), 6)
    tokens = Tokens.of(config, is_small=True)
    case = Case(name="DDP", number="float64", world_size=2)
    models = [
        Task(config=config, tokens=tokens, rows=6, steps=1, device=torch.device("cpu"), processes=each)._model(
            config, case
        )
        for each in (ALONE, Processes(rank=1, world_size=2))
    ]
    for mine, other in zip(*(model.parameters() for model in models), strict=True):
        assert not torch.equal(mine, other)


def test_processes_that_did_not_find_one_another_prove_nothing(tmp_path, monkeypatch):
    def each_by_itself(module, folder, n):
        case = Case(name="DDP", number="float64")
        answer = Difference(case=case, parameters=0.0, losses=0.0, grad_norms=0.0, seconds=1.0)
        (folder / ANSWER).write_text(json.dumps([answer.to_json()]))

    monkeypatch.setattr(verify_parallel, "run_ranks", each_by_itself)
    with pytest.raises(TrainingError, match="expected the cases float64, DDP, 2 processes"):
        verify(loaded(), Settings(world_sizes=(2,), steps=1, numbers=("float64",)), lambda line: None)


@pytest.mark.parametrize(
    ("device", "count", "chosen"), [("auto", 1, "cpu"), ("auto", 2, "auto"), ("cuda", 1, "cuda"), ("auto", 0, "cpu")]
)
def test_the_device(device, count, chosen, monkeypatch):
    """By itself it takes the CPU where GPUs do not suffice; a GPU that was asked for is missed."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    config = load_config(None, values={"run.device": device}).config
    assert placed(config, 2).run.device == chosen

"""Adapters and frozen weights in many processes, against one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distributed import cases, fsdp_cases
from distributed.cases import Settings
from distributed.ranks import Ranks
from distributed.test_ddp import OPTIMIZERS, STEPS, assert_close, assert_same
from hornbook.checkpoint.load import load_checkpoint, load_model
from hornbook.config.lora import LoraConfig
from hornbook.distributed.process_group import ALONE
from hornbook.models.lora import merged

pytestmark = pytest.mark.medium

LORA = LoraConfig(rank=3, targets=("q_proj", "v_proj", "down_proj"))
PLAIN = Settings(lora=LORA)
WAYS = {
    "whole": replace(PLAIN, shard_optimizer=False),
    "sharded": PLAIN,
    "fully-sharded": replace(PLAIN, fully_sharded=True),
    "recomputed": replace(PLAIN, fully_sharded=True, activation_checkpointing=True),
}


def is_adapter(name: str) -> bool:
    return name.endswith(("lora_a", "lora_b"))


# Sums in another order, as in test_ddp.
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["adamw", "muon", "averages"])
def test_many_processes_train_as_one(ranks: Ranks, way: str, kind: str) -> None:
    settings = replace(WAYS[way], optim=OPTIMIZERS[kind])
    expected = cases.train(ALONE, settings, STEPS)
    first = cases.weights(cases.build(ALONE, settings))
    found = ranks.call(cases.train, settings, STEPS)
    for each in found:
        assert_same(each["weights"], found[0]["weights"])
        assert_close(each["weights"], expected["weights"], 1e-11)
        assert each["losses"] == pytest.approx(expected["losses"], rel=1e-11)
        assert each["norms"] == pytest.approx(expected["norms"], rel=1e-11)
        for name, tensor in each["weights"].items():
            assert torch.equal(tensor, first[name]) != is_adapter(name), name
    assert all(is_adapter(name.rpartition("/")[0]) for name in found[0]["state"][1])
    for mine, wanted in zip(found[0]["state"], expected["state"], strict=True):
        assert list(mine) == list(wanted)
        assert_close(mine, wanted, 1e-10)


def test_the_embedding_too(ranks: Ranks) -> None:
    lora = LoraConfig(rank=2, also_train=("token_embedding", "head"))
    for settings in (Settings(lora=lora, tied=False), Settings(lora=lora, tied=False, fully_sharded=True)):
        expected = cases.train(ALONE, settings, STEPS)
        for each in ranks.call(cases.train, settings, STEPS):
            assert_close(each["weights"], expected["weights"], 1e-11)


def test_any_strategy_goes_on_from_any_other(pair: Ranks) -> None:
    expected = cases.train(ALONE, PLAIN, 6)
    at_two = cases.train(ALONE, PLAIN, 2)["state"]
    at_four = pair.call(cases.resume, WAYS["fully-sharded"], at_two, 2, 4)[0]["state"]
    at_six = pair.call(cases.resume, PLAIN, at_four, 4, 6)[0]
    assert_close(at_six["weights"], expected["weights"], 1e-9)


def test_checkpoints_in_parts_hold_both_and_are_merged_to_be_used(pair: Ranks, tmp_path: Path) -> None:
    settings = replace(WAYS["fully-sharded"], dtype=torch.float32)
    wanted = pair.call(fsdp_cases.save, settings, tmp_path, ["light", "full"])[0]["weights"][1]
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.lora == LORA
    assert_same({name: checkpoint.weights[name] for name in wanted}, wanted)
    model, _, loaded = load_model(tmp_path)
    assert loaded.lora is None
    assert_same(dict(model.state_dict()), dict(merged(wanted, LORA)))
    resumed = pair.call(fsdp_cases.go_on, settings, tmp_path, 4)
    alone = fsdp_cases.go_on(ALONE, settings, tmp_path, 4)["weights"]
    for each in resumed:
        assert_close(each["weights"], alone, 1e-4)  # float32


def test_samples_come_from_a_whole_copy(pair: Ranks) -> None:
    settings = WAYS["fully-sharded"]
    found = pair.call(fsdp_cases.whole_copy, settings)
    alone = cases.build(ALONE, settings).model
    alone.load_state_dict(found[0]["weights"])
    assert torch.equal(found[0]["logits"], alone(torch.arange(6)[None]).detach())

"""Which cases there are, how steps are cut for them, and that none of them can be had without effort."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hornbook.config.load import load_config
from hornbook.data.batch import TokenBatch
from hornbook.distributed.process_group import Processes
from hornbook.selftest.parallel_cases import (
    Case,
    alone,
    case_config,
    cut_down,
    rows_for,
    together,
    verified,
)
from hornbook.selftest.parallel_data import Tokens, counted

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


@pytest.fixture(scope="module")
def config():
    return verified(cut_down(load_config(None).config), 18)


@pytest.mark.parametrize(("sizes", "rows"), [((2, 3), 18), ((2,), 6), ((4,), 12)])
def test_rows_can_be_shared_in_every_case(sizes, rows):
    assert rows_for(sizes) == rows


def test_cases(config):
    assert [case.accumulation for case in alone("float64")] == [1, 3]
    names = {case.name for case in together(config, "float64", 2)}
    assert names == {"DDP", "DDP, sharded optimizer", "FSDP2"}


@pytest.mark.parametrize(("world_size", "accumulation", "size"), [(1, 1, 18), (1, 3, 6), (2, 3, 3), (3, 3, 2)])
def test_the_configuration_of_a_case(config, world_size, accumulation, size):
    case = Case(name="DDP, sharded optimizer", number="float64", world_size=world_size, accumulation=accumulation)
    own = case_config(config, case, 18)
    assert own.train.micro_batch_size == size
    assert own.train.tokens_per_step == 18 * own.model.context_length
    assert own.distributed.shard_optimizer == (world_size > 1)
    assert own.distributed.bucket_size_mb == config.distributed.bucket_size_mb < 0.1


@pytest.mark.parametrize(
    "path", [path for path in CONFIGS if "[model]" in path.read_text()], ids=lambda path: path.stem
)
def test_every_example_can_be_cut_down(path, monkeypatch):
    monkeypatch.chdir(path.parents[1])
    made = verified(cut_down(load_config(path).config), 18)
    assert (made.model.d_model, made.model.context_length, made.train.precision) == (32, 16, "fp32")
    assert made.distributed.bucket_size_mb < 0.2


def test_some_rows_have_no_target_and_others_all():
    counts = [counted(18 + place, place, 18, 17).sum() for place in range(18)]
    assert counts[:2] == [0, 0]
    assert min(counts[2:]) >= 1
    assert counts[-1] == 17
    assert len(set(counts)) > 6
    assert np.array_equal(counted(25, 7, 18, 17), counted(25, 7, 18, 17))


def test_every_process_has_its_own_rows_of_the_same_step(config):
    tokens = Tokens.of(config, is_small=True)
    assert tokens.words == "random tokens, since there is no data set yet"

    def step(n: int, pieces: int) -> dict[int, TokenBatch]:
        own = case_config(config, Case(name="DDP", number="float64", world_size=n, accumulation=pieces), 18)
        rows = {}
        for rank in range(n):
            place = Processes(rank=rank, world_size=n)
            for batch in tokens.source(own, lookahead=1, rows=18, processes=place).step(4):
                rows |= dict(zip(batch.sample_ids.tolist(), batch.cut(1), strict=True))
        return rows

    whole = step(1, 1)
    assert list(whole) == list(range(72, 90))
    assert max(int(batch.tokens.max()) for batch in whole.values()) < tokens.vocab_size - 1  # the last is the mask
    for n, pieces in ((1, 3), (2, 1), (3, 3)):
        found = step(n, pieces)
        assert found.keys() == whole.keys()
        for sample, batch in found.items():
            assert torch.equal(batch.tokens, whole[sample].tokens)
            assert torch.equal(batch.loss_mask, whole[sample].loss_mask)


def test_tuning_is_verified_on_as_many_rows():
    values = {"data.stage": "sft", "train.sequences_per_step": 24, "objective.normalize": "sequence"}
    config = verified(cut_down(load_config(None, values=values).config), 18)
    assert (config.rows_per_step, config.objective.normalize) == (18, "sequence")

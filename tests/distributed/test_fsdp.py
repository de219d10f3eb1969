"""Fully sharded training against one process: real processes, parts of uneven size, two groups that are replicas."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distributed import cases, fsdp_cases
from distributed.cases import Settings
from distributed.ranks import Ranks
from distributed.test_ddp import OPTIMIZERS, STEPS, assert_close, assert_same
from hornbook.config.optim import LionConfig, MuonConfig, NAdamWConfig
from hornbook.distributed.parts import rows_of
from hornbook.distributed.process_group import ALONE

pytestmark = pytest.mark.medium

CUT_UP = Settings(fully_sharded=True)
EVERY = {**OPTIMIZERS, "nadamw": NAdamWConfig(), "lion": LionConfig(learning_rate=1e-3)}


@pytest.mark.parametrize(("n", "parts"), [(7, 3), (2, 3), (6, 2), (1, 4), (13, 4)])
def test_rows_are_cut_as_torch_cuts(n: int, parts: int) -> None:
    rows = torch.arange(n)
    chunks = list(torch.chunk(rows, parts))
    chunks += [rows[:0]] * (parts - len(chunks))
    for part, chunk in enumerate(chunks):
        assert rows[rows_of(n, part, parts)].tolist() == chunk.tolist()


# Sums in another order: some 1e-16 a step, which Adam's division by small roots can make a few hundred times larger.
@pytest.mark.parametrize("kind", EVERY)
def test_many_processes_train_as_one(ranks: Ranks, kind: str) -> None:
    settings = replace(CUT_UP, optim=EVERY[kind])
    expected = cases.train(ALONE, settings, STEPS)
    found = ranks.call(cases.train, settings, STEPS)
    for each in found:
        assert_same(each["weights"], found[0]["weights"])
        assert each["losses"] == found[0]["losses"]
        assert_close(each["weights"], expected["weights"], 1e-11)
        assert each["losses"] == pytest.approx(expected["losses"], rel=1e-11)
        assert each["norms"] == pytest.approx(expected["norms"], rel=1e-11)
        assert each["validated"] == pytest.approx(expected["validated"], rel=1e-11)
    assert [each["state"] is None for each in found] == [False] + [True] * (ranks.n - 1)
    for mine, wanted in zip(found[0]["state"], expected["state"], strict=True):
        assert list(mine) == list(wanted)
        assert_close(mine, wanted, 1e-10)


@pytest.mark.parametrize(
    "change",
    [{"micro_batches": 1}, {"tied": False}, {"activation_checkpointing": True}, {"dtype": torch.float32}],
    ids=["one-micro-batch", "untied", "activation-checkpointing", "float32"],
)
def test_however_the_step_is_made(ranks: Ranks, change: dict[str, object]) -> None:
    settings = replace(CUT_UP, **change)
    if settings.micro_batches == 1:
        settings = replace(settings, micro_batches=ranks.n)
    tolerance = 1e-11 if settings.dtype == torch.float64 else 1e-4
    expected = cases.train(ALONE, settings, STEPS)
    for each in ranks.call(cases.train, settings, STEPS):
        assert_close(each["weights"], expected["weights"], tolerance)


@pytest.mark.parametrize("rows", [9, 6, 4])  # even parts, uneven ones, and of four over three the last has none
def test_no_process_has_two_whole_matrices(ranks: Ranks, rows: int) -> None:
    for each in ranks.call(fsdp_cases.whole_matrices, rows):
        assert each == {"right": True, "at_once": 1}


def test_a_process_may_have_no_row_of_a_parameter(ranks: Ranks, tmp_path: Path) -> None:
    settings = replace(CUT_UP, optim=MuonConfig(ema_decay=0.9), qk_norm=True, head_dim=4)
    rows = ranks.call(fsdp_cases.what_is_where, settings)[-1]["rows"]
    assert (0 in rows.values()) == (ranks.n == 3)  # gains of four numbers
    expected = cases.train(ALONE, settings, STEPS)
    for each in ranks.call(cases.train, settings, STEPS):
        assert_close(each["weights"], expected["weights"], 1e-11)
        assert each["norms"] == pytest.approx(expected["norms"], rel=1e-11)
    ranks.call(fsdp_cases.save, settings, tmp_path, ["full"])
    resumed = ranks.call(fsdp_cases.go_on, settings, tmp_path, STEPS)
    assert_close(resumed[0]["weights"], expected["weights"], 1e-11)


def test_two_groups_of_two_are_replicas(four: Ranks) -> None:
    for kind in ("adamw", "muon"):
        settings = replace(CUT_UP, group_size=2, optim=EVERY[kind], micro_batches=8)
        expected = cases.train(ALONE, settings, STEPS)
        for each in four.call(cases.train, settings, STEPS):
            assert_close(each["weights"], expected["weights"], 1e-11)
            assert each["norms"] == pytest.approx(expected["norms"], rel=1e-11)
    where = four.call(fsdp_cases.what_is_where, settings)
    assert where[0]["rows"] == where[2]["rows"]
    assert where[0]["numbers"] + where[1]["numbers"] == sum(t.numel() for t in expected["weights"].values())


def test_each_process_keeps_its_part_under_bare_names(ranks: Ranks) -> None:
    alone = cases.build(ALONE, CUT_UP).model
    found = ranks.call(fsdp_cases.what_is_where, CUT_UP)
    for each in found:
        assert each["names"] == [name for name, _ in alone.named_parameters()]
        assert each["all_cut_up"]
    assert sum(each["numbers"] for each in found) == alone.n_parameters
    trained = ranks.call(cases.train, CUT_UP, 2)
    whole = cases.train(ALONE, CUT_UP, 2)
    assert max(each["state_bytes"] for each in trained) <= whole["state_bytes"] * {2: 0.6, 3: 0.45}[ranks.n]


def test_bfloat16_products_keep_float32_weights(pair: Ranks) -> None:
    settings = replace(CUT_UP, dtype=torch.float32, precision="bf16")
    expected = cases.train(ALONE, settings, STEPS)
    found = pair.call(cases.train, settings, STEPS)
    assert pair.call(fsdp_cases.what_is_where, settings)[0]["types"] == {"torch.float32"}
    # bfloat16 has 8 bits; what differs from autocast is that the layers' norms round their gains, too.
    assert found[0]["losses"] == pytest.approx(expected["losses"], rel=2.0**-8)
    assert_same(found[0]["weights"], found[1]["weights"])


def test_float16_gradients_are_scaled_and_an_overflow_moves_nobody(pair: Ranks) -> None:
    settings = replace(CUT_UP, dtype=torch.float32, precision="fp16")
    expected = fsdp_cases.scaled_steps(ALONE, settings)
    found = pair.call(fsdp_cases.scaled_steps, settings)
    assert_same(found[0]["weights"], found[1]["weights"])
    for each in (expected, *found):
        assert (each["overflowed"], each["unmoved"]) == ([True, False], True)
        assert each["norm"] == pytest.approx(expected["norm"], rel=2.0**-8)  # float16 has 11 bits


def test_the_same_twice_bit_for_bit_and_resumed(ranks: Ranks) -> None:
    settings = replace(CUT_UP, dtype=torch.float32, dropout=0.1)
    saved = ranks.call(cases.train, settings, 3)[0]["state"]
    resumed = ranks.call(cases.resume, settings, saved, 3, STEPS)
    unbroken = ranks.call(cases.train, settings, STEPS)
    assert_same(resumed[0]["weights"], unbroken[0]["weights"])
    assert resumed[0]["losses"] == unbroken[0]["losses"][3:]


@pytest.mark.parametrize("kind", ["adamw", "averages", "schedule_free", "muon"])
def test_any_strategy_goes_on_from_any_other(pair: Ranks, ranks: Ranks, kind: str) -> None:
    plain = Settings(optim=EVERY[kind])
    cut_up = replace(plain, fully_sharded=True)
    expected = cases.train(ALONE, plain, 8)
    at_two = cases.train(ALONE, plain, 2)["state"]
    at_four = ranks.call(cases.resume, cut_up, at_two, 2, 4)[0]
    at_six = pair.call(cases.resume, plain if ranks.n == 3 else cut_up, at_four["state"], 4, 6)[0]
    at_eight = cases.resume(ALONE, plain, at_six["state"], 6, 8)
    losses = at_four["losses"] + at_six["losses"] + at_eight["losses"]
    assert losses == pytest.approx(expected["losses"][2:], rel=1e-9)
    assert_close(at_eight["weights"], expected["weights"], 1e-9)


def test_what_does_not_fit_is_listed_on_every_rank(pair: Ranks) -> None:
    model, optimizer = cases.train(ALONE, CUT_UP, 1)["state"]
    first, *_ = optimizer
    wrong = (model, {name: tensor for name, tensor in optimizer.items() if name != first})
    wrong[1]["nobody/exp_avg"] = torch.zeros(1)
    said = pair.call(cases.load_what_does_not_fit, CUT_UP, wrong)
    assert said[0] == said[1]
    assert f"missing {first}" in said[0]
    assert "unexpected nobody/exp_avg" in said[0]


def test_two_passes_before_one_backward(ranks: Ranks) -> None:
    expected = fsdp_cases.two_passes(ALONE, CUT_UP)
    for each in ranks.call(fsdp_cases.two_passes, CUT_UP):
        assert each["losses"] == pytest.approx(expected["losses"], rel=1e-11)
        assert_close(each["weights"], expected["weights"], 1e-11)


def test_norms_are_those_of_whole_tensors(ranks: Ranks) -> None:
    settings = replace(CUT_UP, dtype=torch.float32)
    expected = fsdp_cases.watch_norms(ALONE, settings)
    assert len(expected) > 10
    for each in ranks.call(fsdp_cases.watch_norms, settings):
        assert each == pytest.approx(expected, rel=1e-4)  # sums in float32 in another order, two steps of Adam long


def test_norms_over_replicas_are_those_of_whole_tensors(four: Ranks) -> None:
    settings = replace(CUT_UP, dtype=torch.float32, group_size=2, micro_batches=8)
    expected = fsdp_cases.watch_norms(ALONE, settings)
    for each in four.call(fsdp_cases.watch_norms, settings):
        assert each == pytest.approx(expected, rel=1e-4)


def test_where_all_fail_in_backward_the_next_step_is_right(ranks: Ranks) -> None:
    expected = ranks.call(cases.train, CUT_UP, 2)
    for each in ranks.call(fsdp_cases.all_fail_in_backward, CUT_UP):
        assert each["raised"]
        assert_same(each["weights"], expected[0]["weights"])


def test_a_pass_that_one_process_cannot_finish_ends_the_run(pair: Ranks) -> None:
    for said in pair.call(fsdp_cases.give_up, CUT_UP):
        assert "(no more)" in said
        assert "micro_batch_size" in said


def test_groups_that_the_processes_do_not_make(pair: Ranks) -> None:
    for said in pair.call(fsdp_cases.group_wrongly):
        assert "shard_group_size = 3 is no divisor of the 2 processes" in said


def test_samples_come_from_a_whole_copy_on_the_first(pair: Ranks) -> None:
    found = pair.call(fsdp_cases.whole_copy, CUT_UP)
    alone = cases.build(ALONE, CUT_UP).model
    alone.load_state_dict(found[0]["weights"])
    assert torch.equal(found[0]["logits"], alone(torch.arange(6)[None]).detach())
    assert found[1]["logits"] is None

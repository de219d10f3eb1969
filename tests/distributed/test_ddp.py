"""Data parallel against one process: real processes, uneven micro-batches, every way a step can go wrong."""

import pytest
import torch

from distributed import cases
from distributed.cases import Settings
from distributed.ranks import Ranks
from hornbook.config.optim import AdamWConfig, MuonConfig, ScheduleFreeAdamWConfig, SgdConfig
from hornbook.distributed.process_group import ALONE

pytestmark = pytest.mark.medium

STEPS = 4
OPTIMIZERS = {
    "adamw": AdamWConfig(learning_rate=1e-2),
    "averages": AdamWConfig(learning_rate=1e-2, ema_decay=0.9),
    "schedule_free": ScheduleFreeAdamWConfig(learning_rate=1e-2),
    "muon": MuonConfig(),
    "sgd": SgdConfig(learning_rate=0.1, momentum=0.9),
}


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        scale = tensor.abs().max().clamp_min(1e-30)
        assert ((found[name] - tensor).abs().max() / scale).item() <= tolerance, name


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


# Sums in another order: some 1e-16 a step, which Adam's division by small roots can make a few hundred times larger.
@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_many_processes_train_as_one(ranks: Ranks, kind: str, shard: bool) -> None:
    settings = Settings(optim=OPTIMIZERS[kind], shard_optimizer=shard)
    expected = cases.train(ALONE, settings, STEPS)
    found = ranks.call(cases.train, settings, STEPS)
    for each in found:
        assert_same(each["weights"], found[0]["weights"])
        assert each["losses"] == found[0]["losses"]
        assert_close(each["weights"], expected["weights"], 1e-11)
        assert each["losses"] == pytest.approx(expected["losses"], rel=1e-11)
        assert each["norms"] == pytest.approx(expected["norms"], rel=1e-11)
        assert each["validated"] == pytest.approx(expected["validated"], rel=1e-11)
        for sums, wanted in zip(each["metrics"], expected["metrics"], strict=True):
            assert sums.keys() == wanted.keys()
            assert all(sums[name] == pytest.approx(wanted[name], rel=1e-6) for name in wanted)
    assert [each["state"] is None for each in found] == [False] + [True] * (ranks.n - 1)
    for mine, wanted in zip(found[0]["state"], expected["state"], strict=True):
        assert list(mine) == list(wanted)
        assert_close(mine, wanted, 1e-10)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(micro_batches=1),
        Settings(bucket_bytes=0),
        Settings(bucket_bytes=1),
        Settings(tied=False),
        Settings(dtype=torch.float32),
    ],
    ids=["one-micro-batch", "one-bucket", "a-bucket-each", "untied", "float32"],
)
def test_however_the_step_is_cut(ranks: Ranks, settings: Settings) -> None:
    if settings.micro_batches == 1:
        settings = Settings(micro_batches=ranks.n)
    tolerance = 1e-11 if settings.dtype == torch.float64 else 1e-4
    expected = cases.train(ALONE, settings, STEPS)
    for each in ranks.call(cases.train, settings, STEPS):
        assert_close(each["weights"], expected["weights"], tolerance)


def test_shards_change_no_bit_and_share_the_memory(ranks: Ranks) -> None:
    whole = ranks.call(cases.train, Settings(shard_optimizer=False), STEPS)
    shards = ranks.call(cases.train, Settings(), STEPS)
    assert_same(shards[0]["weights"], whole[0]["weights"])
    for mine, wanted in zip(shards[0]["state"], whole[0]["state"], strict=True):
        assert_same(mine, wanted)
    assert sum(each["state_bytes"] for each in shards) == whole[0]["state_bytes"]
    largest = max(each["state_bytes"] for each in shards)
    assert largest <= whole[0]["state_bytes"] * {2: 0.6, 3: 0.45}[ranks.n]


@pytest.mark.parametrize("kind", ["averages", "schedule_free", "muon"])
def test_foreign_state_is_never_made(ranks: Ranks, kind: str) -> None:
    settings = Settings(optim=OPTIMIZERS[kind])
    assert sum(ranks.call(cases.state_at_first, settings)) == cases.state_at_first(ALONE, settings)


def test_the_same_twice_bit_for_bit(pair: Ranks) -> None:
    settings = Settings(dtype=torch.float32, dropout=0.1)
    first, second = (pair.call(cases.train, settings, STEPS)[0] for _ in range(2))
    assert_same(first["weights"], second["weights"])


@pytest.mark.parametrize("kind", ["adamw", "averages", "schedule_free", "muon"])
def test_any_number_of_processes_goes_on_from_any_other(pair: Ranks, ranks: Ranks, kind: str) -> None:
    settings = Settings(optim=OPTIMIZERS[kind])
    whole = Settings(optim=OPTIMIZERS[kind], shard_optimizer=False)
    expected = cases.train(ALONE, settings, 8)
    at_two = cases.train(ALONE, settings, 2)["state"]
    at_four = pair.call(cases.resume, settings, at_two, 2, 4)[0]
    at_six = ranks.call(cases.resume, whole if ranks.n == 3 else settings, at_four["state"], 4, 6)[0]
    at_eight = cases.resume(ALONE, settings, at_six["state"], 6, 8)
    losses = at_four["losses"] + at_six["losses"] + at_eight["losses"]
    assert losses == pytest.approx(expected["losses"][2:], rel=1e-9)
    assert_close(at_eight["weights"], expected["weights"], 1e-9)


def test_resumed_on_as_many_is_bit_for_bit(ranks: Ranks) -> None:
    settings = Settings(dtype=torch.float32, dropout=0.1)
    saved = ranks.call(cases.train, settings, 3)[0]["state"]
    resumed = ranks.call(cases.resume, settings, saved, 3, STEPS)
    unbroken = ranks.call(cases.train, settings, STEPS)
    assert_same(resumed[0]["weights"], unbroken[0]["weights"])
    assert resumed[0]["losses"] == unbroken[0]["losses"][3:]


def test_what_does_not_fit_is_listed_on_every_rank(pair: Ranks) -> None:
    model, optimizer = cases.train(ALONE, Settings(), 1)["state"]
    first, *_, last = optimizer
    wrong = (model, {name: tensor for name, tensor in optimizer.items() if name not in (first, last)})
    wrong[1]["nobody/exp_avg"] = torch.zeros(1)
    said = pair.call(cases.load_what_does_not_fit, Settings(), wrong)
    assert said[0] == said[1]
    for phrase in (f"missing {first}", f"missing {last}", "unexpected nobody/exp_avg"):
        assert phrase in said[0]


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_unused_and_frozen_parameters(ranks: Ranks, shard: bool) -> None:
    found = ranks.call(cases.branches, shard)
    for each in found:
        assert each["buffer"] == [7.0, 7.0]
        assert_same(each["weights"], found[0]["weights"])
        for step, grads in enumerate(each["grads"]):
            nobody = {name for name, grad in grads.items() if grad is None}
            expected = {"frozen.weight", "frozen.bias", "never.weight", "never.bias"}
            assert nobody == expected | (set() if step == 0 else {"right.weight", "right.bias"})
            for name in set(grads) - nobody:
                assert torch.equal(grads[name], found[0]["grads"][step][name])
    model = cases.Branches()
    assert torch.equal(found[0]["weights"]["never.weight"], model.never.weight.detach())
    for rank in range(ranks.n):
        x = torch.arange(3.0, dtype=torch.float64) + 1 + rank
        (model(x, right=rank == 0) + model(2 * x, right=False)).backward()
    for name in ("left.weight", "right.weight"):
        expected_grad = dict(model.named_parameters())[name].grad
        torch.testing.assert_close(found[0]["grads"][0][name], expected_grad, rtol=1e-12, atol=0.0)


def test_sums_start_in_one_order_and_only_with_the_last_micro_batch(ranks: Ranks) -> None:
    found = ranks.call(cases.sums_started)
    for each in found:
        assert each["before"] == []
        assert len(each["planned"]) > 2
        assert each["last"] == each["planned"] == found[0]["planned"]


@pytest.mark.parametrize("who", [(0, 1, 2), (1,)], ids=["all", "one"])
def test_a_failure_in_the_last_backward_leaves_everything_usable(ranks: Ranks, who: tuple[int, ...]) -> None:
    found = ranks.call(cases.fail_in_backward, who, True)
    expected = ranks.call(cases.train, Settings(shard_optimizer=False), 2)
    for rank, each in enumerate(found):
        assert each["raised"] == (rank in who)
        assert_same(each["weights"], expected[0]["weights"])


def test_a_failure_in_an_earlier_backward_leaves_everything_usable(ranks: Ranks) -> None:
    found = ranks.call(cases.fail_in_backward, (0, 1, 2), False)
    expected = ranks.call(cases.train, Settings(shard_optimizer=False), 2)
    for each in found:
        assert each["raised"]
        assert_same(each["weights"], expected[0]["weights"])


def test_where_one_runs_out_of_memory_all_begin_the_step_again(ranks: Ranks) -> None:
    found = ranks.call(cases.run_out_of_memory)
    expected = cases.train(ALONE, Settings(), 1)
    for rank, each in enumerate(found):
        assert each["raised"] == ("no more" if rank == 1 else "in another process")
        assert each["loss"] == pytest.approx(expected["losses"][0], rel=1e-12)
        assert_close(each["weights"], expected["weights"], 1e-11)


def test_what_processes_tell_one_another(ranks: Ranks) -> None:
    for each in ranks.call(cases.talk):
        assert each["first"] == {"rank": 0, "text": "äöü", "none": None}
        assert each["refused"] == "rank 0 says no"
        others = ", ".join(str(rank) for rank in range(1, ranks.n))
        assert f"the thing of rank {others} is another" in each["differs"]
        assert each["any"] == [True, False]
        assert each["everyones"] == [[rank] for rank in range(ranks.n)]

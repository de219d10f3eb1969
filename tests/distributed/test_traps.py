"""Bugs that data parallel training is known for, one test each; scripts/mutations_of_parallel.py puts them in."""

import pytest
import torch

from distributed import cases, traps
from distributed.cases import Branches, Settings
from distributed.ranks import Ranks
from hornbook.distributed.process_group import ALONE
from hornbook.distributed.strategy import Flags

pytestmark = pytest.mark.medium


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """To what sums in another order make in float64, a few hundred times larger by Adam's small roots."""
    for name, tensor in expected.items():
        assert (found[name] - tensor).abs().max() <= 1e-11 * tensor.abs().max(), name


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_a_skipped_step_leaves_nothing_behind(pair: Ranks, shard: bool) -> None:
    settings = Settings(shard_optimizer=shard)
    expected = traps.skip_one(ALONE, settings)
    for found in pair.call(traps.skip_one, settings):
        assert found["reason"] == expected["reason"] == "loss_spike"
        assert found["norms"] == pytest.approx(expected["norms"], rel=1e-11)
        assert_close(found["weights"], expected["weights"])


def test_everybody_begins_with_the_first_ones_buffers(pair: Ranks) -> None:
    assert pair.call(traps.buffers_at_the_start) == [[7.0, 7.0], [7.0, 7.0]]


def test_who_uses_a_parameter_changes_from_step_to_step(pair: Ranks) -> None:
    x = torch.arange(3.0, dtype=torch.float64)
    for found in pair.call(traps.used_in_turn):
        assert found[2] == [None, None]
        for step in (0, 1):
            model = Branches()
            model((step + 1) * x, right=True).backward()
            for gradient, parameter in zip(found[step], model.right.parameters(), strict=True):
                assert gradient is not None
                torch.testing.assert_close(gradient, parameter.grad, rtol=1e-12, atol=0.0)


def test_what_one_wants_all_do(pair: Ranks) -> None:
    for found in pair.call(traps.wants):
        assert found == [Flags(skip=True, out_of_time=True), Flags()]


def test_metrics_are_means_over_all_tokens(pair: Ranks) -> None:
    """Nearly all of them are on one rank."""
    expected = cases.train(ALONE, Settings(), 1)["metrics"]
    for found in pair.call(cases.train, Settings(), 1):
        for name, (total, weight) in expected[0].items():
            sums = found["metrics"][0][name]
            assert sums[0] / sums[1] == pytest.approx(total / weight, rel=1e-6)


def test_dropout_belongs_to_the_micro_batch(pair: Ranks) -> None:
    settings = Settings(dropout=0.2)
    expected = cases.train(ALONE, settings, 2)
    for found in pair.call(cases.train, settings, 2):
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-11)
        assert_close(found["weights"], expected["weights"])

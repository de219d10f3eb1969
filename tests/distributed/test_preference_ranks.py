"""Preferences on two processes are those on one, by both likelihoods; the reference is nobody's to sum."""

import pytest

from distributed import preference_cases
from distributed.cases import Settings
from distributed.ranks import Ranks
from distributed.test_ddp import assert_close, assert_same
from hornbook.distributed.process_group import ALONE
from training.preference_rig import LIKELIHOODS

pytestmark = pytest.mark.medium


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("fully_sharded", [False, True], ids=["whole", "cut up"])
def test_two_processes_prefer_as_one(pair: Ranks, likelihood: str, fully_sharded: bool) -> None:
    settings = Settings(fully_sharded=fully_sharded)
    expected = preference_cases.train(ALONE, settings, likelihood, 3)
    found = pair.call(preference_cases.train, settings, likelihood, 3)
    for each in found:
        assert_same(each["weights"], found[0]["weights"])
        # As of next-token training: sums in another order, which Adam's division makes larger.
        assert_close(each["weights"], expected["weights"], 1e-10)
        assert each["losses"] == pytest.approx(expected["losses"], rel=1e-11)
        assert each["norms"] == pytest.approx(expected["norms"], rel=1e-10)
        assert each["validated"] == pytest.approx(expected["validated"], rel=1e-6)
        for sums, wanted in zip(each["metrics"], expected["metrics"], strict=True):
            assert all(sums[name] == pytest.approx(wanted[name], rel=1e-6) for name in wanted)
        assert not each["moved"]
        assert each["bucketed"] in (None, each["trained"])

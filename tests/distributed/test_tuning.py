"""Tuning does not depend on how its rows, which have from one target to nearly all, are shared out."""

import pytest
import torch

from distributed import tuning_cases
from distributed.ranks import Ranks
from hornbook.distributed.process_group import ALONE

CASES = [
    (kind, normalize, packing)
    for kind in ("next_token", "masked_diffusion")
    for normalize in ("token", "sequence")
    for packing in (True, False)
]
OTHERS = [("block_diffusion", "token", False), ("joint", "token", True), ("joint", "sequence", False)]


def same(found: dict, expected: dict) -> None:
    """To rounding: in float64 sums in another order, times three steps of Adam."""
    assert found["tokens"] == expected["tokens"]
    assert found["trained"] == expected["trained"]
    for name in ("losses", "norms"):
        assert found[name] == pytest.approx(expected[name], rel=1e-12)
    assert found["validated"] == pytest.approx(expected["validated"], rel=1e-11)
    for name, weight in expected["weights"].items():
        assert torch.allclose(found["weights"][name], weight, rtol=0, atol=1e-10), name


@pytest.mark.parametrize(("kind", "normalize", "packing"), [*CASES, *OTHERS])
def test_accumulation_changes_nothing(kind: str, normalize: str, packing: bool) -> None:
    whole = tuning_cases.tuned(ALONE, kind, normalize, packing, 12)
    for size in (1, 4):
        same(tuning_cases.tuned(ALONE, kind, normalize, packing, size), whole)


@pytest.mark.medium
@pytest.mark.parametrize(("kind", "normalize", "packing"), CASES)
def test_two_processes_tune_as_one(pair: Ranks, kind: str, normalize: str, packing: bool) -> None:
    whole = tuning_cases.tuned(ALONE, kind, normalize, packing, 12)
    for each in pair.call(tuning_cases.tuned, kind, normalize, packing, 2):
        same(each, whole)

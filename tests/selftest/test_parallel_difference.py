"""When two trainings are the same: what is relative to what, and what nothing can hide behind."""

import math

import pytest
import torch

from hornbook.selftest.parallel_cases import Case
from hornbook.selftest.parallel_difference import Difference, of_numbers, of_tensors, table

EXPECTED = {"big": torch.tensor([[1.0, -4.0]]), "small": torch.tensor([0.01, 0.02]), "nothing": torch.zeros(3)}


def changed(name: str, by: float) -> dict[str, torch.Tensor]:
    return {**EXPECTED, name: EXPECTED[name] + by}


@pytest.mark.parametrize(
    ("name", "by", "expected"),
    [
        ("big", 0.4, 0.1),  # of the tensor's largest value, whatever its sign
        ("small", 0.002, 0.1),  # and not of the largest of all
        ("nothing", 0.0004, 0.1),  # of a thousandth of the largest of all, where it has no size of its own
    ],
)
def test_each_tensor_by_its_own_size(name: str, by: float, expected: float) -> None:
    assert of_tensors(changed(name, by), EXPECTED) == pytest.approx(expected, rel=1e-5)


def test_the_largest_counts() -> None:
    found = {**changed("big", 0.4), "small": EXPECTED["small"] + 0.02}
    assert of_tensors(found, EXPECTED) == pytest.approx(1.0, rel=1e-5)
    assert of_tensors(dict(EXPECTED), EXPECTED) == 0.0


@pytest.mark.parametrize(
    "found",
    [
        {name: tensor for name, tensor in EXPECTED.items() if name != "nothing"},
        {**EXPECTED, "more": torch.zeros(1)},
        {**EXPECTED, "big": torch.tensor([1.0, -4.0])},
        changed("small", math.nan),
        changed("small", math.inf),
    ],
    ids=["missing", "more", "shape", "nan", "inf"],
)
def test_nothing_can_be_left_out(found: dict[str, torch.Tensor]) -> None:
    assert of_tensors(found, EXPECTED) == math.inf


def test_the_scale_is_the_references() -> None:
    assert of_tensors({"a": torch.tensor([1e9])}, {"a": torch.tensor([1.0])}) == pytest.approx(1e9)


def test_numbers() -> None:
    assert of_numbers([5.0, 2.02], [5.0, 2.0]) == pytest.approx(0.01)
    assert of_numbers([5.0, 0.005], [5.0, 0.0]) == pytest.approx(1.0)
    assert of_numbers([5.0], [5.0, 2.0]) == math.inf
    assert of_numbers([5.0, math.nan], [5.0, 2.0]) == math.inf


def difference(number: str, **values: float) -> Difference:
    given = {"parameters": 0.0, "losses": 0.0, "grad_norms": 0.0, **values}
    case = Case(name="DDP", number=number, world_size=2, accumulation=3)
    return Difference(case=case, seconds=1.5, **given)


@pytest.mark.parametrize("name", ["parameters", "losses", "grad_norms"])
def test_in_float64_all_three_are_judged(name: str) -> None:
    assert difference("float64", **{name: 1e-9}).verdict == "within"
    assert difference("float64", **{name: 1.1e-9}).verdict == "OVER"
    assert difference("float64", **{name: math.inf}).verdict == "OVER"


def test_in_float32_losses_and_norms_are() -> None:
    assert difference("float32", losses=1e-5, parameters=0.1, grad_norms=1e-3).verdict == "within"
    assert difference("float32", losses=1.1e-5).verdict == "OVER"
    # Divided by the processes as well: where it is clipped, and where Adam divides by it, only its norm can tell.
    assert difference("float32", grad_norms=0.5).verdict == "OVER"


def test_it_goes_through_a_file() -> None:
    made = difference("float64", parameters=1e-12)
    assert Difference.from_json(made.to_json()) == made


def test_the_table() -> None:
    rows = [difference("float64", parameters=2e-9), difference("float32", losses=1e-6)]
    assert table(rows) == [
        "float64: largest relative differences from one process; parameters within 1e-09, losses within 1e-09, "
        "norms within 1e-09",
        "  case                    processes  micro-batches  parameters    losses     norms  verdict",
        "  DDP                             2              3     2.0e-09   0.0e+00   0.0e+00  OVER",
        "float32: largest relative differences from one process; losses within 1e-05, norms within 1e-03",
        "  case                    processes  micro-batches  parameters    losses     norms  verdict",
        "  DDP                             2              3     0.0e+00   1.0e-06   0.0e+00  within",
    ]

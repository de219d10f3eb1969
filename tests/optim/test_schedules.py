"""Schedules against closed forms: the numbers of the papers and the ends of the run."""

import math

import pytest

from hornbook.config.optim import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    NoamSchedule,
    ScheduleConfig,
    WsdSchedule,
)
from hornbook.optim.schedules import multiplier

ALL: list[ScheduleConfig] = [
    ConstantSchedule(warmup_steps=5),
    CosineSchedule(),
    CosineSchedule(warmup_steps=7, final_fraction=0.0),
    LinearSchedule(warmup_fraction=0.1),
    WsdSchedule(),
    WsdSchedule(warmup_steps=3, decay_shape="sqrt"),
    WsdSchedule(decay_fraction=1.0, decay_shape="cosine"),
    NoamSchedule(warmup_steps=10),
]


def updates(schedule: ScheduleConfig, total: int, counts: list[int], d_model: int = 512) -> list[float]:
    """The multiplier of the u-th update, counted from 1 as the papers do."""
    return [multiplier(schedule, count - 1, total, d_model) for count in counts]


def test_noam_is_the_formula_of_the_paper() -> None:
    values = updates(NoamSchedule(warmup_steps=4000), 200_000, [1, 100, 4000, 200_000])
    assert values == pytest.approx([1.747e-7, 1.747e-5, 6.988e-4, 9.88e-5], rel=5e-4)


def test_cosine_with_warmup_of_the_textbook() -> None:
    # Peak 1e-3, floor 1e-4, warm-up 50, end 4500: 25 -> 5e-4, 50 -> 1e-3, half-way 2275 -> 5.5e-4, then 1e-4 for ever.
    schedule = CosineSchedule(warmup_steps=50, final_fraction=0.1)
    values = [1e-3 * value for value in updates(schedule, 4500, [25, 50, 2275, 4500, 4501, 9000])]
    assert values == pytest.approx([5e-4, 1e-3, 5.5e-4, 1e-4, 1e-4, 1e-4], rel=1e-12)


def test_linear_is_a_line_from_the_peak_to_the_final_fraction() -> None:
    values = updates(LinearSchedule(warmup_steps=2, final_fraction=0.2), 6, [1, 2, 3, 4, 5, 6, 7])
    assert values == pytest.approx([0.5, 1.0, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_final_fraction_zero_is_reached_one_update_past_the_end() -> None:
    assert updates(LinearSchedule(), 4, [1, 2, 3, 4, 5]) == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.25])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("linear", [1.0, 0.775, 0.55, 0.325, 0.1]),
        ("sqrt", [1.0, 0.55, 0.1 + 0.9 * (1 - math.sqrt(0.5)), 0.1 + 0.9 * (1 - math.sqrt(0.75)), 0.1]),
        ("cosine", [1.0, 0.1 + 0.45 * (1 + math.sqrt(0.5)), 0.55, 0.1 + 0.45 * (1 - math.sqrt(0.5)), 0.1]),
    ],
)
def test_wsd_warms_up_stays_and_decays(shape: str, expected: list[float]) -> None:
    schedule = WsdSchedule(warmup_steps=4, decay_fraction=0.2, decay_shape=shape, final_fraction=0.1)
    assert updates(schedule, 20, [2, 4, 5, 10, 16]) == pytest.approx([0.5, 1.0, 1.0, 1.0, 1.0])
    assert updates(schedule, 20, [16, 17, 18, 19, 20]) == pytest.approx(expected)


def test_wsd_past_its_budget_is_clamped() -> None:
    # The unclamped line (budget 4800, decay 960, 3e-3 to 1e-5) would be negative at 4810.
    schedule = WsdSchedule(decay_fraction=0.2, final_fraction=1e-5 / 3e-3)
    assert 3e-3 * updates(schedule, 4800, [4810])[0] == pytest.approx(1e-5)


def test_warmup_fraction_is_a_fraction_of_the_run() -> None:
    as_steps, as_fraction = ConstantSchedule(warmup_steps=30), ConstantSchedule(warmup_fraction=0.1)
    assert updates(as_steps, 300, list(range(1, 301))) == updates(as_fraction, 300, list(range(1, 301)))


@pytest.mark.parametrize("schedule", ALL, ids=lambda schedule: f"{schedule.kind}")
@pytest.mark.parametrize("total", [1, 2, 3, 40])
def test_no_update_is_wasted_and_the_end_is_kept(schedule: ScheduleConfig, total: int) -> None:
    values = [multiplier(schedule, step, total, 16) for step in range(total + 5)]
    assert all(0.0 < value <= 1.0 for value in values)
    assert set(values[total:]) == {values[total - 1]}
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


def test_without_warmup_the_first_update_is_at_the_peak() -> None:
    for schedule in (ConstantSchedule(), CosineSchedule(), LinearSchedule(), WsdSchedule()):
        assert multiplier(schedule, 0, 100, 16) == 1.0


def test_warmup_longer_than_the_run_is_cut_short() -> None:
    assert updates(CosineSchedule(warmup_steps=10), 4, [1, 4, 5]) == pytest.approx([0.1, 0.4, 0.4])

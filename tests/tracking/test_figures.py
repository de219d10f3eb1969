import math

import pytest

from hornbook.tracking.figures import count, downsample, duration, parts, printable, sparkline


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0"), (950, "950"), (12_345, "12.3k"), (4_500_000, "4.5M"), (1.2e9, "1.2G"), (-2e3, "-2k")]
)
def test_count(number, said):
    assert count(number) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05"), (-1, "0:00"), (math.inf, "?")]
)
def test_duration(seconds, said):
    assert duration(seconds) == said


def test_parts_keep_one_order_and_leave_out_what_they_do_not_know():
    values = {"train/mfu": 0.315, "train/loss": 2.5, "train/learning_rate": 3e-4, "train/x": 1, "train/grad_norm": None}
    assert parts(values) == ["loss 2.5000", "lr 3.00e-04", "MFU 31.5%"]
    assert parts({"train/seconds_left": 125, "train/peak_memory_bytes": 1.5e9}) == ["peak 1.5GB", "2:05 left"]
    assert parts({"train/loss": math.nan}) == ["loss nan"]
    by_masking = {"val/nll_p75_100": 4.0, "val/nll_p0_25": 1.0, "val/diffusion_nll": 2.5}
    assert parts(by_masking) == ["diffusion at most 2.5000", "masked up to 25% 1.000", "100% 4.000"]
    preferred = {"train/rewards/margin": 0.25, "train/rewards/chosen": 1.0, "train/rewards/accuracy": 0.9}
    preferred["train/rewards/score_variance"] = 0.012
    assert parts(preferred) == ["accuracy 90.0%", "margin 0.250", "its variance 0.012"]


def test_downsample_keeps_the_mean_of_equal_parts():
    assert downsample([1, 3, 5, 7], 2) == [2, 6]
    assert downsample([1, math.nan, 2, math.inf], 4) == [1, 2]
    assert len(downsample(list(range(1000)), 60)) == 60


def test_sparkline_spans_its_bars():
    assert sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8) == ["█▇▆▅▄▃▂▁"]
    assert sparkline([2, 2], 8) == ["▁▁"]
    assert sparkline([math.nan], 8) == []


def test_sparkline_of_several_rows_fills_from_below():
    assert sparkline([16, 12, 9, 8, 4, 1], 6, rows=2) == ["█▄▁   ", "████▄▁"]


def test_sparkline_from_zero_shows_noise_as_noise_and_a_spike_does_not_flatten_the_rest():
    assert sparkline([100, 101, 99, 100], 4, low=0.0) == ["████"]
    assert sparkline([1, 2, 1, 2, 1, 2, 1, 2, 1, 900], 10, share_above=0.1) == ["▁█▁█▁█▁█▁█"]
    assert sparkline([0, 0], 4, low=0.0) == ["▁▁"]


def test_printable_disarms_control_characters():
    assert printable("a\x1b[2J\rb\n\tc é") == "a�[2J�b\n\tc é"
    assert printable("\x9b31m\x7f\ud800") == "�31m��"


def test_printable_leaves_all_that_is_text():
    text = "日本\u3000語 10\u00a0km 👩\u200d🔬 \u202fà"
    assert printable(text) == text

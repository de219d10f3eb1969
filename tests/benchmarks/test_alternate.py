import time

import pytest

from hornbook.benchmarks.alternate import alternate


def test_the_ratio_is_theirs_over_ours_and_survives_a_disturbed_block():
    calls = []

    def ours():
        calls.append("ours")
        time.sleep(0.05 if calls.count("ours") == 3 else 0.004)

    def theirs():
        calls.append("theirs")
        time.sleep(0.012)

    ratio = alternate(ours, theirs, blocks=5)
    assert ratio.median == pytest.approx(3.0, rel=0.35)
    assert ratio.low <= ratio.median <= ratio.high
    assert ratio.low < 1.0, "the disturbed block is in the range, not in the median"
    assert calls[:2] == ["ours", "theirs"]
    assert calls[2:6] == ["theirs", "ours", "ours", "theirs"], "who goes first alternates"

"""Are these samples from this distribution?"""

from collections import Counter
from collections.abc import Iterable

import torch

from diffusion_exactness.oracles import Distribution


def p_value(samples: Iterable[tuple[int, ...]], expected: Distribution) -> float:
    """Pearson's chi-square test: how probable a deviation at least this large is. 0 for an impossible sample.

    Outcomes expected fewer than five times are taken together, as the test is good for large counts only.
    """
    found = Counter(samples)
    n = sum(found.values())
    if any(not expected.get(outcome) for outcome in found):
        return 0.0
    statistic, cells = 0.0, 0
    rare_found, rare_expected = 0, 0.0
    for outcome, p in expected.items():
        if n * p < 5:
            rare_found, rare_expected = rare_found + found[outcome], rare_expected + n * p
        else:
            statistic, cells = statistic + (found[outcome] - n * p) ** 2 / (n * p), cells + 1
    if rare_expected >= 1:
        statistic, cells = statistic + (rare_found - rare_expected) ** 2 / rare_expected, cells + 1
    if cells < 2:
        return 1.0
    half = torch.tensor([(cells - 1) / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))

"""torch.mm of square bfloat16 matrices: as many operations as the training steps beside it, at the highest rate."""

import time
from collections.abc import Callable
from typing import Any

import torch

SIZES = (512, 1024, 2048, 4096)
SECONDS_A_SIZE = 0.4


def setup(settings: dict[str, Any]) -> tuple[Callable[[], float], Callable[[float], dict[str, Any]]]:
    """The size is that of the highest rate in a trial of all of them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matrices = {
        n: (torch.randn(n, n, device=device).bfloat16(), torch.empty(n, n).to(device).bfloat16()) for n in SIZES
    }

    def seconds(n: int, count: int) -> float:
        a, out = matrices[n]
        begun = time.perf_counter()
        for _ in range(count):
            torch.mm(a, a, out=out)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    def rate(n: int) -> float:
        """Operations a second, the best of many short runs."""
        seconds(n, 2)
        count = max(1, round(0.02 / seconds(n, 1)))
        best, until = float("inf"), time.perf_counter() + SECONDS_A_SIZE
        while time.perf_counter() < until:
            best = min(best, seconds(n, count) / count)
        return 2.0 * n**3 / best

    rates = {n: rate(n) for n in SIZES}
    size = max(rates, key=rates.__getitem__)
    count, rest = divmod(round(settings["operations"]), 2 * size**3)
    last = matrices[size][0][: round(rest / (2 * size**2))]

    def block() -> float:
        begun = time.perf_counter()
        torch.mm(last, matrices[size][0])
        seconds(size, count)
        return time.perf_counter() - begun

    said = ", ".join(f"{n}: {value / 1e9:.0f}" for n, value in rates.items())
    return block, lambda taken: {"said": f"{settings['operations'] / taken / 1e9:.0f} GFLOP/s; trial by size {said}"}

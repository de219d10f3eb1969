"""From sums to the numbers that people read: loss, perplexity, bits per byte, speed, memory, time left.

Everything is averaged by what it counts, never by steps or batches:

    perplexity = exp(nll / tokens)      bits per byte = nll / (ln 2 * bytes of the targets)

Both are of the plain nll in nats; label smoothing and z-loss stay in the loss alone.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hornbook.distributed.strategy import Strategy
from hornbook.profiling.memory_use import host_peak_bytes

Sums = dict[str, tuple[float, float]]
"""name -> (sum, weight)."""


def total_sums(outputs: Sequence[Mapping[str, tuple[Tensor, Tensor]]], strategy: Strategy) -> Sums:
    """Metrics of micro-batches added up over them and over ranks. All leave the device in one transfer."""
    names = sorted(outputs[0])
    columns = [torch.stack([part for output in outputs for part in output[name]]).view(-1, 2).sum(0) for name in names]
    totals: list[list[float]] = strategy.sum(torch.stack(columns)).tolist()
    return {name: (value, weight) for name, (value, weight) in zip(names, totals, strict=True)}


def add_sums(left: Mapping[str, tuple[float, float]], right: Mapping[str, tuple[float, float]]) -> Sums:
    """Both together; a name that only one of them has keeps its numbers."""
    zero = (0.0, 0.0)
    return {
        name: (left.get(name, zero)[0] + right.get(name, zero)[0], left.get(name, zero)[1] + right.get(name, zero)[1])
        for name in [*left, *(name for name in right if name not in left)]
    }


def readable(sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The mean of each metric by its name, except `nll` and `bytes`, which become perplexity and bits_per_byte.

    What has no weight is left out.
    """
    values = {name: total / weight for name, (total, weight) in sums.items() if weight > 0}
    nll, width = values.pop("nll", None), values.pop("bytes", None)
    if nll is not None:
        values["perplexity"] = perplexity(nll)
        if width:
            values["bits_per_byte"] = sums["nll"][0] / (math.log(2.0) * sums["bytes"][0])
    return values


def perplexity(nats_per_token: float) -> float:
    """exp(nll), infinite where that overflows."""
    return math.inf if nats_per_token > 700.0 else math.exp(nats_per_token)


def peak_memory_bytes(device: torch.device) -> int | None:
    """Most memory held so far: allocated on a CUDA device, else resident in this process. None where unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return host_peak_bytes()


class Averages:
    """Steps since the last log, weighted by their trained tokens; times only the steps themselves."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.sums: Sums = {}
        self.tokens = 0
        self.seconds = 0.0
        self.waited = 0.0

    def add(self, sums: Mapping[str, tuple[float, float]], *, tokens: int, seconds: float, waited: float = 0.0) -> None:
        """One step: its sums (empty if it was skipped), the tokens that it read and how long it took.

        `waited` are the seconds of it in which it had no data.
        """
        self.sums = add_sums(self.sums, sums)
        self.tokens += tokens
        self.seconds += seconds
        self.waited += waited

    def values(self) -> dict[str, float]:
        """Readable metrics and, if any time was counted, `tokens_per_second` and `data_wait`, the share spent waiting
        for data."""
        values = readable(self.sums)
        if self.tokens:
            seconds = max(self.seconds, 1e-9)
            values |= {"tokens_per_second": self.tokens / seconds, "data_wait": self.waited / seconds}
        return values

"""Histograms of tensors with equal bins between the smallest and the largest finite value."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hornbook.tracking.tracker import Histogram

BINS = 64


def histogram(tensors: Sequence[Tensor]) -> Histogram | None:
    """Of all finite values together; None where there are none. Waits for the device."""
    values = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
    values = values[values.isfinite()]
    if not len(values):
        return None
    low, high = torch.stack(torch.aminmax(values)).tolist()
    if high <= low:  # one value: give its bin a width, as numpy does
        low, high = low - 0.5, high + 0.5
    bins = (values - low).mul_(BINS / (high - low)).long().clamp_(0, BINS - 1)
    edges = (*(low + (high - low) * i / BINS for i in range(BINS)), high)
    return Histogram(edges=edges, counts=tuple(torch.bincount(bins, minlength=BINS).tolist()))

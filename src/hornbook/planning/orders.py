"""The orders of magnitude that the Simple Transformer document works out, and the same arithmetic mended.

It takes one NVIDIA L4 for a day at 2.42e14 operations a second. That is the data sheet's number for sparse matrices,
and no training reaches the peak: with dense products at 35 % of theirs a day is worth a sixth of it. Weights, gradients
and Adam's moments at 2 bytes each are 8 bytes a parameter; mixed precision with float32 weights takes 16.
"""

from dataclasses import dataclass

from hornbook.planning.laws import OPERATIONS, optima
from hornbook.profiling.accelerators import accelerator_named

SPARSE_PEAK = 2.42e14
DAY = 86_400.0
PARAMETERS, TOKENS = 170e6, 17e9
REACHED = 0.35
"""Of the dense peak, by a step that is well made."""
BYTES_OF_HALF, BYTES_OF_MIXED = 2, 16
"""Mixed precision: 4 of weights, 2 of their 16-bit copies, 2 of 16-bit gradients or copies in flight, 8 of Adam's
moments: what is usually counted as 16. Ours are 4 + 2 + 4 + 8 = 18, gradients being float32."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """One line: what the document has, and what it comes to."""

    quantity: str
    document: float
    corrected: float
    unit: str
    why: str


def orders_of_magnitude() -> list[Order]:
    """The document's four points, in its order."""
    dense = accelerator_named("L4").half
    flops = OPERATIONS * PARAMETERS * TOKENS
    day = SPARSE_PEAK * DAY
    corrected_day = dense * REACHED * DAY
    best = optima(flops=corrected_day)[0]
    return [
        Order(
            quantity="speed of an NVIDIA L4",
            document=SPARSE_PEAK,
            corrected=dense * REACHED,
            unit="FLOP/s",
            why=f"the data sheet's dense peak is {dense:.3g}; {REACHED:.0%} of it is reached",
        ),
        Order(quantity="a day of it", document=day, corrected=corrected_day, unit="FLOP", why="86,400 seconds"),
        Order(
            quantity="170M parameters, 17B tokens",
            document=flops / SPARSE_PEAK / DAY,
            corrected=flops / (dense * REACHED) / DAY,
            unit="days",
            why=f"6 N D = {flops:.3g} operations",
        ),
        Order(
            quantity="parameters for a day",
            document=PARAMETERS,
            corrected=best.parameters,
            unit="",
            why=f"the document takes 100 tokens a parameter; the law of {best.source} takes {best.tokens:.2g} tokens",
        ),
        Order(
            quantity="weights of 170M in 16 bits",
            document=PARAMETERS * BYTES_OF_HALF / 2**30,
            corrected=PARAMETERS * BYTES_OF_HALF / 2**30,
            unit="GiB",
            why="2 bytes a parameter",
        ),
        Order(
            quantity="weights, gradients and Adam",
            document=4 * PARAMETERS * BYTES_OF_HALF / 2**30,
            corrected=PARAMETERS * BYTES_OF_MIXED / 2**30,
            unit="GiB",
            why="16 bytes a parameter in mixed precision (2.7 GB), activations still left out",
        ),
    ]

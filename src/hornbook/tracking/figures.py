"""Numbers as people read them: 12.3k tok/s, 1.5 GB, 2:05, and a sparkline."""

import itertools
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence

from hornbook.tracking.tracker import Scalar

_BARS = "▁▂▃▄▅▆▇█"


def count(number: float) -> str:
    """A count with a decimal suffix: 950, 12.3k, 4.5M, 1.2G."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= limit:
            return f"{number / limit:.3g}{suffix}"
    return f"{number:.3g}"


def duration(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    if not math.isfinite(seconds):
        return "?"
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


_PARTS: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("loss", lambda x: f"loss {x:.4f}"),
    ("perplexity", lambda x: f"ppl {x:.4g}"),
    ("bits_per_byte", lambda x: f"{x:.4f} bits/byte"),
    ("diffusion_nll", lambda x: f"diffusion at most {x:.4f}"),
    ("nll_p0_25", lambda x: f"masked up to 25% {x:.3f}"),
    ("nll_p25_50", lambda x: f"50% {x:.3f}"),
    ("nll_p50_75", lambda x: f"75% {x:.3f}"),
    ("nll_p75_100", lambda x: f"100% {x:.3f}"),
    ("accuracy", lambda x: f"accuracy {x:.1%}"),
    ("margin", lambda x: f"margin {x:.3f}"),
    ("score_variance", lambda x: f"its variance {x:.2g}"),
    ("learning_rate", lambda x: f"lr {x:.2e}"),
    ("grad_norm", lambda x: f"grad norm {x:.3g}"),
    ("tokens_per_second", lambda x: f"{count(x)} tok/s"),
    ("mfu", lambda x: f"MFU {x:.1%}"),
    ("peak_memory_bytes", lambda x: f"peak {count(x)}B"),
    ("seconds_left", lambda x: f"{duration(x)} left"),
)
"""Last part of a metric's name, and how it is shown, in the order of a progress line."""


def parts(values: Mapping[str, Scalar]) -> list[str]:
    """The known metrics among `values` as short phrases, always in the same order; `mfu` is a fraction of 1."""
    by_name = {name.rpartition("/")[2]: value for name, value in values.items()}
    numbers = {name: value for name, value in by_name.items() if isinstance(value, (int, float))}
    return [show(numbers[name]) for name, show in _PARTS if name in numbers]


def downsample(values: Sequence[float], width: int) -> list[float]:
    """At most `width` means of neighbouring finite values."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) <= width:
        return finite
    edges = [i * len(finite) // width for i in range(width + 1)]
    return [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def sparkline(
    values: Sequence[float], width: int, *, rows: int = 1, low: float | None = None, share_above: float = 0.0
) -> list[str]:
    """`rows` lines of at most `width` bars, top first, the lowest value the smallest bar; none without finite values.

    low: the value of the smallest bar, instead of the lowest one: with 0 noise is seen for what it is.
    share_above: that share of the highest bars may be cut off, so that a spike or the first steps do not flatten the
    rest.
    """
    means = downsample(values, width)
    if not means:
        return []
    low = min(means) if low is None else low
    high = sorted(means)[len(means) - 1 - int(len(means) * share_above)]
    top = len(_BARS) * rows - 1
    scale = top / (high - low) if high > low else 0.0
    levels = [min(round((mean - low) * scale), top) for mean in means]
    return [
        "".join(_bar(level - len(_BARS) * (rows - 1 - row)) for level in levels)  # the bottom row is the last
        for row in range(rows)
    ]


def _bar(level: int) -> str:
    return " " if level < 0 else _BARS[min(level, len(_BARS) - 1)]


def printable(text: str) -> str:
    """`text` safe for a terminal: a model can write control characters, which would steer it. Newlines and tabs stay.

    Only these go, and half characters, which no terminal takes: wide and unbreakable spaces and joiners are text.
    """
    return "".join("�" if unicodedata.category(char) in ("Cc", "Cs") and char not in "\n\t" else char for char in text)

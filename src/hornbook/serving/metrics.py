"""Counters and histograms, in the text form that Prometheus reads.

The form: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper ends of the buckets of a histogram."""


class Histogram:
    """How often a number of seconds came to lie in which bucket."""

    def __init__(self) -> None:
        self._counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self._counts)

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: dict[str, str]) -> Iterable[str]:
        """As Prometheus has it: each bucket counts what lies in it and below."""
        below = 0
        for edge, count in zip([*map(str, SECONDS), "+Inf"], self._counts, strict=True):
            below += count
            yield _line(f"{name}_bucket", {**labels, "le": edge}, below)
        yield _line(f"{name}_sum", labels, self.total)
        yield _line(f"{name}_count", labels, below)


@dataclass
class ModelMetrics:
    """Of one model, since the server was started."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    rejected: int = 0
    cancelled: int = 0
    first_token: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)

    def seconds_to_wait(self, waiting: int, slots: int) -> int:
        """A guess at when there is room, from 1 to 60."""
        mean = self.whole.total / self.whole.count if self.whole.count else 1.0
        return int(min(60.0, max(1.0, mean * (waiting + 1) / slots)))


@dataclass
class Metrics:
    """Of the whole server."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """By path and status."""
    models: dict[str, ModelMetrics] = field(default_factory=dict)

    def text(self, gauges: Sequence[tuple[str, int, int]]) -> str:
        """All of it; `gauges` are (model, texts being made, texts waiting)."""
        lines: list[str] = []

        def family(name: str, kind: str, text: str, values: Iterable[str]) -> None:
            lines.extend([f"# HELP {name} {text}", f"# TYPE {name} {kind}", *values])

        requests = [
            _line("hornbook_requests_total", {"path": path, "status": str(status)}, count)
            for (path, status), count in sorted(self.requests.items())
        ]
        family("hornbook_requests_total", "counter", "Requests answered, by path and status.", requests)
        for name, text in (
            ("prompt_tokens", "Tokens of prompts that were taken on."),
            ("generated_tokens", "Tokens drawn."),
            ("rejected", "Requests refused because the queue was full."),
            ("cancelled", "Requests whose client went away, or that took too long."),
        ):
            full = f"hornbook_{name}_total"
            values = [_line(full, {"model": model}, getattr(each, name)) for model, each in self.models.items()]
            family(full, "counter", text, values)
        for name, at, text in (("running", 1, "Texts being made."), ("waiting", 2, "Texts waiting for a slot.")):
            full = f"hornbook_{name}"
            family(full, "gauge", text, [_line(full, {"model": str(each[0])}, int(each[at])) for each in gauges])
        for name, text in (
            ("first_token", "Seconds from a request to its first token."),
            ("whole", "Seconds from a request to the end of its answer."),
        ):
            full = f"hornbook_{name}_seconds"
            each_line = (
                line
                for model, each in self.models.items()
                for line in getattr(each, name).lines(full, {"model": model})
            )
            family(full, "histogram", text, each_line)
        return "\n".join(lines) + "\n"


def _line(name: str, labels: dict[str, str], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

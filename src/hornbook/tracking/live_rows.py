"""The rows of the live view, the most important first: on a short terminal the last ones are left out.

Such as

    example ━━━━━━━━━━╸─────── step 1,240/2,000 · 0:31 · 0:19 left
    train    ▇▅▄▃▃▂▂▂▁▁▁ loss 1.9042 · ppl 6.714 · lr 1.00e-03
    valid    ▇▅▃▂▁       loss 1.9511 · best 1.9511 at step 1,200 · ppl 7.036
    nll      masked up to 25% 0.812 · 50% 1.310 · 75% 1.874 · 100% 2.455        (of diffusion)
    gradient ▂▂▁▂█▂▂▂▂▂▂ norm 0.412 · 1 step skipped
    speed    ▇▇▇▇▇▇█▇▇▇▇ 51.2k tok/s · MFU 33.0% · peak 612MB
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from hornbook.tracking.curve import Curve
from hornbook.tracking.figures import count, duration, parts, sparkline
from hornbook.tracking.tracker import RunInfo, Scalar

_LABEL = 9
_TALL_TERMINAL = 30
_SAMPLE_LINES = 6
_SHARE_ABOVE = 0.1
_NOTABLE_WAIT = 0.03
_BY_MASKING = ("nll_p0_25", "nll_p25_50", "nll_p50_75", "nll_p75_100")


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the view knows at one moment."""

    run: RunInfo
    step: int
    elapsed: float
    """Seconds of this process."""
    values: Mapping[str, Scalar]
    """The last value of every name."""
    curves: Mapping[str, Curve]
    """train, valid, gradient, speed."""
    best: tuple[float, int] | None
    """Lowest validation loss of this process, and its step."""
    task: tuple[str, int, int] | None
    """Long work that is going on: its name, how much is done, of how much."""
    notices: Sequence[str]
    samples: Mapping[str, tuple[int, str]]
    """Name -> step and text."""


def render(now: Snapshot, console: Console, *, width: int, height: int) -> list[Text]:
    """At most `height` lines of at most `width` cells."""
    tall = 3 if height >= _TALL_TERMINAL else 1
    rows = [_progress(now, width)]
    rows += _curve("train", now.curves["train"], " · ".join(_said(now.values, "train")), width, rows=tall)
    rows += _curve("valid", now.curves["valid"], _validation(now), width, rows=tall)
    rows += [Text.assemble((f"{'nll':<{_LABEL}}", "dim"), said)] if (said := _by_masking(now.values)) else []
    rows += _curve("gradient", now.curves["gradient"], _gradient(now.values), width, low=0.0)
    rows += _curve("speed", now.curves["speed"], _speed(now.values), width, low=0.0)
    if now.task is not None:
        name, done, total = now.task
        rows.append(Text.assemble((f"{name} ", "yellow"), _bar(done, total, 24), f" {done:,}/{total:,}"))
    rows += [Text(notice, style="dim") for notice in now.notices]
    rows += _facts(now.run)
    rows += _samples(now.samples, console, width, height - len(rows))
    for row in rows:
        row.no_wrap = True
        row.truncate(width, overflow="ellipsis")
    return rows[:height]


def _progress(now: Snapshot, width: int) -> Text:
    total, left = now.run.total_steps, now.values.get("train/seconds_left")
    place = f"step {now.step:,}" if total is None else f"step {now.step:,}/{total:,}"
    words = [place, duration(now.elapsed)]
    if isinstance(left, (int, float)):
        words.append(f"{duration(left)} left")
    elif now.task is None:
        words.append("first step")
    said = " · ".join(words)
    name = now.run.name[: max(8, width - len(said) - 12)]
    room = min(40, width - len(name) - len(said) - 2)
    if total is None or room < 4:
        return Text.assemble((name, "bold"), f" {said}")
    return Text.assemble((name, "bold"), " ", _bar(now.step, total, room), f" {said}")


def _bar(done: int, total: int, width: int) -> Text:
    full = min(width, width * done // max(total, 1))
    return Text.assemble(("━" * full, "green"), ("─" * (width - full), "dim"))


def _curve(label: str, curve: Curve, said: str, width: int, *, rows: int = 1, low: float | None = None) -> list[Text]:
    """A sparkline of up to 80 cells and what is said of it, in line with its bottom row."""
    room = min(80, max(8, (width - _LABEL) * 2 // 5))
    lines = sparkline(curve.points, room, rows=rows, low=low, share_above=_SHARE_ABOVE)
    if not said:
        return []
    lines = lines or [""]
    *above, bottom = [f"{line:<{room}}" for line in lines]
    blank = " " * _LABEL
    return [
        *(Text.assemble(blank, (line, "cyan")) for line in above),
        Text.assemble((f"{label:<{_LABEL}}", "dim"), (bottom, "cyan"), f" {said}"),
    ]


def _said(values: Mapping[str, Scalar], event: str) -> list[str]:
    """The known numbers of an event but those that have a row of their own."""
    elsewhere = ("grad_norm", "tokens_per_second", "mfu", "peak_memory_bytes", "seconds_left", *_BY_MASKING)
    own = {name: value for name, value in values.items() if name.startswith(f"{event}/")}
    return parts({n: v for n, v in own.items() if n.rpartition("/")[2] not in elsewhere})


def _validation(now: Snapshot) -> str:
    loss, *rest = _said(now.values, "val") or [""]
    best = [] if now.best is None else [f"best {now.best[0]:.4f} at step {now.best[1]:,}"]
    return " · ".join([loss, *best, *rest] if loss else [])


def _by_masking(values: Mapping[str, Scalar]) -> str:
    """How hard it is by how much is masked, of an objective that masks."""
    return " · ".join(parts({f"train/{name}": values.get(f"train/{name}") for name in _BY_MASKING}))


def _gradient(values: Mapping[str, Scalar]) -> str:
    norm, skipped = values.get("train/grad_norm"), values.get("train/skipped")
    words = [f"norm {norm:.3g}"] if isinstance(norm, (int, float)) else []
    if isinstance(skipped, int) and skipped:
        words.append("1 step skipped" if skipped == 1 else f"{skipped:,} steps skipped")
    return " · ".join(words)


def _speed(values: Mapping[str, Scalar]) -> str:
    names = ("tokens_per_second", "mfu", "peak_memory_bytes")
    said = parts({f"train/{name}": values.get(f"train/{name}") for name in names})
    waited = values.get("train/data_wait")
    if isinstance(waited, float) and waited > _NOTABLE_WAIT:
        said.append(f"{waited:.0%} waiting for data")
    return " · ".join(said)


def _facts(run: RunInfo) -> list[Text]:
    """What was chosen at the start, and what is trained on what."""
    known = dict(run.details)
    choices = known.get("choices")
    n_parameters, n_trained = known.get("n_parameters"), known.get("trained_parameters")
    facts = [str(known[name]) for name in ("device", "architecture", "dataset") if known.get(name)]
    if isinstance(n_parameters, int):
        trained = f", {count(n_trained)} of them trained" if isinstance(n_trained, int) else ""
        facts.append(f"{count(n_parameters)} parameters{trained}")
    lines = [str(choices), " · ".join(facts)] if choices else [" · ".join(facts)]
    return [Text(line, style="dim") for line in lines if line]


def _samples(samples: Mapping[str, tuple[int, str]], console: Console, width: int, room: int) -> list[Text]:
    """As many samples as there is room for, each a few lines."""
    rows: list[Text] = []
    for name, (step, text) in samples.items():
        wrapped = Text(text.strip("\n"), style="italic").wrap(console, width)
        shown = [Text(f"{name} at step {step:,}", style="dim"), *wrapped[:_SAMPLE_LINES]]
        if len(rows) + len(shown) > room and rows:
            break
        rows += shown
    return rows

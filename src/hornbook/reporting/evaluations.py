"""What `hornbook eval` measured of a run's checkpoints: each number with its interval, its protocol and its card."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hornbook.reporting.figure import figure
from hornbook.reporting.plot import WIDE, Figure, Line
from hornbook.reporting.record import Curve, RunRecord
from hornbook.reporting.scale import short
from hornbook.reporting.tables import known, pairs, rows

MOST_COLUMNS = 6
"""Evaluations of one measure beside one another: the newest; the others have their cards below."""
_FACTS = ("data", "protocol")
_ASIDE = ("nats", "standard_error", "level", "seconds")
"""Fractions that say how other numbers came about."""
_CURVES = ("bits_per_byte", "bits_per_byte_at_most", "nats_per_token", "nats_per_token_at_most")
"""Numbers that are drawn over steps, the first that an evaluation has."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A card: its flat `values`, of which some are numbers with ends of an interval, NAME_low and NAME_high."""

    measure: str
    step: int
    values: Mapping[str, object]

    @property
    def numbers(self) -> list[str]:
        """Names of the numbers with an interval and of other fractions: what is whole is a count or a setting."""
        ends = {f"{name}{end}" for name in self.values for end in ("_low", "_high")}
        return [
            name
            for name, value in self.values.items()
            if f"{name}_low" in self.values or (isinstance(value, float) and name not in ends and name not in _ASIDE)
        ]

    def said(self, name: str) -> str:
        """A number with its interval."""
        value, low, high = (self.values.get(f"{name}{end}") for end in ("", "_low", "_high"))
        if not isinstance(value, int | float):
            return "" if value is None else str(value)
        if not isinstance(low, int | float) or not isinstance(high, int | float):
            return short(value)
        return f"{short(value)} ({short(low)} to {short(high)})"

    @property
    def label(self) -> str:
        """The text and the protocol, in a few words."""
        sizes = [f"{name} {self.values[name]}" for name in ("window", "stride") if name in self.values]
        named = [str(self.values[name]) for name in ("data", "protocol_name") if name in self.values]
        return ", ".join([*named, *sizes])

    @property
    def subject(self) -> tuple[str, str]:
        """Evaluations of the same subject compare."""
        return str(self.values.get("data", "")), str(self.values.get("protocol", ""))


def evaluations_of(record: RunRecord) -> list[Evaluation]:
    """Of the run's events and of its cards that no event tells of, since it was still training; by step."""
    found = []
    for step, _, event in record.of("eval"):
        values = {name.partition("/")[2] or name: value for name, value in event.items()}
        measure = str(values.pop("measure", "perplexity"))
        for name in ("event", "step", "time"):
            values.pop(name, None)
        found.append(Evaluation(measure=measure, step=step, values=values))
    told = {(each.measure, each.step, each.subject) for each in found}
    found += [each for each in _files(record) if (each.measure, each.step, each.subject) not in told]
    return sorted(found, key=lambda each: each.step)


def evaluations(record: RunRecord) -> Iterator[str]:
    """HTML: a table for each measure, curves where there are several steps, and the whole cards."""
    found = evaluations_of(record)
    if not found:
        return
    yield "<section><h2>Evaluations</h2>\n"
    for measure in dict.fromkeys(each.measure for each in found):
        yield _table([each for each in found if each.measure == measure])
    yield from map(figure, evaluation_figures([record]))
    yield "<details><summary>The whole cards</summary>\n"
    for each in found:
        told = {name: short(value) if isinstance(value, float) else value for name, value in each.values.items()}
        yield pairs(f"{each.measure} at step {each.step:,}", known(told))
    yield "</details>\n</section>\n"


def evaluation_figures(records: Sequence[RunRecord]) -> list[Figure]:
    """Bits per byte, or else nats, by step: a figure a measure, a line for each run, text and protocol."""
    lines: dict[str, list[Line]] = {}
    units: dict[str, str] = {}
    for record in records:
        groups: dict[tuple[str, str, str], list[Evaluation]] = {}
        for each in evaluations_of(record):
            groups.setdefault((each.measure, *each.subject), []).append(each)
        for (measure, *_), group in groups.items():
            name = next((name for name in _CURVES if isinstance(group[0].values.get(name), int | float)), None)
            curve = _curve(group, name) if name else Curve()
            if name is None or len(set(curve.steps)) < 2:
                continue
            of_measure = lines.setdefault(measure, [])
            label = f"{record.name}: {group[0].label}" if len(records) > 1 else group[0].label
            of_measure.append(Line(label=label, curve=curve, colour=len(of_measure) % 8, weight="ended"))
            units[measure] = name.replace("_", " ")
    return [
        Figure(key=f"eval-{measure}", title=f"Eval {measure}", unit=units[measure], lines=drawn, width=WIDE, height=300)
        for measure, drawn in lines.items()
    ]


def _curve(group: Sequence[Evaluation], name: str) -> Curve:
    """Of each step the newest."""
    values = {each.step: value for each in group if isinstance(value := each.values.get(name), int | float)}
    steps = tuple(sorted(values))
    return Curve(steps=steps, minutes=(0.0,) * len(steps), values=tuple(float(values[step]) for step in steps))


def _table(found: Sequence[Evaluation]) -> str:
    """Numbers as rows, evaluations as columns, and what must be equal for them to compare."""
    shown = found[-MOST_COLUMNS:]
    heads = [f"eval {shown[0].measure}", *(f"step {each.step:,}" for each in shown)]
    names = dict.fromkeys(name for each in shown for name in each.numbers)
    lines = [[name.replace("_", " "), *(each.said(name) for each in shown)] for name in names]
    facts = {name: [str(each.values.get(name, "")) for each in shown] for name in _FACTS}
    lines += [[name, *told] for name, told in facts.items() if len(set(told)) > 1]
    same = [f"{name.capitalize()}: {told[0]}." for name, told in facts.items() if len(set(told)) == 1 and told[0]]
    below = f'<p class="facts">{escape(" ".join(same))}</p>\n' if same else ""
    return rows(heads, [line for line in lines if any(line[1:])]) + below


def _files(record: RunRecord) -> Iterator[Evaluation]:
    """RUN/evals/MEASURE-step-N-....json, without what is too long for a table."""
    for path in sorted(record.run.evals.glob("*-step-*.json")):
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict) or not isinstance(step := content.get("step"), int):
            continue
        flat = {name: value for name, value in content.items() if not isinstance(value, list | dict) and name != "step"}
        yield Evaluation(measure=path.name.partition("-step-")[0], step=step, values=flat)

"""Runs of different objectives side by side: whether they were given as much, and what came of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from hornbook.reporting.least_loss import is_bounded, least_loss, objective_of
from hornbook.reporting.record import RunRecord
from hornbook.reporting.scale import short
from hornbook.reporting.work import flops_per_token
from hornbook.tracking.figures import count

COLUMNS = (
    *("run", "objective", "parameters", "tokens", "training FLOPs"),
    *("measured by", "nats a token", "bits per byte", "least possible", "excess"),
)
"""What must be equal for a comparison, then what is compared."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How surprised a run's model is by held-out text."""

    by: str
    nats: float
    """A token."""
    bits_per_byte: float | None
    is_bound: bool
    is_of_windows: bool
    """Of whole windows of the context's length, each of which starts cold."""


def objectives(records: Sequence[RunRecord]) -> Iterator[str]:
    """A table with a row for each measure of each run; nothing for runs of one objective.

    Without those on preferences, whose loss is of pairs and no surprise at text.
    """
    records = [record for record in records if objective_of(record.settings) != "preference"]
    if len({objective_of(record.settings) for record in records}) < 2:
        return
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in COLUMNS)
    yield '<section><h2>Objectives compared</h2>\n<p class="facts">'
    yield "A bound (≤) lies above -log p, so it and a loss compare in one direction alone: a bound that is lower "
    yield "proves the better model, one that is higher proves nothing.</p>\n"
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n'
    for record in records:
        rows: Sequence[Measured | None] = _measures(record) or [None]
        for measured in rows:
            cells = "".join(f"<td>{escape(cell)}</td>" for cell in (*_given(record), *_came(record, measured)))
            yield f'<tr><th scope="row">{escape(record.name)}</th>{cells}</tr>\n'
    yield "</tbody></table></div></section>\n"


def _given(record: RunRecord) -> tuple[str, ...]:
    tokens, parameters = record.curve("train/tokens").last, record.fact("n_parameters")
    flops = flops_per_token(record)
    return (
        objective_of(record.settings),
        count(parameters) if isinstance(parameters, int) else "",
        count(tokens) if tokens is not None else "",
        "" if flops is None or tokens is None else f"{flops * tokens:.3g}",
    )


def _came(record: RunRecord, measured: Measured | None) -> tuple[str, ...]:
    if measured is None:
        return ("", "", "", "", "")
    sign = "≤ " if measured.is_bound else ""
    least = least_loss(record.settings, of_bound=measured.is_bound) if measured.is_of_windows else None
    return (
        measured.by,
        f"{sign}{measured.nats:.4f}",
        "" if measured.bits_per_byte is None else f"{sign}{short(measured.bits_per_byte)}",
        "" if least is None else f"{least:.4f}",
        "" if least is None else f"{sign}{measured.nats - least:+.4f}",
    )


def _measures(record: RunRecord) -> list[Measured]:
    """The newest evaluation of each kind and protocol on the run's validation split; else its last validation."""
    found: dict[str, Measured] = {}
    data, context = record.settings.get("data.path"), record.settings.get("model.context_length")
    for step, _, event in record.of("eval"):
        measure = str(event.get("measure", "perplexity"))
        is_bound = measure == "bound"
        nats = _number(event.get(f"nats_per_token{'_at_most' * is_bound}"))
        if nats is None or not str(event.get("data")).startswith(f"{data} [valid]"):  # or of another text
            continue
        what = ", ".join([f"eval {measure}", *_how(event)])
        found[what] = Measured(
            by=f"{what}, step {step:,}",
            nats=nats,
            bits_per_byte=_number(event.get(f"bits_per_byte{'_at_most' * is_bound}")),
            is_bound=is_bound,
            is_of_windows=event.get("window") == event.get("stride") == context,
        )
    last = record.curve("val/loss").last
    if not found and last is not None:
        found["validation"] = Measured(
            by="last validation",
            nats=last,
            bits_per_byte=record.curve("val/bits_per_byte").last,
            is_bound=is_bounded(record.settings),
            is_of_windows=True,
        )
    return list(found.values())


def _how(event: Mapping[str, object]) -> Iterator[str]:
    """What tells a measurement from others of its kind, in words: its protocol, and how much was scored."""
    if event.get("protocol_name", "strided") != "strided":
        yield str(event["protocol_name"])
    if (scored := _number(event.get("tokens_scored"))) is not None:
        yield f"{scored:,.0f} tokens"


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None

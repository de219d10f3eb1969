"""Which curves a report shows, of one run or of several laid over one another."""

from collections.abc import Iterator, Sequence

from hornbook.reporting.figure import WIDE, Figure, Line, Mark, figure
from hornbook.reporting.heat_map import HeatMap, heat_map
from hornbook.reporting.least_loss import least_loss, loss_unit
from hornbook.reporting.record import Curve, RunRecord
from hornbook.tracking.thinning import SMOOTHED_FROM, smoothed

SMALL = (
    ("train/learning_rate", "Learning rate", "of the first group", False),
    ("train/grad_norm", "Gradient norm", "before clipping", True),
    ("train/tokens_per_second", "Speed", "tokens a second", False),
    ("val/bits_per_byte", "Bits per byte", "on the validation set", False),
    ("val/rewards/accuracy", "Preferences kept", "share of the validation pairs", False),
    ("val/rewards/margin", "Margin of rewards", "mean over the validation pairs", False),
    ("val/logps/chosen", "Chosen answers", "log-probability on the validation set", False),
)
"""Metric, title, unit, and whether the vertical axis is logarithmic at first."""
BY_MASKING = (
    ("nll_p0_25", "0 to 25 % masked"),
    ("nll_p25_50", "25 to 50 %"),
    ("nll_p50_75", "50 to 75 %"),
    ("nll_p75_100", "75 to 100 %"),
)
"""Metric of diffusion, and the mask probabilities that it is of."""
NORMS = (
    ("grad", "Gradient norms", "2-norm before clipping"),
    ("weight", "Weight norms", "2-norm"),
    ("update_ratio", "Update ratios", "2-norm of an update over that of the weights"),
    ("activation", "Activations", "root mean square of outputs"),
)
_SHADES = 7
"""Colours besides the first one."""


def curves(records: Sequence[RunRecord]) -> Iterator[str]:
    """Losses first and large, then what explains them."""
    yield "<section><h2>Curves</h2>\n"
    drawn = [_losses(records), *_small(records)]
    if not any(drawn):
        yield "<p>No numbers have been logged yet.</p>\n"
    yield drawn[0]
    yield '<div class="small">\n' + "".join(drawn[1:]) + "</div>\n</section>\n"


def norms(record: RunRecord) -> Iterator[str]:
    """Heat maps of what `tracking.norms_every` measured."""
    drawn = [heat_map(_heat(record, kind, title, unit)) for kind, title, unit in NORMS]
    if any(drawn):
        yield '<section><h2>Norms by module</h2>\n<div class="small">\n' + "".join(drawn) + "</div></section>\n"


def _losses(records: Sequence[RunRecord]) -> str:
    lines: list[Line] = []
    for number, record in enumerate(records):
        train, valid = record.curve("train/loss"), record.curve("val/loss")
        colour = number % (_SHADES + 1)
        name = f"{record.name}: " if len(records) > 1 else ""
        size = record.tokens_per_step
        noisy = len(train.steps) >= SMOOTHED_FROM
        weight = "faint" if noisy or len(records) > 1 else "plain"
        lines.append(Line(label=f"{name}training", curve=train, colour=colour, weight=weight, tokens_per_step=size))
        if noisy and len(records) == 1:
            smooth = Curve(
                steps=train.steps,
                minutes=train.minutes,
                values=tuple(smoothed(train.values, max(2, len(train.values) // 50))),
            )
            lines.append(Line(label="training, smoothed", curve=smooth, colour=colour, tokens_per_step=size))
        shade = colour if len(records) > 1 else 1
        lines.append(Line(label=f"{name}validation", curve=valid, colour=shade, weight="dotted", tokens_per_step=size))
        lines += _least(record, f"{name}least possible", shade, (train, valid))
    marks = [
        Mark(step=step, label=f"{record.name}, step {step:,}: {why}", kind="skipped")
        for record in records
        for step, why in record.skipped_steps[:200]
    ]
    axes = ("step", "minutes", "tokens") if len(records) > 1 else ("step", "minutes")
    unit = loss_unit(record.settings for record in records)
    return figure(
        Figure(key="losses", title="Loss", unit=unit, lines=lines, marks=marks, axes=axes, width=WIDE, height=380)
    )


def _least(record: RunRecord, label: str, colour: int, beside: Sequence[Curve]) -> list[Line]:
    """A level line below the curves `beside` it, for text of known entropy."""
    least = least_loss(record.settings)
    ends = [(curve.steps[end], curve.minutes[end]) for curve in beside if curve for end in (0, -1)]
    if least is None or not ends:
        return []
    first, last = min(ends), max(ends)
    level = Curve(steps=(first[0], last[0]), minutes=(first[1], last[1]), values=(least, least))
    return [Line(label=label, curve=level, colour=colour, weight="faint", tokens_per_step=record.tokens_per_step)]


def _small(records: Sequence[RunRecord]) -> list[str]:
    drawn = []
    for metric, title, unit, log in SMALL:
        lines = [
            Line(label=record.name, curve=record.curve(metric), colour=number % (_SHADES + 1))
            for number, record in enumerate(records)
        ]
        key = metric.replace("/", "-").replace("_", "-")
        drawn.append(figure(Figure(key=key, title=title, unit=unit, lines=lines, log=log)))
    return [*drawn, _by_masking(records)]


def _by_masking(records: Sequence[RunRecord]) -> str:
    """Loss of a masked token by how much is masked around it; of validation where there is one, since it is quieter."""
    lines: list[Line] = []
    for record in records:
        name = f"{record.name}: " if len(records) > 1 else ""
        for metric, share in BY_MASKING:
            curve = record.curve(f"val/{metric}") or record.curve(f"train/{metric}")
            lines.append(Line(label=f"{name}{share}", curve=curve, colour=len(lines) % (_SHADES + 1)))
    title, unit = "Loss by mask probability", "nats a masked token"
    return figure(Figure(key="by-masking", title=title, unit=unit, lines=lines))


def _heat(record: RunRecord, kind: str, title: str, unit: str) -> HeatMap:
    prefix = f"norms/{kind}/"
    events = [(step, event) for step, _, event in record.of("norms")]
    modules = dict.fromkeys(
        name.removeprefix(prefix) for _, event in events for name in event if name.startswith(prefix)
    )
    columns = {module: record.curve(prefix + module, kind="norms") for module in modules}
    steps = [step for step, _ in events]
    rows = {module: _filled(curve, steps) for module, curve in columns.items()}
    return HeatMap(key=f"norms-{kind.replace('_', '-')}", title=title, unit=unit, steps=steps, rows=rows)


def _filled(curve: Curve, steps: Sequence[int]) -> list[float | None]:
    """The curve's value at every step; None where it has none."""
    known = dict(zip(curve.steps, curve.values, strict=True))
    return [known.get(step) for step in steps]

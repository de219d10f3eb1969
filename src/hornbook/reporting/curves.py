"""Which curves a report shows, of one run or of several laid over one another."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hornbook.reporting.figure import axis_choice, figure
from hornbook.reporting.heat_map import HeatMap, heat_map
from hornbook.reporting.least_loss import least_loss, loss_unit
from hornbook.reporting.plot import AXES, WIDE, Figure, Line, Mark
from hornbook.reporting.record import Curve, RunRecord
from hornbook.reporting.work import Work, work_of
from hornbook.tracking.thinning import SMOOTHED_FROM, smoothed

SMALL = (
    ("train/learning_rate", "Learning rate", "of the first group", False),
    ("train/grad_norm", "Gradient norm", "before clipping", True),
    ("train/tokens_per_second", "Speed", "tokens a second", False),
    ("train/mfu", "MFU", "share of the peak of dense products", False),
    ("train/data_wait", "Waiting for data", "share of the time", False),
    ("val/bits_per_byte", "Bits per byte", "on the validation set", False),
    ("val/excess", "Excess", "nats a token above the least possible", False),
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
OF_SAMPLES = (
    ("samples/distinct_2", "different pairs of tokens"),
    ("samples/repetition", "repeated in the text"),
    ("samples/loops", "texts that end in a loop"),
    ("samples/copied", "copied from the training text"),
)
"""Shares of generated texts."""
NORMS = (
    ("grad", "Gradient norms", "2-norm before clipping"),
    ("weight", "Weight norms", "2-norm"),
    ("update_ratio", "Update ratios", "2-norm of an update over that of the weights"),
    ("activation", "Activations", "root mean square of outputs"),
)
_SHADES = 7
"""Colours besides the first one."""
_OF_DATA = "val/loss/"


def curves(records: Sequence[RunRecord]) -> Iterator[str]:
    """Losses first and large, then what explains them."""
    found = figures(records)
    yield '<section class="curves"><h2>Curves</h2>\n'
    if not found:
        yield "<p>No numbers have been logged yet.</p>\n"
    else:
        yield axis_choice([axis for axis in AXES if all(axis in each.known_axes for each in found)])
        wide = [each for each in found if each.width == WIDE]
        yield from map(figure, wide)
        yield '<div class="small">\n' + "".join(figure(each) for each in found if each not in wide) + "</div>\n"
    yield "</section>\n"


def figures(records: Sequence[RunRecord]) -> list[Figure]:
    """What there is to draw of the runs, all by the same horizontal axes; without those that would be empty."""
    works = [work_of(record) for record in records]
    drawn = [_losses(records, works), *_small(records, works)]
    drawn += [_by_masking(records, works), _by_data(records, works), _of_samples(records, works)]
    return [each for each in drawn if each.visible]


def heat_maps(record: RunRecord) -> list[HeatMap]:
    """What `tracking.norms_every` measured."""
    return [_heat(record, kind, title, unit) for kind, title, unit in NORMS]


def norms(record: RunRecord) -> Iterator[str]:
    """Heat maps of norms by module."""
    drawn = [heat_map(each) for each in heat_maps(record)]
    if any(drawn):
        yield '<section><h2>Norms by module</h2>\n<div class="small">\n' + "".join(drawn) + "</div></section>\n"


def _losses(records: Sequence[RunRecord], works: Sequence[Work]) -> Figure:
    lines: list[Line] = []
    for number, (record, work) in enumerate(zip(records, works, strict=True)):
        train, valid = record.curve("train/loss"), record.curve("val/loss")
        colour = number % (_SHADES + 1)
        name = _prefix(record, records)
        noisy = len(train.steps) >= SMOOTHED_FROM
        weight = "faint" if noisy or len(records) > 1 else "plain"
        lines.append(Line(label=f"{name}training", curve=train, colour=colour, weight=weight, work=work))
        if noisy and len(records) == 1:
            smooth = smoothed(train.values, max(2, len(train.values) // 50))
            curve = replace(train, values=tuple(smooth))
            lines.append(Line(label="training, smoothed", curve=curve, colour=colour, work=work))
        shade = colour if len(records) > 1 else 1
        lines.append(Line(label=f"{name}validation", curve=valid, colour=shade, weight="dotted", work=work))
        least = _least(record, (train, valid))
        if least is not None:
            lines.append(Line(label=f"{name}least possible", curve=least, colour=shade, weight="faint", work=work))
    marks = [
        Mark(step=step, label=f"{record.name}, step {step:,}: {why}", kind="skipped")
        for record in records
        for step, why in record.skipped_steps[:200]
    ]
    unit = loss_unit(record.settings for record in records)
    return Figure(
        key="losses", title="Loss", unit=unit, lines=lines, marks=marks, axes=tuple(AXES), width=WIDE, height=380
    )


def _prefix(record: RunRecord, records: Sequence[RunRecord]) -> str:
    return f"{record.name}: " if len(records) > 1 else ""


def _least(record: RunRecord, beside: Sequence[Curve]) -> Curve | None:
    """A level line below the curves `beside` it, for text of known entropy."""
    least = least_loss(record.settings)
    ends = [(curve.steps[end], curve.minutes[end]) for curve in beside if curve for end in (0, -1)]
    if least is None or not ends:
        return None
    first, last = min(ends), max(ends)
    return Curve(steps=(first[0], last[0]), minutes=(first[1], last[1]), values=(least, least))


def _small(records: Sequence[RunRecord], works: Sequence[Work]) -> list[Figure]:
    drawn = []
    for metric, title, unit, log in SMALL:
        lines = [
            Line(label=record.name, curve=record.curve(metric), colour=number % (_SHADES + 1), work=work)
            for number, (record, work) in enumerate(zip(records, works, strict=True))
        ]
        key = metric.replace("/", "-").replace("_", "-")
        drawn.append(Figure(key=key, title=title, unit=unit, lines=lines, axes=tuple(AXES), log=log))
    return drawn


def _by_masking(records: Sequence[RunRecord], works: Sequence[Work]) -> Figure:
    """Loss of a masked token by how much is masked around it; of validation where there is one, since it is quieter."""
    lines: list[Line] = []
    for record, work in zip(records, works, strict=True):
        for metric, share in BY_MASKING:
            curve = record.curve(f"val/{metric}") or record.curve(f"train/{metric}")
            label, colour = f"{_prefix(record, records)}{share}", len(lines) % (_SHADES + 1)
            lines.append(Line(label=label, curve=curve, colour=colour, work=work))
    title, unit = "Loss by mask probability", "nats a masked token"
    return Figure(key="by-masking", title=title, unit=unit, lines=lines, axes=tuple(AXES))


def _by_data(records: Sequence[RunRecord], works: Sequence[Work]) -> Figure:
    """Of a mixture: the validation loss on each of its data sets."""
    lines: list[Line] = []
    for record, work in zip(records, works, strict=True):
        names = {name for _, _, event in record.of("val") for name in event if name.startswith(_OF_DATA)}
        for name in sorted(names):
            label, colour = f"{_prefix(record, records)}{name.removeprefix(_OF_DATA)}", len(lines) % (_SHADES + 1)
            lines.append(Line(label=label, curve=record.curve(name), colour=colour, work=work))
    title, unit = "Validation by data set", "nats a token"
    return Figure(key="by-data", title=title, unit=unit, lines=lines, axes=tuple(AXES))


def _of_samples(records: Sequence[RunRecord], works: Sequence[Work]) -> Figure:
    """What the texts that a run wrote are made of."""
    lines: list[Line] = []
    for record, work in zip(records, works, strict=True):
        for metric, share in OF_SAMPLES:
            label, colour = f"{_prefix(record, records)}{share}", len(lines) % (_SHADES + 1)
            lines.append(Line(label=label, curve=record.curve(metric), colour=colour, work=work))
    return Figure(key="of-samples", title="Generated texts", unit="shares of 1", lines=lines, axes=tuple(AXES))


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

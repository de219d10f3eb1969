"""What a run left besides its numbers: samples and checkpoints."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from hornbook.reporting.record import RunRecord
from hornbook.reporting.scale import short
from hornbook.tracking.figures import count

MOST_SAMPLES = 30
"""Steps whose samples are shown, evenly over the run, first and last among them."""
LONGEST_SAMPLE = 4000


def samples(record: RunRecord) -> Iterator[str]:
    """The generated texts by step, the last one open."""
    by_step: dict[int, list[str]] = {}
    for step, _, event in record.of("sample"):
        by_step.setdefault(step, []).append(str(event.get("text", "")))
    if not by_step:
        return
    steps = sorted(by_step)
    shown = sorted({steps[i * (len(steps) - 1) // max(1, MOST_SAMPLES - 1)] for i in range(MOST_SAMPLES)})
    if len(steps) <= MOST_SAMPLES:
        shown = steps
    measured = {step: _measured(event) for step, _, event in record.of("samples")}
    yield "<section><h2>Samples</h2>\n"
    if len(shown) < len(steps):
        where = escape(str(record.run.samples))
        yield f'<p class="facts">{len(shown)} of {len(steps)} steps; all lie in {where}.</p>\n'
    for step in reversed(shown):
        is_last = " open" if step == shown[-1] else ""
        texts = "".join(f"<pre>{escape(_cut(text))}</pre>\n" for text in by_step[step])
        told = f'<p class="facts">{escape(measured[step])}</p>\n' if step in measured else ""
        yield f'<details class="sample"{is_last}><summary>step {step:,}</summary>\n{told}{texts}</details>\n'
    yield "</section>\n"


def _measured(event: Mapping[str, object]) -> str:
    """The numbers about the texts of a step."""
    values = {name.removeprefix("samples/").replace("_", "-"): value for name, value in event.items()}
    numbers = {name: value for name, value in values.items() if f"samples/{name.replace('-', '_')}" in event}
    return ", ".join(f"{name} {short(value)}" for name, value in numbers.items() if isinstance(value, int | float))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SAMPLE else f"{text[:LONGEST_SAMPLE]} … ({len(text) - LONGEST_SAMPLE:,} more)"


def checkpoints(record: RunRecord) -> Iterator[str]:
    """The complete checkpoints that are there now."""
    yield "<section><h2>Checkpoints</h2>\n"
    if not record.checkpoints:
        yield "<p>None are there.</p>\n</section>\n"
        return
    validation = record.curve("val/loss")
    losses = dict(zip(validation.steps, validation.values, strict=True))
    heads = "".join(
        f'<th scope="col">{name}</th>' for name in ("directory", "step", "kind", "size", "validation loss", "named by")
    )
    yield f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>\n'
    for entry in record.checkpoints:
        loss = losses.get(entry.step)
        cells = (
            f"{entry.step:,}",
            entry.kind,
            f"{count(_bytes(entry.path))}B",
            "" if loss is None else short(loss),
            record.marks.get(entry.path.name, ""),
        )
        yield f'<tr><th scope="row">{escape(entry.path.name)}</th>' + "".join(f"<td>{cell}</td>" for cell in cells)
        yield "</tr>\n"
    yield "</tbody></table></div>\n</section>\n"


def _bytes(path: Path) -> int:
    """Size of all files below a directory that may be vanishing."""
    total = 0
    for file in path.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total

"""The main figure as PNG, for where a page cannot go. Needs the extra `plot`."""

from collections.abc import Sequence
from pathlib import Path

from hornbook.errors import MissingExtraError
from hornbook.reporting.family import Family, branch_step, families
from hornbook.reporting.least_loss import least_loss, loss_unit
from hornbook.reporting.record import RunRecord
from hornbook.storage.disk import explained


def save_picture(records: Sequence[RunRecord], path: Path) -> None:
    """Draw the losses of the runs, and of their relatives if they have branches.

    Raises:
        MissingExtraError: if matplotlib is not installed.
        StorageError: if it cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no global state and no display
    except ImportError:
        raise MissingExtraError("report --png", package="matplotlib", extra="plot") from None
    found = families(records)
    drawn = list({record.run.root.resolve(): record for record in [*records, *_relatives(found)]}.values())
    canvas = Figure(figsize=(9, 5), layout="constrained")
    axes = canvas.add_subplot()
    for number, record in enumerate(drawn):
        colour = f"C{number % 10}"
        train, valid = record.curve("train/loss"), record.curve("val/loss")
        faint = bool(valid) and len(drawn) > 1
        axes.plot(
            train.steps,
            train.values,
            color=colour,
            alpha=0.35 if faint else 0.8,
            linewidth=1,
            label=None if faint else f"{record.name}, training",
        )
        axes.plot(valid.steps, valid.values, color=colour, marker="o", markersize=3, label=f"{record.name}, validation")
        least = least_loss(record.settings)
        if least is not None:
            axes.axhline(least, color=colour, linestyle="--", linewidth=1, label=f"{record.name}, least possible")
    for step in sorted({branch_step(branch) for family in found for branch in family.branches}):
        axes.axvline(step, color="gray", linestyle=":", linewidth=1)
    unit = loss_unit(record.settings for record in drawn)
    axes.set(xlabel="step", ylabel=f"loss ({unit})", title=", ".join(record.name for record in records))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    with explained(path):
        canvas.savefig(path, dpi=150)


def _relatives(found: Sequence[Family]) -> list[RunRecord]:
    return [record for family in found for record in [family.trunk, *family.branches]]

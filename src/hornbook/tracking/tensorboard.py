"""TensorBoard event files in RUN/tensorboard."""

import itertools
import json
from collections.abc import Mapping
from pathlib import Path

from hornbook.errors import MissingExtraError
from hornbook.tracking.tracker import Histogram, RunInfo, Scalar, Tracker


class TensorBoard(Tracker):
    """Tracker that writes scalars and texts, each at the step of its own event.

    Raises:
        MissingExtraError: the package tensorboard is not installed.
    """

    def __init__(self, directory: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtraError("TensorBoard", package="tensorboard", extra="tensorboard") from None
        self._open = SummaryWriter
        self._directory = directory

    def start(self, run: RunInfo) -> None:
        """Open the event file; after a resume TensorBoard hides what an earlier session wrote beyond it."""
        self._step = run.first_step
        purge = run.first_step + 1 if run.resumed else None
        self._writer = self._open(str(self._directory), purge_step=purge)
        config = json.dumps(run.config, indent=2, default=str)
        known = {"name": run.name, "tags": ", ".join(run.tags), "notes": run.notes, **run.details}
        facts = "\n\n".join(f"{name}: {value}" for name, value in known.items())
        self._writer.add_text("run", f"{facts}\n\n```json\n{config}\n```", run.first_step)

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """Numbers become scalars; everything else has no place in TensorBoard and is left to metrics.jsonl."""
        self._step = step
        for name, value in values.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._writer.add_scalar(name if "/" in name else f"{event}/{name}", value, step)

    def text(self, name: str, step: int, text: str) -> None:
        """A sample, as preformatted text."""
        indented = text.replace("\n", "\n    ")
        self._writer.add_text(name, f"    {indented}", step)

    def histogram(self, name: str, step: int, histogram: Histogram) -> None:
        """With its own bins; mean and variance, which TensorBoard does not show, are those of the bins' middles."""
        edges, counts = histogram.edges, histogram.counts
        middles = [(low + high) / 2 for low, high in itertools.pairwise(edges)]
        self._writer.add_histogram_raw(
            name,
            min=edges[0],
            max=edges[-1],
            num=sum(counts),
            sum=sum(n * middle for n, middle in zip(counts, middles, strict=True)),
            sum_squares=sum(n * middle**2 for n, middle in zip(counts, middles, strict=True)),
            bucket_limits=edges[1:],
            bucket_counts=counts,
            global_step=step,
        )

    def finish(self, status: str) -> None:
        """Write what is pending and close."""
        self._writer.add_text("status", status, self._step)
        self._writer.close()

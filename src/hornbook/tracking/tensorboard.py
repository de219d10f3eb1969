"""TensorBoard event files in RUN/tensorboard."""

import json
from collections.abc import Mapping
from pathlib import Path

from hornbook.errors import MissingExtraError
from hornbook.tracking.tracker import RunInfo, Scalar


class TensorBoard:
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
        facts = "\n\n".join([f"name: {run.name}", f"tags: {', '.join(run.tags)}", f"notes: {run.notes}"])
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

    def artifact(self, path: Path, name: str) -> None:
        """TensorBoard keeps no files."""

    def finish(self, status: str) -> None:
        """Write what is pending and close."""
        self._writer.add_text("status", status, self._step)
        self._writer.close()

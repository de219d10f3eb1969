"""Weights & Biases: online, or offline into RUN/wandb for a later `wandb sync`."""

import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from hornbook.config.tracking import WandbConfig
from hornbook.errors import MissingExtraError
from hornbook.tracking.tracker import ArtifactKind, Histogram, RunInfo, Scalar, Tracker

_EVENTS = (
    *(
        "train",
        "val",
        "mixture",
        "norms",
        "histograms",
        "skipped",
        "notice",
        "sample",
        "samples",
        "checkpoint",
        "eval",
        "generate",
    ),
)

_TYPES: Mapping[ArtifactKind, str] = {
    "best": "checkpoint",
    "final": "checkpoint",
    "tokenizer": "tokenizer",
    "samples": "samples",
}


class WeightsAndBiases(Tracker):
    """Tracker that logs to one W&B run, which a resumed run of ours goes on with.

    W&B's own step only grows, while our events carry steps of their own, so each kind of event has its own x-axis, such
    as `val/step`.

    Raises:
        MissingExtraError: the package wandb is not installed.
    """

    def __init__(self, config: WandbConfig, directory: Path) -> None:
        try:
            import wandb
        except ImportError:
            raise MissingExtraError("Weights & Biases", package="wandb", extra="wandb") from None
        self._wandb = wandb
        self._config = config
        self._directory = directory

    def start(self, run: RunInfo) -> None:
        """Open the W&B run: name, tags, notes, group and the resolved configuration."""
        self._run = self._wandb.init(
            id=self._identity(resumed=run.resumed),
            resume="allow" if run.resumed and self._config.mode == "online" else None,
            project=self._config.project,
            entity=self._config.entity,
            group=self._config.group,
            mode=self._config.mode,
            name=run.name,
            tags=list(run.tags),
            notes=run.notes or None,
            config={**run.config, "details": dict(run.details)},
            dir=str(self._directory),
            # stdout may carry JSON lines: leave it unwrapped; and stderr belongs to the live view
            settings=self._wandb.Settings(console="off", quiet=True),
        )
        for event in _EVENTS:
            self._run.define_metric(f"{event}/step", hidden=True)
            self._run.define_metric(f"{event}/*", step_metric=f"{event}/step")

    def log(self, event: str, step: int, values: Mapping[str, Scalar]) -> None:
        """One row with its own step beside it."""
        named = {name if "/" in name else f"{event}/{name}": value for name, value in values.items()}
        self._run.log({**named, f"{event}/step": step})

    def text(self, name: str, step: int, text: str) -> None:
        """A sample, as preformatted text."""
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        self._run.log(
            {name if "/" in name else f"sample/{name}": self._wandb.Html(f"<pre>{escaped}</pre>"), "sample/step": step}
        )

    def histogram(self, name: str, step: int, histogram: Histogram) -> None:
        """With its own bins."""
        made = self._wandb.Histogram(np_histogram=(list(histogram.counts), list(histogram.edges)))
        self._run.log({name: made, "histograms/step": step})

    def artifact(self, path: Path, name: str, kind: ArtifactKind) -> None:
        """Send a directory, if `[tracking.wandb] artifacts` names its kind.

        It is not copied first: offline, W&B notes where it lies, and `wandb sync` reads it there.
        """
        if kind not in self._config.artifacts:
            return
        artifact = self._wandb.Artifact(re.sub(r"[^A-Za-z0-9_.-]", "-", name), type=_TYPES[kind])
        artifact.add_dir(str(path.absolute()), policy="immutable", skip_cache=True)
        self._run.log_artifact(artifact)

    def finish(self, status: str) -> None:
        """Close the W&B run; it counts as failed if ours did."""
        self._run.summary["status"] = status
        self._run.finish(exit_code=1 if status == "failed" else 0)

    def _identity(self, *, resumed: bool) -> str:
        """The id of the W&B run, kept in the run directory: a name is not unique within a project."""
        file = self._directory / "wandb-id"
        if resumed and file.is_file():
            return file.read_text().strip()
        identity = secrets.token_hex(4)
        file.write_text(identity + "\n")
        return identity

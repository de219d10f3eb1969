"""`[tracking]`: who hears of a run's events. metrics.jsonl in the run directory is always written."""

from typing import Literal

from hornbook.config.table import Table


class WandbConfig(Table):
    """Weights & Biases. Needs the extra `wandb`."""

    project: str = "hornbook"
    entity: str | None = None
    group: str | None = None
    mode: Literal["online", "offline", "disabled"] = "offline"


class TrackingConfig(Table):
    """Where events go besides metrics.jsonl."""

    console: Literal["auto", "rich", "json", "none"] = "auto"
    """auto: a live view on stderr when it is a terminal, and JSON lines on stdout whenever stdout is not one."""
    tensorboard: bool = False
    """Event files in RUN/tensorboard. Needs the extra `tensorboard`."""
    wandb: WandbConfig | None = None

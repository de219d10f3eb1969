"""`[tracking]`: who hears of a run's events. metrics.jsonl in the run directory is always written."""

from typing import Literal, Self

from pydantic import NonNegativeInt, model_validator

from hornbook.config.table import Table


class WandbConfig(Table):
    """Weights & Biases. Needs the extra `wandb`."""

    project: str = "hornbook"
    entity: str | None = None
    group: str | None = None
    mode: Literal["online", "offline", "disabled"] = "offline"
    artifacts: tuple[Literal["best", "final", "tokenizer", "samples"], ...] = ("best", "final", "tokenizer", "samples")
    """Directories sent when the run finishes. Offline nothing is copied: `wandb sync` reads them where they lie."""


class TrackingConfig(Table):
    """Where events go besides metrics.jsonl."""

    console: Literal["auto", "rich", "json", "none"] = "auto"
    """auto: a live view on stderr when it is a terminal, and JSON lines on stdout whenever stdout is not one."""
    tensorboard: bool = False
    """Event files in RUN/tensorboard. Needs the extra `tensorboard`."""
    wandb: WandbConfig | None = None
    norms_every: NonNegativeInt = 0
    """Steps between norms of gradients, weights, updates and activations by module; 0 is never."""
    histograms_every: NonNegativeInt = 0
    """Steps between histograms of weights and gradients by module, for TensorBoard and W&B; 0 is never."""

    @model_validator(mode="after")
    def _histograms_have_a_place(self) -> Self:
        if self.histograms_every and not self.tensorboard and self.wandb is None:
            raise ValueError(
                f"histograms_every = {self.histograms_every}, but nobody shows histograms; set tensorboard = true or "
                "open [tracking.wandb]"
            )
        return self

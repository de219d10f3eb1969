"""`[objective]`: what the model is asked to predict and how its surprise becomes a loss."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat

from hornbook.config.table import Table


class NextTokenConfig(Table):
    """Autoregressive training: each token from those before it."""

    kind: Literal["next_token"] = "next_token"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """epsilon: targets are (1 - epsilon) one-hot + epsilon / vocab_size, the gold class included."""
    z_loss: NonNegativeFloat = 0.0
    """Weight of the squared log-normaliser, which keeps logits from drifting. 1e-4 is usual."""


ObjectiveConfig = NextTokenConfig
"""One kind so far; a second makes this a union discriminated on `kind`."""

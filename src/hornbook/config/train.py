"""`[train]` and `[checkpoint]`: how long, how much at a time, how precisely, and what is kept."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from hornbook.config.table import Table


class TrainConfig(Table):
    """One run of the loop."""

    steps: PositiveInt = 1000
    """Optimizer updates."""
    tokens_per_step: PositiveInt = 16_384
    """Positions in one update, over all micro-batches and ranks; a multiple of micro_batch_size * context_length."""
    micro_batch_size: PositiveInt = 8
    """Windows in one forward pass."""
    max_minutes: PositiveFloat | None = None
    """Stop cleanly, with a checkpoint, after so many minutes of this process."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16 and fp16 compute products in 16 bits and keep fp32 weights, gradients and optimizer state; fp16, for GPUs
    that have no bf16, scales its loss as needed."""
    activation_checkpointing: bool = False
    """Recompute each block in backward: less memory, about a third more time."""
    nll_chunk_tokens: PositiveInt = 2048
    """Rows of logits that exist at once when losses are computed."""
    log_every: PositiveInt = 10
    eval_every: NonNegativeInt = 200
    """Steps between validations on a fixed set; 0 is never (not even at the end)."""
    eval_tokens: PositiveInt = 65_536
    """Size of that set; a shorter validation split is used whole."""
    sample_every: NonNegativeInt = 0
    """Steps between generated samples; 0 is never."""
    sample_prompts: tuple[str, ...] = ("\n",)


class CheckpointConfig(Table):
    """Light checkpoints hold weights, full ones all that resuming needs; best is that of the lowest validation loss."""

    light_every: NonNegativeInt = 0
    """Steps between light checkpoints; 0 is never."""
    light_keep: PositiveInt = 3
    full_every: NonNegativeInt = 500
    """Steps between full checkpoints; 0 is only at the end."""
    full_keep: PositiveInt = 2
    best: bool = True
    """Keep the best checkpoint by validation loss, outside retention."""

"""`[train]` and `[checkpoint]`: how long, how much at a time, how precisely, and what is kept."""

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hornbook.config.table import Table


class TrainConfig(Table):
    """One run of the loop."""

    steps: PositiveInt = 1000
    """Optimizer updates."""
    tokens_per_step: PositiveInt = 16_384
    """Positions in one update, over all micro-batches and ranks; a multiple of micro_batch_size * context_length."""
    sequences_per_step: PositiveInt | None = None
    """Rows (for preferences: pairs) in one update, instead of tokens_per_step: what tuning counts."""
    micro_batch_size: PositiveInt | Literal["auto"] = 8
    """Windows in one forward pass; auto takes what memory holds, up to 8,192 tokens on a CPU and 65,536 on a GPU. It
    shrinks when memory runs out; tokens_per_step and, but for dropout's noise, the result stay."""
    max_minutes: PositiveFloat | None = None
    """Stop cleanly, with a checkpoint, after so many minutes of this process."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """bf16 and fp16 compute products in 16 bits and keep fp32 weights, gradients and optimizer state; fp16, for GPUs
    that have no bf16, scales its loss as needed."""
    fp32_products: Literal["auto", "exact", "fast"] = "auto"
    """How float32 products are computed. fast: through oneDNN on a CPU, by TF32 (10 bits) on CUDA. auto: fast where
    that is faster and as accurate as float32, and on CUDA where precision is 16 bits anyway."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile forward, backward and update; auto: where the run is long enough to win it back. Resolved once a run."""
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
    patience: PositiveInt | None = None
    """End the run after so many validations in a row without a new lowest loss; "none" goes on to the last step."""
    sample_prompts: tuple[str, ...] = ("\n",)
    max_skipped_in_a_row: PositiveInt = 5
    """A step whose loss or gradient is not finite is left out; so many one after another end the run."""
    spike_sigma: PositiveFloat | None = None
    """Leave out steps, too, whose loss or gradient norm lies so many standard deviations above its recent mean."""
    spike_window: Annotated[int, Field(ge=2)] = 128
    """Recent: the last so many steps that were not left out. Nothing is a spike before half of them were made."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.spike_window != type(self).model_fields["spike_window"].default and self.spike_sigma is None:
            raise ValueError("spike_window has no effect without spike_sigma; set that (6 is usual), or leave it out")
        if self.patience is not None and not self.eval_every:
            raise ValueError("patience counts validations, and eval_every = 0 makes none; set one of them otherwise")
        return self


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
    sharded: bool = False
    """With distributed.strategy = "fsdp": every process writes its own part, while training goes on. Everything reads
    such checkpoints; `hornbook checkpoint consolidate` makes ordinary ones of them."""

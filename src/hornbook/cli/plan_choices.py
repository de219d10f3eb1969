"""What a plan takes from this machine: the choices of training, its speed, and what its allocator holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hornbook.config.model import ModelConfig
    from hornbook.config.run import Config
    from hornbook.planning.dry_run import DryRun
    from hornbook.planning.machine import Machine
    from hornbook.training.choices import Choices


def shape_for(config: Config) -> tuple[ModelConfig, list[str]]:
    """The shape that would be trained, and what was assumed of it: the data need not be there yet."""
    from hornbook.tokenizer.tokenizer import Tokenizer

    if config.model.vocab_size is not None:
        return config.model.complete(vocab_size=config.model.vocab_size), []
    if config.tokenizer.path.exists():
        return config.model.complete(vocab_size=Tokenizer.load(config.tokenizer.path).vocab_size), []
    size = config.tokenizer.vocab_size
    return config.model.complete(vocab_size=size), [f"vocabulary of {size:,}: tokenizer.vocab_size, not trained yet"]


def chosen(config: Config, shape: ModelConfig) -> tuple[Choices, list[str]]:
    """Those of a run that begins now; where it would be refused for its memory, why, and those of single windows."""
    import torch

    from hornbook.distributed.device import resolve_device
    from hornbook.errors import ConfigError
    from hornbook.training.choices import Choices
    from hornbook.training.choosing import check_shares, choose

    device = resolve_device(config.run.device)
    if config.run.threads is not None:
        torch.set_num_threads(config.run.threads)
    check_shares(config, 1)
    try:
        return choose(config, shape, device, kept=None, steps_left=config.train.steps)
    except ConfigError as error:
        rows = config.train.micro_batch_size
        alone = Choices(
            device=device.type,
            threads=torch.get_num_threads(),
            fp32_products="exact",
            compile=False,
            plain_max_keys=0,
            micro_batch_size=1 if rows == "auto" else rows,
            eval_batch_size=1,
        )
        return alone, [f"training would refuse here: {error}"]


def rates_of(config: Config, choices: Choices) -> Machine | None:
    """This machine's speed, where it trains on its CPU in a precision that the pieces know."""
    from hornbook.planning.machine import machine
    from hornbook.tracking.progress import Progress

    if choices.device != "cpu" or config.train.precision == "fp16":
        return None
    with Progress("timing this machine", unit="pieces", console=config.tracking.console) as progress:
        return machine(
            config.train.precision,
            choices.fp32_products,
            say=lambda name, done, total: progress.update(done, total),
        )


def dry_run_of(config: Config, shape: ModelConfig, choices: Choices) -> DryRun | None:
    """What a step on this CPU would hold; None elsewhere, and compiled, where layers have memory plans of their own."""
    import torch

    from hornbook.models.lora import add_lora
    from hornbook.models.transformer import Transformer
    from hornbook.optim.build import state_tensors
    from hornbook.planning.dry_run import dry_run

    if choices.device != "cpu" or choices.compile:
        return None
    with torch.device("meta"):
        model = Transformer(shape).train()
        if config.lora is not None:
            add_lora(model, config.lora, seed=0)
    model.use_plain_attention(choices.plain_max_keys)
    model.activation_checkpointing = config.train.activation_checkpointing
    rows = choices.micro_batch_size * config.objective.tokens_read
    return dry_run(
        model,
        rows=rows,
        length=shape.context_length,
        micro_batches=config.rows_per_step // choices.micro_batch_size,
        half=config.train.precision != "fp32",
        state_tensors=state_tensors(config.optim),
        chunk_tokens=config.train.nll_chunk_tokens,
    )

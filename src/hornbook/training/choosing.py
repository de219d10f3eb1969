"""How choices are made: from the configuration where it says, else from what the device was measured to do well."""

from typing import Any

import torch

from hornbook.config.model import ModelConfig
from hornbook.config.run import Config
from hornbook.distributed.precision import DTYPES, Products
from hornbook.distributed.process_group import ALONE, Processes
from hornbook.errors import ConfigError
from hornbook.models.accounting import parameter_counts, run_flops_per_token
from hornbook.models.attention import plain_keys
from hornbook.models.memory import training_memory
from hornbook.optim.build import state_tensors
from hornbook.profiling.memory import free_bytes
from hornbook.profiling.probe import peak_flops, probe_fast_products
from hornbook.training.choices import Choices
from hornbook.training.compiled import EAGER_SHARE_OF_PEAK, is_warm, pays_off
from hornbook.training.reference import kind_of

AUTO_TOKENS = {"cpu": 8_192, "mps": 16_384, "cuda": 65_536}
"""Tokens in a micro-batch beyond which a larger one is not faster."""
AUTO_SHARE = 0.8
"""Of the free memory that micro_batch_size = "auto" fills by the estimate, which is good to about a third."""
CUT_UP = ("weights", "gradients", "optimizer")
"""What fully sharded processes share, of the parts of the estimate; the layer or two that are whole are left out."""


def choose(
    config: Config,
    shape: ModelConfig,
    device: torch.device,
    *,
    kept: Choices | None,
    steps_left: int,
    processes: Processes = ALONE,
) -> tuple[Choices, list[str]]:
    """The choices of a run, and lines that people should read; `kept` are those that it was begun with.

    The first of several `processes`, which all call this, chooses for all.

    Raises:
        ConfigError: if not even one window fits into memory, or the processes cannot share a step.
    """
    check_shares(config, processes.world_size)

    def decide() -> tuple[dict[str, Any], list[str]]:
        choices, remarks = _choose(config, shape, device, processes, kept=kept, steps_left=steps_left)
        return choices.to_json(), remarks

    chosen, remarks = processes.first(decide)
    if config.distributed.strategy == "fsdp" and processes.world_size == 1:
        remarks = [*remarks, 'distributed.strategy = "fsdp" has no effect with one process']
    if kind_of(config) is not None and (config.model.dropout or config.model.ngram_dropout):
        remarks = [*remarks, "preferences are trained without dropout: that of [model] is taken as 0"]
    if kind_of(config) == "copy" and config.distributed.cuts_up_model(processes.world_size):
        remarks = [
            *remarks,
            "every process holds the whole reference, though only a part of the model: "
            'objective.reference = "precomputed" needs it before the first step alone',
        ]
    return Choices.from_json(chosen), remarks


def _choose(
    config: Config,
    shape: ModelConfig,
    device: torch.device,
    processes: Processes,
    *,
    kept: Choices | None,
    steps_left: int,
) -> tuple[Choices, list[str]]:
    if kept is not None and kept.device == device.type:
        return _kept(config, kept, processes.world_size), []
    remarks = (
        [] if kept is None else [f"begun on {kept.device}, goes on on {device.type}: chosen anew, so bits may differ"]
    )
    products, why_products = _products(config, device)
    plain, why_plain = _plain_max_keys(config, device, products)
    plain_attention = plain >= shape.context_length
    rows, why_rows, warnings = _micro_batch(config, shape, device, processes, plain=plain_attention)
    if config.distributed.cuts_up_model(processes.world_size):
        compiles, why_compile = False, 'distributed.strategy = "fsdp"'
    else:
        compiles, why_compile = _compile(config, shape, device, rows=rows, steps_left=steps_left)
    choices = Choices(
        device=device.type,
        threads=config.run.threads or torch.get_num_threads(),
        fp32_products=products,
        compile=compiles,
        plain_max_keys=plain,
        micro_batch_size=rows,
        eval_batch_size=rows,
        world_size=processes.world_size,
        reasons={
            name: why
            for name, why in {
                "fp32_products": why_products,
                "compile": why_compile,
                "plain_max_keys": why_plain,
                "micro_batch_size": why_rows,
            }.items()
            if why
        },
    )
    return choices, [*remarks, *warnings]


def _kept(config: Config, kept: Choices, world_size: int) -> Choices:
    """The same choices, but for what depends on how many processes there are and what the user says now."""
    same, rows = kept.world_size == world_size, config.train.micro_batch_size
    if rows == "auto":
        share = config.rows_per_step // world_size
        fitting = (size for size in range(1, kept.micro_batch_size + 1) if share % size == 0)
        rows = kept.micro_batch_size if same else max(fitting)
    threads = kept.threads if same else torch.get_num_threads()
    compiles = kept.compile and not config.distributed.cuts_up_model(world_size)
    return kept.replaced(
        threads=config.run.threads or threads, micro_batch_size=rows, world_size=world_size, compile=compiles
    )


def check_shares(config: Config, world_size: int) -> None:
    """Make sure that a step can be cut into micro-batches, the same number for each of `world_size` processes.

    Raises:
        ConfigError: naming the nearest values that can.
    """
    samples, size = config.rows_per_step, config.train.micro_batch_size
    rows = 1 if size == "auto" else size
    if samples % (rows * world_size) == 0:
        return
    name, given, unit = config.step_size
    per = rows * world_size * unit
    nearest = [str(near) for near in (given // per * per, (given // per + 1) * per) if near]
    fitting = [n for n in range(1, samples + 1) if samples % (n * world_size) == 0]
    advice = f"nearest: {name} = {' or '.join(nearest)}"
    if fitting:
        advice += f", or train.micro_batch_size = {min(fitting, key=lambda n: abs(n - rows))}"
    what = f"is {samples} windows, which" if unit > 1 else "are rows that"
    raise ConfigError(
        f"{name} = {given} {what} {world_size} processes cannot share in micro-batches of {rows}; {advice}"
    )


def _plain_max_keys(config: Config, device: torch.device, products: Products) -> tuple[int, str]:
    match config.model.attention_backend:
        case "auto":
            return plain_keys(device.type, DTYPES[config.train.precision], fast_products=products == "fast"), ""
        case "compiled":
            keys = config.model.context_length * config.objective.tokens_read
            return keys, 'attention_backend = "compiled"'
        case backend:
            return 0, f'attention_backend = "{backend}"'


def _products(config: Config, device: torch.device) -> tuple[Products, str]:
    setting = config.train.fp32_products
    if setting != "auto":
        return setting, f'fp32_products = "{setting}"'
    fast = probe_fast_products(device)
    if fast is None:
        return "exact", ""
    if device.type == "cuda" and config.train.precision != "fp32":
        return "fast", "TF32: the others are of 16 bits"
    measured = f"{fast.speed_up:.1f} x by the other path, with an error of {fast.error:.0e}"
    return ("fast" if fast.is_as_good_as_exact else "exact"), measured


def _compile(
    config: Config, shape: ModelConfig, device: torch.device, *, rows: int, steps_left: int
) -> tuple[bool, str]:
    setting = "on" if config.model.attention_backend == "compiled" else config.train.compile
    if setting != "auto":
        return setting == "on", f'compile = "{setting}"'
    if config.objective.kind == "preference":
        return False, "policy and reference compute alike"
    peak = peak_flops(device, config.train.precision)
    seconds = None
    if peak is not None:
        step = config.positions_per_step * run_flops_per_token(config, shape)
        seconds = steps_left * step / (peak * EAGER_SHARE_OF_PEAK)
        if config.train.max_minutes is not None:
            seconds = min(seconds, 60.0 * config.train.max_minutes)
    warm = is_warm(shape, rows, config.train.precision, config.objective.kind, config.lora)
    return pays_off(seconds=seconds, device=device, warm=warm)


def _micro_batch(
    config: Config, shape: ModelConfig, device: torch.device, processes: Processes, *, plain: bool
) -> tuple[int, str, list[str]]:
    """Rows, why, and warnings."""
    samples = config.rows_per_step // processes.world_size
    free = free_bytes(device)
    if free is not None and device.type == "cpu":
        free //= processes.local_world_size
    cuts_up = config.distributed.cuts_up_model(processes.world_size)
    parts = (config.distributed.shard_group_size or processes.world_size) if cuts_up else 1
    owners = processes.world_size if config.distributed.shard_optimizer and not cuts_up else 1

    def needed(rows: int) -> int:
        memory = training_memory(
            shape,
            rows=rows * config.objective.tokens_read,
            half=config.train.precision != "fp32",
            state_tensors=state_tensors(config.optim) / owners,
            chunk_tokens=config.train.nll_chunk_tokens,
            activation_checkpointing=config.train.activation_checkpointing,
            plain_attention=plain,
            lora=config.lora,
        )
        own = sum(size // parts if name in CUT_UP else size for name, size in memory.items())
        return own + (4 * sum(parameter_counts(shape).values()) if kind_of(config) == "copy" else 0)

    if free is not None and needed(1) > free:
        advice = "" if config.train.activation_checkpointing else "train.activation_checkpointing = true, "
        raise ConfigError(
            f"a micro-batch of one window needs about {_gigabytes(needed(1))}, and {_gigabytes(free)} are free on "
            f"{device}; use {advice}a smaller model, a shorter context_length or another device"
        )
    rows = config.train.micro_batch_size
    if rows != "auto":
        if free is None or needed(rows) <= free:
            return rows, "", []
        about = f"a micro-batch of {rows} needs about {_gigabytes(needed(rows))}, and {_gigabytes(free)} are free"
        return rows, "", [f'{about}: it may not fit; micro_batch_size = "auto" takes what does']
    most = AUTO_TOKENS[device.type] // (shape.context_length * config.objective.tokens_read)
    fitting = [size for size in range(1, samples + 1) if samples % size == 0 and size <= max(1, most)]
    if free is not None:
        fitting = [size for size in fitting if needed(size) <= AUTO_SHARE * free] or [1]
    rows = fitting[-1]
    room = "" if free is None else f" of {_gigabytes(free)} free"
    return rows, f"about {_gigabytes(needed(rows))}{room}", []


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.2g} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.0f} MB"

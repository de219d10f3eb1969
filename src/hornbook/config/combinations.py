"""Settings that are right alone and wrong together, across tables. A table checks its own in its own file.

Each check returns what is wrong, naming the keys, their values and what would be right, or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbook.config import tuning
from hornbook.config.objective import BlockDiffusionConfig, PreferenceConfig
from hornbook.config.optim import ConstantSchedule, NoamSchedule, ScheduleFreeAdamWConfig, WsdSchedule

if TYPE_CHECKING:
    from hornbook.config.run import Config


def check(config: Config) -> None:
    """Refuse what cannot be meant.

    Raises:
        ValueError: for the first combination that is wrong.
    """
    for problem in (
        _batch(config),
        _stride(config),
        _warmup(config),
        _decay(config),
        _averages(config),
        _attention(config),
        _blocks(config),
        _objective_steps(config),
        _parts(config),
        _lora(config),
        *tuning.problems(config),
    ):
        if problem is not None:
            raise ValueError(problem)


def _batch(config: Config) -> str | None:
    rows = 1 if config.train.micro_batch_size == "auto" else config.train.micro_batch_size
    name, size, unit = config.step_size
    batch = rows * unit
    if size % batch == 0:
        return None
    below, above = size // batch * batch, (size // batch + 1) * batch
    product = " * model.context_length" if unit > 1 else ""
    return (
        f"{name} = {size} is not a multiple of train.micro_batch_size{product} = {batch}; "
        f"nearest: {f'{below} or ' if below else ''}{above}"
    )


def _attention(config: Config) -> str | None:
    if config.model.attention_backend != "compiled" or config.train.compile != "off":
        return None
    return (
        'model.attention_backend = "compiled" has no effect with train.compile = "off"; set that to "on", or the '
        'backend to "auto"'
    )


def _blocks(config: Config) -> str | None:
    objective, length = config.objective, config.model.context_length
    if not isinstance(objective, BlockDiffusionConfig):
        return None
    block = objective.block_length
    if block > length or length % block:
        divisors = [size for size in range(1, length + 1) if length % size == 0]
        near = sorted({max(size for size in divisors if size <= block), min([*filter(block.__lt__, divisors), length])})
        return (
            f"objective.block_length = {block} is not a divisor of model.context_length = {length}; "
            f"nearest: {' or '.join(map(str, near))}"
        )
    if config.model.ngram_length > 1:
        return (
            f'model.ngram_length = {config.model.ngram_length} with objective.kind = "block_diffusion": n-grams at the '
            "start of a block would be of masked tokens in training and of finished ones in decoding; leave out "
            'ngram_length and ngram_rows, or use kind = "masked_diffusion"'
        )
    return None


def _objective_steps(config: Config) -> str | None:
    for name in ("curriculum_steps", "diffusion_weight_steps"):
        steps = getattr(config.objective, name, 0)
        if steps > config.train.steps:
            return (
                f"objective.{name} = {steps} is more than train.steps = {config.train.steps}: the run would end before "
                f"it does; choose at most {config.train.steps}"
            )
    return None


def _parts(config: Config) -> str | None:
    """What needs whole parameters where every process has parts of them."""
    if config.distributed.strategy != "fsdp":
        if not config.checkpoint.sharded:
            return None
        return (
            "checkpoint.sharded = true writes the parts of a model that every process has, and distributed.strategy = "
            f'"{config.distributed.strategy}" has whole ones; set that to "fsdp", or leave sharded out'
        )
    if config.train.compile == "on" or config.model.attention_backend == "compiled":
        key = "train.compile" if config.train.compile == "on" else "model.attention_backend"
        return f'{key} asks for compiled code, and distributed.strategy = "fsdp" runs without; set it to "auto"'
    if config.tracking.histograms_every:
        return (
            f"tracking.histograms_every = {config.tracking.histograms_every} needs whole parameters, and with "
            'distributed.strategy = "fsdp" no process has them; set it to 0 (norms_every works)'
        )
    return None


def _stride(config: Config) -> str | None:
    stride, length = config.data.stride, config.model.context_length
    if stride is None or stride <= length:
        return None
    return (
        f"data.stride = {stride} is more than model.context_length = {length}, so tokens between them would never be "
        f"trained on; choose at most {length}, or leave it out"
    )


def _warmup(config: Config) -> str | None:
    steps = config.train.steps
    warmup = config.schedule.warmup_steps
    if warmup is None or warmup <= steps:
        return None
    return (
        f"schedule.warmup_steps = {warmup} is more than train.steps = {steps}: the run would end before its peak rate; "
        f"choose at most {steps}" + ("" if isinstance(config.schedule, NoamSchedule) else ", or warmup_fraction")
    )


def _decay(config: Config) -> str | None:
    schedule, steps = config.schedule, config.train.steps
    if not isinstance(schedule, WsdSchedule):
        return None
    warmup, decay = schedule.warmup_steps, schedule.decay_steps
    warming = warmup if warmup is not None else round((schedule.warmup_fraction or 0.0) * steps)
    decaying = decay if decay is not None else round((schedule.decay_fraction or 0.0) * steps)
    if warming + decaying <= steps:
        return None
    rise = "schedule.warmup_steps" if warmup is not None else "schedule.warmup_fraction"
    fall = "schedule.decay_steps" if decay is not None else "schedule.decay_fraction"
    return (
        f"{rise} ({warming} steps) and {fall} ({decaying} steps) are longer together than train.steps = {steps}; "
        "shorten one of them"
    )


def _averages(config: Config) -> str | None:
    if not isinstance(config.optim, ScheduleFreeAdamWConfig) or isinstance(config.schedule, ConstantSchedule):
        return None
    return (
        'optim.kind = "schedule_free_adamw" takes the place of a schedule\'s decay, but schedule.kind = '
        f'"{config.schedule.kind}"; set schedule.kind = "constant", with warmup_steps or warmup_fraction'
    )


def _lora(config: Config) -> str | None:
    objective, lora = config.objective, config.lora
    if lora is None:
        return None
    if config.model.init_from is None and config.run.branch_from is None:
        return (
            "lora adapts a model that has learnt: it leaves the weights as they are, and without model.init_from "
            "these are random; set model.init_from, or take [lora] out"
        )
    if isinstance(objective, PreferenceConfig) and objective.reference == "adapter" and lora.also_train:
        return (
            f'objective.reference = "adapter" with lora.also_train = {list(lora.also_train)}: without adapters the '
            'model is no longer what it started from; use "copy" or "precomputed"'
        )
    return lora.misfit(config.model)

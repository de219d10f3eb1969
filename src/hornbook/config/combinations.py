"""Settings that are right alone and wrong together, across tables. A table checks its own in its own file.

Each check returns what is wrong, naming the keys, their values and what would be right, or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    ):
        if problem is not None:
            raise ValueError(problem)


def _batch(config: Config) -> str | None:
    rows = 1 if config.train.micro_batch_size == "auto" else config.train.micro_batch_size
    tokens, batch = config.train.tokens_per_step, rows * config.model.context_length
    if tokens % batch == 0:
        return None
    below, above = tokens // batch * batch, (tokens // batch + 1) * batch
    return (
        f"train.tokens_per_step = {tokens} is not a multiple of train.micro_batch_size * "
        f"model.context_length = {batch}; nearest: {f'{below} or ' if below else ''}{above}"
    )


def _attention(config: Config) -> str | None:
    if config.model.attention_backend != "compiled" or config.train.compile != "off":
        return None
    return (
        'model.attention_backend = "compiled" has no effect with train.compile = "off"; set that to "on", or the '
        'backend to "auto"'
    )


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

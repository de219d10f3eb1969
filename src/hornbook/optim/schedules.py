"""Learning-rate schedules: pure functions from the number of a step to what multiplies the peak learning rate.

Updates are counted u = step + 1 = 1 ... total, so nothing is wasted on a zero:

    u <= w        u / w                                  linear warm-up: the w-th update is the first at the peak
    w < u         final + (1 - final) shape(x)           x runs from 0 at the peak to 1 at the last update

    cosine  shape(x) = (1 + cos(pi x)) / 2     linear  1 - x     sqrt  1 - sqrt(x)

The last update has exactly final_fraction of the peak; if that is 0, zero lies one update past the end, so the last
update still counts. Without warm-up the first update is at the peak. Past the end the last value is kept.
"""

import math
from collections.abc import Callable

from hornbook.config.optim import (
    ConstantSchedule,
    CosineSchedule,
    LinearSchedule,
    NoamSchedule,
    ScheduleConfig,
    WsdSchedule,
)

SHAPES: dict[str, Callable[[float], float]] = {
    "cosine": lambda x: 0.5 * (1.0 + math.cos(math.pi * x)),
    "linear": lambda x: 1.0 - x,
    "sqrt": lambda x: 1.0 - math.sqrt(x),
}


def multiplier(schedule: ScheduleConfig, step: int, total_steps: int, d_model: int) -> float:
    """What the peak learning rate is multiplied by at `step` (0 is the first update): in (0, 1], for Noam in (0, inf).

    `d_model` is read by Noam only ("Attention is all you need", arXiv:1706.03762, equation 3).
    """
    update = min(step + 1, total_steps)
    if isinstance(schedule, NoamSchedule):
        return float(d_model**-0.5 * min(update**-0.5, update * schedule.warmup_steps**-1.5))
    warmup = warmup_steps(schedule, total_steps)
    if update <= warmup:
        return update / warmup
    match schedule:
        case ConstantSchedule():
            return 1.0
        case CosineSchedule():
            return _decay("cosine", update, max(warmup, 1), total_steps, schedule.final_fraction)
        case LinearSchedule():
            return _decay("linear", update, max(warmup, 1), total_steps, schedule.final_fraction)
        case WsdSchedule():
            begin = plateau_end(schedule, total_steps)
            return _decay(schedule.decay_shape, update, begin, total_steps, schedule.final_fraction)


def plateau_end(schedule: WsdSchedule, total_steps: int) -> int:
    """The last update at the peak, after which the decay begins: at least the first update, and after the warm-up."""
    decay_steps = schedule.decay_steps or max(1, round((schedule.decay_fraction or 0.0) * total_steps))
    return max(warmup_steps(schedule, total_steps), 1, total_steps - decay_steps)


def warmup_steps(schedule: ConstantSchedule | CosineSchedule | LinearSchedule | WsdSchedule, total_steps: int) -> int:
    """Updates of linear warm-up: given as such, or as a fraction of the run (rounded), or none."""
    if schedule.warmup_steps is not None:
        return schedule.warmup_steps
    return round((schedule.warmup_fraction or 0.0) * total_steps)


def _decay(shape: str, update: int, begin: int, end: int, final: float) -> float:
    """From 1 at update `begin` to `final` at update `end`, or to 0 at `end` + 1."""
    if update <= begin:
        return 1.0
    x = (update - begin) / (end - begin + (1 if final == 0.0 else 0))
    return final + (1.0 - final) * SHAPES[shape](x)

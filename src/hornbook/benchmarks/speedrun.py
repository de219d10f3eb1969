"""`hornbook bench speedrun`: how long one recipe trains to a loss, against another recipe or nanoGPT's own command.

    before        tokenizer and data, once, for both; counted for neither
    each seed     ours, compiled          seconds of its steps and loss
                  theirs, as published    seconds of its steps and loss, seconds of the command
                  ours, as it stands      seconds of the command, and loss

Every run is a process of its own, and who goes first alternates. How many steps a run makes stands in its recipe; the
clock decides nothing. Seconds of training are those of the steps: compiling (the first steps count like the median
step), validation, samples and checkpoints are excluded for both. Seconds of the command are all that passes from
starting to the end of the train command, with empty folders for everything that is kept between processes.
The loss is that of the last weights over the whole validation split in windows of `window` tokens, each token once.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from hornbook.benchmarks.interval import Interval, median_interval

WARM_UP_STEPS = 5
"""Steps at the start that count like the median step: they compile."""
TRAINING_BAR = (15.0, 25.0)
COMMAND_BAR = (8.0, 12.0)
"""Floor and aim, times as fast."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What came of one process."""

    contestant: str
    seed: int
    steps: int
    training_seconds: float
    command_seconds: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to train: `run(seed)` is a whole process, and the measurement of what it left."""

    name: str
    run: Callable[[int], Finished]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How many times as fast ours is, over the seeds."""

    ratio: Interval
    floor: float
    aim: float
    learned: bool
    """Whether the median of our losses, in the runs that were timed, reaches the target."""

    @property
    def met(self) -> bool:
        """Whether the median reaches the floor, by runs that are good enough."""
        return self.learned and self.ratio.median >= self.floor


def race(
    ours: Contestant, theirs: Contestant, ours_whole: Contestant, *, seeds: list[int], say: Callable[[str], None]
) -> list[Finished]:
    """Every contestant once for each seed; who begins alternates."""
    done = []
    for i, seed in enumerate(seeds):
        order = [ours, theirs, ours_whole]
        for contestant in order if i % 2 == 0 else order[::-1]:
            done.append(contestant.run(seed))
            say(words(done[-1]))
    return done


def words(run: Finished) -> str:
    """A run as a line."""
    return (
        f"{run.contestant:<34} seed {run.seed:<6}{run.steps:>6} steps{run.training_seconds:>9.2f} s of training"
        f"{run.command_seconds:>8.1f} s in all   loss {run.loss:.4f}"
    )


def training_seconds(steps: list[float]) -> float:
    """Seconds of all steps, where the first ones, which compile, count like the median of the others."""
    warm = steps[WARM_UP_STEPS:] or steps
    return sum(warm) + (len(steps) - len(warm)) * statistics.median(warm)


def verdicts(runs: list[Finished], ours: str, theirs: str, ours_whole: str, *, target: float) -> dict[str, Verdict]:
    """Training and whole commands, paired by seed."""

    def seconds(name: str, field: str) -> dict[int, float]:
        return {run.seed: getattr(run, field) for run in runs if run.contestant == name}

    def verdict(name: str, field: str, bar: tuple[float, float]) -> Verdict:
        mine, other = seconds(name, field), seconds(theirs, field)
        ratio = median_interval([other[seed] / mine[seed] for seed in mine])
        learned = _median_loss(runs, name) <= target
        return Verdict(ratio=ratio, floor=bar[0], aim=bar[1], learned=learned)

    return {
        "training": verdict(ours, "training_seconds", TRAINING_BAR),
        "command": verdict(ours_whole, "command_seconds", COMMAND_BAR),
    }


def _median_loss(runs: list[Finished], name: str) -> float:
    return statistics.median([run.loss for run in runs if run.contestant == name])


def summary(runs: list[Finished], found: dict[str, Verdict], target: float) -> Iterator[str]:
    """The result as lines."""
    for name in dict.fromkeys(run.contestant for run in runs):
        losses, median = [run.loss for run in runs if run.contestant == name], _median_loss(runs, name)
        reached = sum(loss <= target for loss in losses)
        yield (
            f"{name:<34} median loss {median:.4f}, target {target:g} "
            f"{'met' if median <= target else 'MISSED'} ({reached} of {len(losses)} seeds)"
        )
    for what, verdict in found.items():
        ratio = verdict.ratio
        yield (
            f"{what:<9} ours {ratio.median:.2f} x as fast ({ratio.low:.2f} to {ratio.high:.2f}), "
            f"floor {verdict.floor:g} x {'met' if verdict.met else 'MISSED'}, aim {verdict.aim:g}"
        )


def summary_json(runs: list[Finished], found: dict[str, Verdict], target: float) -> dict[str, Any]:
    """What follows from all runs."""
    names = list(dict.fromkeys(run.contestant for run in runs))
    medians = {name: _median_loss(runs, name) for name in names}
    return {
        "target": target,
        "median_loss": medians,
        "target_met": {name: loss <= target for name, loss in medians.items()},
        "ratios": {name: asdict(verdict) | {"met": verdict.met} for name, verdict in found.items()},
    }

"""One torch optimizer for every rule: each group moves by its own.

Frozen or gradientless parameters stay where they are, do not decay, and their step does not count.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from hornbook.optim.averaging import AVERAGE, TRAINED
from hornbook.optim.groups import ParameterGroup
from hornbook.optim.rule import Counts, Number, Numbers, OnWhole, Rule, Tensors
from hornbook.optim.slices import slices

Move = tuple[Rule, Tensors, Numbers]


class RuledOptimizer(torch.optim.Optimizer):
    """Moves the parameters of each group by `group["rule"]` at `group["lr"]`. All state exists from the start."""

    def __init__(self, groups: Iterable[ParameterGroup], *, ema_decay: float | None = None) -> None:
        """`ema_decay` keeps an average of the weights beside them, for `hornbook.optim.averaging`."""
        super().__init__([dict(group) for group in groups], {})
        self.ema_decay = ema_decay
        self.on_whole: OnWhole | None = None
        """For a strategy to set whose processes have parts of each parameter."""
        self._run: Callable[[Sequence[Move]], None] = move_in_slices
        self._as_number: Callable[[float], Number] = float
        for group in self.param_groups:
            for parameter in group["params"]:
                state = {**first_counts(group["rule"]), **group["rule"].first_state(parameter)}
                self.state[parameter] = state
                if ema_decay is not None:
                    state[AVERAGE] = parameter.detach().clone()

    def compile_update(self) -> None:
        """From now on, compile: one pass over memory for all parameters. The first update takes the time for it."""
        self._run = torch.compile(move, fullgraph=True, dynamic=False)
        self._as_number = _as_tensor

    def run_eagerly(self) -> None:
        """Undo `compile_update`; a first compiled update that failed to compile has changed nothing."""
        self._run, self._as_number = move_in_slices, float

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient. A closure is not supported."""
        assert closure is None
        moves: list[Move] = []
        counted: list[tuple[list[Tensor], Counts]] = []
        for group in self.param_groups:
            for counts, parameters in self._by_counts(group):
                numbers, counts_after = group["rule"].advance(counts, lr=group["lr"])
                numbers = {**numbers, **self._ema_numbers(counts_after["step"])}
                numbers = {name: self._as_number(value) for name, value in numbers.items()}
                moves.append((group["rule"], self._tensors(group["rule"], parameters), numbers))
                counted.append((parameters, counts_after))
        if moves:
            self._run(moves)
        for parameters, counts_after in counted:
            for parameter in parameters:
                for key, value in counts_after.items():
                    self.state[parameter][key].fill_(value)

    def _by_counts(self, group: dict[str, Any]) -> Iterator[tuple[dict[str, float], list[Tensor]]]:
        """Parameters that have a gradient, together where they have the same past, as all do but in odd models."""
        names = list(group["rule"].first_counts())
        together: dict[tuple[float, ...], list[Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                together[tuple(self.state[parameter][name].item() for name in names)].append(parameter)
        for values, parameters in together.items():
            yield dict(zip(names, values, strict=True)), parameters

    def _tensors(self, rule: Rule, parameters: list[Tensor]) -> Tensors:
        keys = [key for key in self.state[parameters[0]] if key not in rule.first_counts()]
        assert TRAINED not in keys, "averages are shown: resume_training first"
        return Tensors(
            parameters=parameters,
            gradients=[parameter.grad for parameter in parameters if parameter.grad is not None],
            state={key: [self.state[parameter][key] for parameter in parameters] for key in keys},
            on_whole=self.on_whole,
        )

    def _ema_numbers(self, step: float) -> dict[str, float]:
        """The average forgets fast at first, as if it had begun with the weights of the first updates."""
        if self.ema_decay is None:
            return {}
        decay = min(self.ema_decay, (1.0 + step) / (10.0 + step))
        return {"ema_kept": decay, "ema_new": 1.0 - decay}


def move(moves: Sequence[Move]) -> None:
    """Apply each rule to its tensors, in place."""
    for rule, tensors, numbers in moves:
        rule.update(tensors, numbers)
        if AVERAGE in tensors.state:
            torch._foreach_mul_(tensors.state[AVERAGE], numbers["ema_kept"])
            torch._foreach_add_(tensors.state[AVERAGE], torch._foreach_mul(tensors.parameters, numbers["ema_new"]))


def move_in_slices(moves: Sequence[Move]) -> None:
    """The same, a slice that fits the processor's cache at a time: an eager update passes over its tensors often."""
    for rule, tensors, numbers in moves:
        for part in slices(tensors) if rule.elementwise else [tensors]:
            move([(rule, part, numbers)])


def first_counts(rule: Rule) -> dict[str, Tensor]:
    """A rule's counts as 0-d tensors, so that checkpoints hold them; on the CPU, where reading waits for no device.

    float32 counts updates exactly to 2^24; sums over updates are float64.
    """
    types = {"step": torch.float32}
    return {key: torch.tensor(value, dtype=types.get(key, torch.float64)) for key, value in rule.first_counts().items()}


def _as_tensor(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)

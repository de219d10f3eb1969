"""One torch optimizer for every rule: each group moves by its own.

Frozen or gradientless parameters stay where they are, do not decay, and their step does not count.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from hornbook.optim.groups import ParameterGroup
from hornbook.optim.rule import Rule, Tensors


class RuledOptimizer(torch.optim.Optimizer):
    """Moves the parameters of each group by `group["rule"]` at `group["lr"]`. All state exists from the start."""

    def __init__(self, groups: Iterable[ParameterGroup]) -> None:
        super().__init__([dict(group) for group in groups], {})
        self.gradient_scale: Tensor | None = None
        """(), on the parameters' device: what the next update multiplies every gradient by; used once."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter] = {**first_counts(group["rule"]), **group["rule"].first_state(parameter)}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient. A closure is not supported."""
        assert closure is None
        for group in self.param_groups:
            rule: Rule = group["rule"]
            for counts, parameters in self._by_counts(group):
                numbers, counts_after = rule.advance(counts, lr=group["lr"])
                rule.update(self._tensors(rule, parameters), numbers)
                for parameter in parameters:
                    for key, value in counts_after.items():
                        self.state[parameter][key].fill_(value)
        self.gradient_scale = None

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
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.gradient_scale is not None:
            gradients = list(torch._foreach_mul(gradients, self.gradient_scale))
        keys = self.state[parameters[0]].keys() - rule.first_counts().keys()
        return Tensors(
            parameters=parameters,
            gradients=gradients,
            state={key: [self.state[parameter][key] for parameter in parameters] for key in keys},
        )


def first_counts(rule: Rule) -> dict[str, Tensor]:
    """A rule's counts as 0-d tensors, so that checkpoints hold them; on the CPU, where reading waits for no device.

    float32 counts updates exactly to 2^24; sums over updates are float64.
    """
    types = {"step": torch.float32}
    return {key: torch.tensor(value, dtype=types.get(key, torch.float64)) for key, value in rule.first_counts().items()}

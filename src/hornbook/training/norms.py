"""Norms and histograms of a step, on request: what `[tracking] norms_every` and `histograms_every` ask for.

    norms/grad/MODULE          2-norm of the gradient, summed over micro-batches and ranks, before clipping
    norms/weight/MODULE        2-norm of the weights after the step
    norms/update_ratio/MODULE  2-norm of the change of the weights, over that of the weights before
    norms/activation/MODULE    root mean square of the outputs for the step's first micro-batch, before the update
    histograms/grad/MODULE, histograms/weight/MODULE

A step that is not due costs two comparisons. A due one costs a copy of the weights, an extra forward pass of one
micro-batch (by the bare model, without dropout and gradients: a compiled one is not touched) and one transfer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic

import torch
from torch import Tensor

from hornbook.config.tracking import TrackingConfig
from hornbook.data.batch import B
from hornbook.distributed.parts import part_of
from hornbook.objectives.objective import StepContext
from hornbook.profiling.histograms import histogram
from hornbook.profiling.norms import activation_sizes, by_module, module_of, tensor_norms
from hornbook.tracking.tracker import Histogram, Tracker
from hornbook.training.hooks import Moment
from hornbook.training.step import Learner
from hornbook.training.validation import evaluation_mode


class NormWatch(Generic[B]):
    """The Watch that measures; what it found at the last step stands in `norms` and `histograms`."""

    def __init__(self, *, norms_every: int, histograms_every: int) -> None:
        """Steps between measurements; 0 is never."""
        self.norms_every = norms_every
        self.histograms_every = histograms_every
        self.norms: dict[str, float] = {}
        """Empty if none were due."""
        self.histograms: dict[str, Histogram] = {}
        self._before: dict[str, Tensor] = {}
        self._gradients = torch.empty(0)
        self._activations: dict[str, Tensor] = {}

    def before_update(self, learner: Learner[B], batches: Sequence[B], at: StepContext) -> None:
        """Measure gradients and activations, and keep the weights to compare with."""
        self.norms, self.histograms = {}, {}
        if not (self._due(self.norms_every, at) or self._due(self.histograms_every, at)):
            return
        parameters = dict(learner.model.named_parameters())
        gradients = {name: part_of(p.grad) for name, p in parameters.items() if p.grad is not None}
        if self._due(self.norms_every, at):
            self._gradients = _norms(learner, gradients.values())
            self._activations = self._sizes(learner, batches[0])
            self._before = {name: part_of(parameters[name]).clone() for name in gradients}
        if self._due(self.histograms_every, at):
            self.histograms |= _histograms("histograms/grad", gradients)

    def after_update(self, learner: Learner[B], at: StepContext, *, skipped: bool) -> None:
        """Measure the weights and how they moved."""
        if self._due(self.norms_every, at):
            self.norms = self._collect(learner, skipped=skipped)
        if self._due(self.histograms_every, at):
            self.histograms |= _histograms("histograms/weight", dict(learner.model.named_parameters()))

    def _due(self, every: int, at: StepContext) -> bool:
        return every > 0 and (at.step + 1) % every == 0

    def _sizes(self, learner: Learner[B], batch: B) -> dict[str, Tensor]:
        with evaluation_mode(learner.model), learner.precision.autocast(), activation_sizes(learner.model) as sizes:
            learner.objective(learner.model, batch.to(learner.precision.device))
        return sizes

    def _collect(self, learner: Learner[B], *, skipped: bool) -> dict[str, float]:
        names = list(self._before)
        parameters = dict(learner.model.named_parameters())
        before, after = [self._before[name] for name in names], [part_of(parameters[name]) for name in names]
        columns = {
            "grad": self._gradients,
            "weight": _norms(learner, after),
            "before": _norms(learner, before),
            "moved": _norms(learner, torch._foreach_sub(after, before)),
        }
        self._before = {}
        numbers = torch.cat([*columns.values(), *(size[None] for size in self._activations.values())]).tolist()
        n = len(names)
        grad, weight, old, moved = (by_module(names, numbers[i * n : (i + 1) * n]) for i in range(4))
        found = {f"norms/grad/{module}": norm for module, norm in grad.items()}
        found |= {f"norms/weight/{module}": norm for module, norm in weight.items()}
        if not skipped:  # weights that are all zero, as some are at first, have no ratio
            found |= {f"norms/update_ratio/{module}": moved[module] / norm for module, norm in old.items() if norm}
        sizes = zip(self._activations, numbers[4 * n :], strict=True)
        return found | {f"norms/activation/{module}": size for module, size in sizes}


def _norms(learner: Learner[B], tensors: Iterable[Tensor]) -> Tensor:
    """(n,) float32: the 2-norm of each tensor, or of the whole one where these are parts."""
    norms, strategy = tensor_norms(tensors), learner.strategy
    if not strategy.cuts_up_model:
        return norms
    from hornbook.distributed.fsdp import FullySharded  # a second of imports, which few runs need

    assert isinstance(strategy, FullySharded)
    return strategy.norms(norms).float()


def _histograms(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Histogram]:
    modules: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        modules.setdefault(module_of(name), []).append(tensor)
    made = {f"{prefix}/{module}": histogram(members) for module, members in modules.items()}
    return {name: each for name, each in made.items() if each is not None}


def norm_watch(config: TrackingConfig) -> NormWatch[Any] | None:
    """The watch that `[tracking]` asks for."""
    if not (config.norms_every or config.histograms_every):
        return None
    return NormWatch(norms_every=config.norms_every, histograms_every=config.histograms_every)


class Norms:
    """The hook that tells the tracker what a NormWatch found: event `norms`, and histograms."""

    def __init__(self, watch: NormWatch[B], tracker: Tracker) -> None:
        self.watch = watch
        self.tracker = tracker

    def __call__(self, at: Moment) -> None:
        """Tell, if anything was due."""
        if self.watch.norms:
            self.tracker.log("norms", at.step, self.watch.norms)
        for name, each in self.watch.histograms.items():
            self.tracker.histogram(name, at.step, each)

"""Loss on a fixed set, always the same windows, so that two steps can be compared.

What counts is the plain nll by token: smoothing and z-loss are means of training, not measures of a model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from hornbook.data.batch import B
from hornbook.distributed.strategy import Strategy
from hornbook.errors import TrainingError
from hornbook.objectives.objective import StepContext
from hornbook.optim.averaging import averaged
from hornbook.training.metrics import readable, total_sums
from hornbook.training.out_of_memory import MicroBatchTooLarge, release_cached, smaller, watched, without_frames
from hornbook.training.step import Learner

T = TypeVar("T")
Measured = Mapping[str, tuple[Tensor, Tensor]]


class Validation(Generic[B]):
    """Measures the learner's model on `batches` (this rank's share): {"loss", "perplexity", "bits_per_byte", ...}.

    Where the optimizer averages weights, the averages are measured. "loss" is in nats a token, or what a pair costs.
    Objective noise, if there is any, is the same at every call. A batch that does not fit into memory is measured in
    pieces, and so are all that follow.
    """

    def __init__(
        self,
        learner: Learner[B],
        batches: Sequence[B],
        *,
        seed: int,
        parts: Sequence[str] | None = None,
        least: float | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """`parts` names the data set of each batch: the loss of each is then told as well, as "loss/NAME".

        `least`: what no model can stay below; "excess" tells how far above it the loss is.
        `progress` hears after each batch how many are done, of how many.
        """
        assert batches
        assert parts is None or len(parts) == len(batches)
        if learner.strategy.cuts_up_model:
            batches, parts = _as_many(batches, parts, learner.strategy, learner.precision.device)
        self.parts = parts
        self.least = least
        self.progress = progress
        self.learner = learner
        self.batches = batches
        self.most_rows = max(batch.n_rows for batch in batches)
        counted = sum(batch.counted_rows() for batch in batches)  # a rank without a row has one for show
        samples = torch.tensor(counted, device=learner.precision.device)
        total = int(learner.strategy.sum(samples))
        self.at = StepContext(seed=seed, step=0, samples_per_step=total, is_validation=True)

    def __call__(self) -> dict[str, float]:
        """One pass over the set, without dropout; the model's mode is restored, and no gradient is left behind."""
        outputs: list[Measured] = []
        learner = self.learner
        with averaged(learner.optimizer, learner.strategy.share), evaluation_mode(learner.model):
            for index, batch in enumerate(self.batches):
                outputs += [self._with_parts(output, index) for output in self._measured(batch)]
                self.progress(index + 1, len(self.batches))
        sums = total_sums(outputs, learner.strategy)
        total, weight = _measure(sums)
        excess = {} if self.least is None else {"excess": total / weight - self.least}
        return {"loss": total / weight, **readable(sums), **excess}

    def _with_parts(self, output: Measured, index: int) -> Measured:
        """The metrics of a piece of batch `index`, its nll also as its data set's: every output has the same names."""
        if self.parts is None:
            return output
        total, weight = _measure(output)
        nothing = (torch.zeros_like(total), torch.zeros_like(weight))
        names = {f"loss/{part}": part == self.parts[index] for part in self.parts}
        return {**output, **{name: (total, weight) if is_own else nothing for name, is_own in names.items()}}

    def _measured(self, batch: B) -> list[Measured]:
        """The batch in pieces that fit; where one does not, all of it again in smaller ones."""
        while True:
            pieces = batch.cut(self.most_rows)
            try:
                with watched(), self.learner.precision.autocast():
                    return [self._piece(piece) for piece in pieces]
            except MicroBatchTooLarge as error:
                if self.learner.strategy.cuts_up_model:
                    self.learner.strategy.abandon()
                failure = without_frames(error)
            fewer = smaller(pieces[0].n_rows)
            if fewer is None:
                raise TrainingError(
                    f"out of memory while validating one window ({failure}); train a smaller model or a shorter "
                    "context_length, or leave validation out: train.eval_every = 0"
                )
            release_cached(self.learner.precision.device)
            self.most_rows = fewer

    def _piece(self, piece: B) -> Measured:
        learner = self.learner
        prepared = learner.objective.prepare(piece, self.at).to(learner.precision.device)
        return learner.objective(learner.model, prepared).metrics


def _measure(metrics: Mapping[str, tuple[T, T]]) -> tuple[T, T]:
    """What "loss" is: the plain nll, of objectives that have one."""
    return metrics["nll"] if "nll" in metrics else metrics["loss"]


def _as_many(
    batches: Sequence[B], parts: Sequence[str] | None, strategy: Strategy, device: torch.device
) -> tuple[Sequence[B], Sequence[str] | None]:
    """As many batches as the rank with the most has, by some more without a target: a pass needs every rank."""
    counts = torch.zeros(strategy.world_size, dtype=torch.int64, device=device)
    counts[strategy.rank] = len(batches)
    missing = int(strategy.sum(counts).max()) - len(batches)
    return [*batches, *[batches[-1].blank()] * missing], parts and [*parts, *[parts[-1]] * missing]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradients inside; afterwards the mode that was, whatever happened."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)

"""Loss on a fixed set, always the same windows, so that two steps can be compared.

What counts is the plain nll by token: smoothing and z-loss are means of training, not measures of a model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Generic

import torch
from torch import Tensor, nn

from hornbook.objectives.objective import B, StepContext
from hornbook.optim.averaging import averaged
from hornbook.training.metrics import readable, total_sums
from hornbook.training.step import Learner


class Validation(Generic[B]):
    """Measures the learner's model on `batches` (this rank's share): {"loss", "perplexity", "bits_per_byte", ...}.

    Where the optimizer averages weights, the averages are measured. "loss" is in nats a token. Objective noise, if
    there is any, is the same at every call.
    """

    def __init__(
        self,
        learner: Learner[B],
        batches: Sequence[B],
        *,
        seed: int,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """`progress` hears after each batch how many are done, of how many."""
        assert batches
        self.progress = progress
        self.learner = learner
        self.batches = batches
        samples = torch.tensor(sum(batch.n_rows for batch in batches), device=learner.precision.device)
        total = int(learner.strategy.sum(samples))
        self.at = StepContext(seed=seed, step=0, samples_per_step=total, is_validation=True)

    def __call__(self) -> dict[str, float]:
        """One pass over the set, without dropout; the model's mode is restored, and no gradient is left behind."""
        learner, device = self.learner, self.learner.precision.device
        outputs: list[Mapping[str, tuple[Tensor, Tensor]]] = []
        with averaged(learner.optimizer), evaluation_mode(learner.model):
            for done, batch in enumerate(self.batches, start=1):
                with learner.precision.autocast():
                    prepared = learner.objective.prepare(batch, self.at)
                    outputs.append(learner.objective(learner.model, prepared.to(device)).metrics)
                self.progress(done, len(self.batches))
        sums = total_sums(outputs, learner.strategy)
        total, weight = sums["nll"]
        return {"loss": total / weight, **readable(sums)}


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

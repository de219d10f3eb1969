"""What a mixture of data sets has given so far: told, so that nobody has to trust the weights."""

from collections.abc import Sequence

from hornbook.data.mixture import MixedOrder
from hornbook.tracking.tracker import Tracker
from hornbook.training.hooks import Moment


class Shares:
    """Event `mixture`, every `every` steps and at the end: of each data set, its share of all windows that the run has
    read (which is its share of tokens: windows are of one length), and how often it was gone through."""

    def __init__(
        self, names: Sequence[str], order: MixedOrder, tracker: Tracker, *, samples_per_step: int, every: int
    ) -> None:
        self.names = names
        self.order = order
        self.tracker = tracker
        self.samples_per_step = samples_per_step
        self.every = every

    def __call__(self, at: Moment) -> None:
        """Tell if it is time."""
        if not (at.due(self.every) or at.stop):
            return
        samples = at.step * self.samples_per_step
        counts, epochs = self.order.proportions.counts(samples), self.order.epochs(samples)
        values = {f"mixture/share/{name}": count / samples for name, count in zip(self.names, counts, strict=True)}
        values |= {f"mixture/epochs/{name}": passes for name, passes in zip(self.names, epochs, strict=True)}
        self.tracker.log("mixture", at.step, values)

"""A model in eval mode for as long as it decodes."""

from collections.abc import Iterator
from contextlib import contextmanager

from hornbook.models.transformer import Transformer


@contextmanager
def evaluating(model: Transformer) -> Iterator[None]:
    """Without dropout; afterwards the model is in the mode that it was in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()

"""A training run that ends where a kill would end it."""

import pytest

from hornbook import assemble
from hornbook.config.run import Config
from hornbook.training.trainer import Trainer


class Cut(Exception):
    """The process would be gone here."""


def cut_short(config: Config, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends where it would begin `step`."""
    whole = Trainer._step

    def until(self: Trainer, number: int, batches: list) -> object:
        if number == step:
            raise Cut
        return whole(self, number, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", until)
        with pytest.raises(Cut):
            assemble.train(config)

"""Hornbook: the whole life of a small transformer language model, from raw text to a model you can talk to.

    run = hornbook.train("train.toml", {"train.steps": 100})
    print(run.generate("Once upon a time"))

The names below are loaded on first use, so that importing the package imports neither torch nor numpy.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hornbook.api import LanguageModel, Run, Tokenizer, evaluate, load, train

__all__ = ["LanguageModel", "Run", "Tokenizer", "evaluate", "load", "train"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'hornbook' has no attribute {name!r}")
    from hornbook import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

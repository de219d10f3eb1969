"""`[eval]` protocol and `[eval.bootstrap]`: which tokens a perplexity is of, and how sure it is."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from hornbook.config.table import Table

PerplexityProtocol = Literal["strided", "chunked", "exact", "last-token", "overlap-all"]
"""How windows are laid over a text, and which of their tokens count."""
STRIDED: tuple[PerplexityProtocol, ...] = ("strided", "overlap-all")
"""Protocols with a stride to choose."""


class BootstrapConfig(Table):
    """The interval of a perplexity: the text is cut into blocks, and blocks are drawn anew with replacement, because
    neighbouring tokens are alike and as units would be too sure."""

    block_tokens: PositiveInt | None = None
    """Tokens of the text in a block. Default: the window."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """How often as many blocks as there are, are drawn."""
    seed: NonNegativeInt = 0
    level: Annotated[float, Field(ge=0.5, lt=1.0)] = 0.95
    """How often such intervals are to hold the number that ever more text of the same kind would give."""

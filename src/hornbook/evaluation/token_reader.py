"""Streams of tokens that can be read anywhere, and where their documents lie."""

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class TokenReader(Protocol):
    """A stream of token ids that can be read anywhere: hornbook.data.shards.TokenStream, or InMemory."""

    @property
    def n_tokens(self) -> int:
        """Length of the stream."""
        ...

    @property
    def document_starts(self) -> np.ndarray:
        """Place of each document's first token, in order."""
        ...

    def read(self, start: int, count: int) -> np.ndarray:
        """Ids start .. start + count - 1, int64."""
        ...


class InMemory:
    """A token stream that is an array; one document, unless places of their first tokens are given."""

    def __init__(self, tokens: np.ndarray, document_starts: np.ndarray | None = None) -> None:
        self.tokens = tokens
        self.document_starts = np.zeros(min(1, len(tokens)), dtype=np.int64)
        if document_starts is not None:
            self.document_starts = document_starts

    @property
    def n_tokens(self) -> int:
        """Length of the stream."""
        return len(self.tokens)

    def read(self, start: int, count: int) -> np.ndarray:
        """Ids start .. start + count - 1."""
        return self.tokens[start : start + count]


def document_spans(stream: TokenReader, n_tokens: int) -> list[tuple[int, int]]:
    """Places of the documents among the first `n_tokens` tokens: of the first token, and of what follows the last."""
    starts = [int(start) for start in stream.document_starts if start < n_tokens]
    return [(start, end) for start, end in zip(starts, [*starts[1:], n_tokens], strict=True) if end > start]

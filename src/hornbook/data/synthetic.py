"""Text whose best possible loss is known: a Markov chain of random transition probabilities.

A context c is the last `order` symbols. With transition probabilities p(s | c) and their stationary distribution pi
over contexts, no model can do better on average than the entropy rate (Cover and Thomas, "Elements of Information
Theory", theorem 4.2.1):

    h = - sum_c pi(c) sum_s p(s | c) log p(s | c)        nats a symbol

Each document begins with a context drawn from pi, so every symbol after those has exactly this entropy given its past.
"""

import string
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from hornbook.config.data import SyntheticSource
from hornbook.data.documents import Block, Gate
from hornbook.errors import DataError

SYMBOLS = string.ascii_letters + string.digits + string.punctuation
"""The first `n_symbols` of these are used: one byte each, and visible."""

UNIFORM_SHARE = 1e-3
"""Of every transition row this much is uniform, so that each context can be reached from each and pi is unique."""

_LARGEST_TABLE = 1 << 24
_DOCUMENTS_AT_ONCE = 256


class MarkovSource:
    """The chain: its probabilities, its entropy rate and its documents, all functions of the configuration.

    Raises:
        DataError: if the table of probabilities would not fit in memory.
    """

    def __init__(self, config: SyntheticSource) -> None:
        n, order = config.n_symbols, config.order
        if n ** (order + 1) > _LARGEST_TABLE:
            raise DataError(
                f"a synthetic source of order {order} over {n} symbols has {n ** (order + 1)} probabilities, more than "
                f"{_LARGEST_TABLE}; lower data.source.order or data.source.n_symbols"
            )
        self.config = config
        rng = np.random.default_rng(config.seed)
        random = rng.dirichlet(np.full(n, config.concentration), size=n**order)
        self.transitions = (1 - UNIFORM_SHARE) * random + UNIFORM_SHARE / n
        """p(s | c): float64, (n_symbols ** order, n_symbols); the oldest symbol of a context is its highest digit."""

    @cached_property
    def stationary(self) -> np.ndarray:
        """pi: float64, (n_symbols ** order,), by repeated application of the chain until it no longer changes."""
        n = self.config.n_symbols
        pi = np.full(len(self.transitions), 1 / len(self.transitions))
        for _ in range(100_000):
            # The context (a, ..., z) followed by s becomes (..., z, s): sum over the oldest symbol a.
            after = (pi[:, None] * self.transitions).reshape(n, -1).sum(axis=0)
            after /= after.sum()
            if np.abs(after - pi).sum() < 1e-14:
                break
            pi = after
        return pi

    @cached_property
    def entropy_rate_nats(self) -> float:
        """The least possible mean loss on this text, in nats a symbol."""
        rows = -(self.transitions * np.log(self.transitions)).sum(axis=1)
        return float(self.stationary @ rows)

    def entropy_nats(self, n_symbols: int) -> float:
        """H(X_1 .. X_n), the entropy of so many successive symbols of which nothing else is known, in nats.

        The first `order` symbols follow the stationary law, each later one costs the entropy rate (the chain rule).
        """
        n, order = self.config.n_symbols, self.config.order
        known = self.stationary.reshape(n ** min(n_symbols, order), -1).sum(axis=1)  # the oldest symbols come first
        first = -float((known * np.log(known)).sum())
        return first + max(0, n_symbols - order) * self.entropy_rate_nats

    def documents(self) -> Iterator[bytes]:
        """`n_documents` texts of `document_length` symbols."""
        alphabet = np.frombuffer(SYMBOLS.encode(), dtype=np.uint8)
        for first in range(0, self.config.n_documents, _DOCUMENTS_AT_ONCE):
            count = min(_DOCUMENTS_AT_ONCE, self.config.n_documents - first)
            for row in alphabet[self._symbols(first, count)]:
                yield row.tobytes()

    def _symbols(self, first: int, count: int) -> np.ndarray:
        """Symbol numbers of `count` documents: int64, (count, document_length)."""
        n, order, length = self.config.n_symbols, self.config.order, self.config.document_length
        rng = np.random.default_rng((self.config.seed, first))
        context = rng.choice(len(self.stationary), size=count, p=self.stationary)
        symbols = np.empty((count, order + length), dtype=np.int64)
        for place in range(order):
            symbols[:, place] = context // n ** (order - 1 - place) % n
        for place in range(order, length):
            # The first symbol whose cumulative probability exceeds a uniform draw; the last column may round below 1.
            reached = np.cumsum(self.transitions[context, :-1], axis=1) <= rng.random(count)[:, None]
            symbols[:, place] = reached.sum(axis=1)
            context = context % n ** (order - 1) * n + symbols[:, place]
        return symbols[:, :length]


def synthetic_blocks(source: SyntheticSource, gate: Gate) -> Iterator[Block]:
    """The documents of the chain."""
    for number, text in enumerate(MarkovSource(source).documents(), start=1):
        yield gate.block([text], "synthetic", [number])

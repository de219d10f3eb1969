"""A split of tuning data in memory, for tests of what is read from it."""

from collections.abc import Sequence

import numpy as np

from hornbook.data.shards import Place


class Conversations:
    """A TokenStream of lists of ids, of which the last `trained` of each document count."""

    def __init__(self, documents: Sequence[Sequence[int]], trained: int | Sequence[int] = 2) -> None:
        self.name = "made up [train]"
        self.documents = [list(each) for each in documents]
        lengths = np.array([len(each) for each in documents], dtype=np.int64)
        self.document_starts = (np.cumsum(lengths) - lengths).astype(np.uint64)
        self.n_documents, self.n_tokens = len(documents), int(lengths.sum())
        self._tokens = np.concatenate([np.array(each, dtype=np.int64) for each in documents])
        counts = [trained] * len(documents) if isinstance(trained, int) else trained
        masks = [np.arange(len(each)) >= len(each) - n for each, n in zip(documents, counts, strict=True)]
        self._mask = np.concatenate(masks)

    def read(self, start: int, count: int) -> np.ndarray:
        return self._tokens[start : start + count].copy()

    def loss_mask(self, start: int, count: int) -> np.ndarray:
        return self._mask[start : start + count].copy()

    def document_lengths(self) -> np.ndarray:
        return np.diff(self.document_starts.astype(np.int64), append=self.n_tokens)

    def document_span(self, number: int) -> tuple[int, int]:
        start = int(self.document_starts[number])
        return start, start + len(self.documents[number])

    def place(self, position: int) -> Place:
        document = int(np.searchsorted(self.document_starts, position, side="right")) - 1
        return Place(shard="memory", token=position, document=document)


def drawn(n: int, *, most: int, vocabulary: int, seed: int = 0) -> Conversations:
    """`n` conversations of 3 to `most` tokens, of which one or more count."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, most + 1, n)
    trained = [int(rng.integers(1, length)) for length in lengths]
    return Conversations([rng.integers(0, vocabulary, length).tolist() for length in lengths], trained)

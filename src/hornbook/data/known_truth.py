"""The least possible loss on text of known entropy: what no model can stay below, token by token.

A token of a Markov chain of `order` m whose k preceding symbols are known costs at least, on average,

    h_k = H(X_1 .. X_(k+1)) - H(X_1 .. X_k)        nats, with k at most m; h_m is the entropy rate

A model that reads a window sees what stands in it, and of another document nothing that helps. So a target at place t
of a stream costs at least h_k with k = min(m, tokens of the window before t, tokens of t's document before t). The sum
over all tokens of a window is the same for next-token prediction and for a bound, by the chain rule.
"""

from collections.abc import Mapping

import numpy as np
from pydantic import ValidationError

from hornbook.config.data import SyntheticSource
from hornbook.data.dataset import Dataset
from hornbook.data.index import SplitName
from hornbook.data.loader import evenly_spaced
from hornbook.data.shards import TokenStream
from hornbook.data.synthetic import MarkovSource
from hornbook.data.windows import Windows
from hornbook.errors import DataError


class KnownTruth:
    """What each token of a stream costs at least."""

    def __init__(self, source: MarkovSource, stream: TokenStream, *, is_marked: bool) -> None:
        """`is_marked`: documents end with an end-of-text token, which comes when it must and costs nothing."""
        entropies = [source.entropy_nats(k) for k in range(source.config.order + 2)]
        self._after = np.diff(entropies)
        """h_k."""
        self._starts = np.asarray(stream.document_starts).astype(np.int64)
        self._ends = np.append(self._starts[1:], stream.n_tokens) - is_marked

    def nats(self, places: np.ndarray, firsts: np.ndarray) -> float:
        """Least sum over the targets at `places`, of which the tokens from `firsts` on were seen; both (n,)."""
        document = np.searchsorted(self._starts, places, side="right") - 1
        known = np.minimum(places - firsts, places - self._starts[document]).clip(max=len(self._after) - 1)
        return float(np.where(places < self._ends[document], self._after[known], 0.0).sum())


def known_truth(dataset: Dataset, split: SplitName) -> KnownTruth | None:
    """Of a split of a prepared data set; None where it is not synthetic, or its tokens are not its symbols."""
    source = _source(dataset.index.made_from, split)
    if source is None:
        return None
    stream, is_marked = dataset.split(split), dataset.end_of_text_id is not None
    if stream.text_bytes != stream.n_tokens - is_marked * stream.n_documents:  # a symbol is a byte
        return None
    return KnownTruth(source, stream, is_marked=is_marked)


def least_loss_of_windows(
    dataset: Dataset, split: SplitName, *, context_length: int, lookahead: int, n_windows: int
) -> float | None:
    """Nats a token, at least, of evenly spaced windows that validation takes; None where it is not known.

    With a lookahead the targets are the next tokens, else the window's own.
    """
    truth = known_truth(dataset, split)
    if truth is None:
        return None
    windows = Windows(dataset.split(split), context_length=context_length, stride=context_length, lookahead=lookahead)
    numbers = evenly_spaced(len(windows), n_windows)
    starts = np.array([windows.start(number) for number in numbers])
    places = starts[:, None] + np.arange(context_length) + (lookahead > 0)
    return truth.nats(places.ravel(), starts.repeat(context_length)) / places.size


def _source(made_from: Mapping[str, object], split: SplitName) -> MarkovSource | None:
    settings = made_from.get(split if split in made_from else "source")
    if not isinstance(settings, dict) or settings.get("kind") != "synthetic":
        return None
    try:
        return MarkovSource(SyntheticSource.model_validate(settings))
    except (ValidationError, DataError):  # of another version of this program
        return None

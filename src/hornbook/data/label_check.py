"""What is suspicious about the labels of conversations: nothing trained, endless answers, doubled control tokens.

An answer is a run of trained tokens within a document. It should hold the token that ends it (`stop`); what is trained
behind that, such as end-of-text tokens to fill a row up, belongs to the same run.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hornbook.data.shards import TokenStream

FaultKind = Literal["nothing_trained", "untrained_stop", "cut_answer", "double_control"]
FAULTS: dict[FaultKind, str] = {
    "nothing_trained": "nothing is trained",
    "untrained_stop": "the stop token after an answer is not trained, so the model would not learn to end one",
    "cut_answer": "an answer ends without its stop token: it was cut",
    "double_control": "the same control token stands here twice in a row",
}
_BLOCK_TOKENS = 1 << 22


class Fault(NamedTuple):
    """One suspicious place."""

    kind: FaultKind
    token: int
    """Its place in the tokens that were looked at."""


@dataclass(frozen=True, kw_only=True)
class SplitLabels:
    """A whole split."""

    lengths: np.ndarray
    """Tokens of each document: int64, (n_documents,)."""
    n_trained: int
    """Tokens that count as targets."""
    faults: dict[FaultKind, int]
    """How many documents have at least one of each kind."""
    first: dict[FaultKind, int]
    """The first document of each kind."""


def faults(
    tokens: np.ndarray, trained: np.ndarray, starts: np.ndarray, *, stop_id: int | None, control_ids: Collection[int]
) -> list[Fault]:
    """All that is suspicious, in the order of the tokens.

    Args:
        tokens: integers, (n,), without padding.
        trained: bool, (n,).
        starts: where each document begins, ascending, the first at 0.
        stop_id: what ends an answer; None looks for no ends.
        control_ids: tokens that a template puts in, and other special ones.
    """
    if not len(tokens):
        return []
    begins = np.zeros(len(tokens), dtype=bool)
    begins[starts] = True
    ends = np.append(begins[1:], True)
    empty = np.add.reduceat(trained, starts, dtype=np.int64) == 0
    found = [Fault("nothing_trained", int(place)) for place in starts[empty]]
    if stop_id is not None:
        found += _open_answers(tokens, trained, begins, ends, stop_id)
    doubled = (tokens[1:] == tokens[:-1]) & ~begins[1:] & ~(trained[1:] & trained[:-1])
    doubled &= np.isin(tokens[1:], list(control_ids))
    found += [Fault("double_control", int(place) + 1) for place in np.flatnonzero(doubled)]
    return sorted(found, key=lambda fault: fault.token)


def _open_answers(
    tokens: np.ndarray, trained: np.ndarray, begins: np.ndarray, ends: np.ndarray, stop_id: int
) -> Iterator[Fault]:
    """Answers without a trained stop token."""
    before, after = np.append(False, trained[:-1]), np.append(trained[1:], False)
    first = np.flatnonzero(trained & (begins | ~before))
    last = np.flatnonzero(trained & (ends | ~after))
    is_stop = tokens == stop_id
    stops = np.append(0, np.cumsum(is_stop))
    for place in last[stops[last + 1] == stops[first]].tolist():
        if not ends[place] and is_stop[place + 1]:
            yield Fault("untrained_stop", place + 1)
        else:
            yield Fault("cut_answer", place)


def check_split(stream: TokenStream, *, stop_id: int | None, control_ids: Collection[int]) -> SplitLabels:
    """Look at every document of a split, some millions of tokens at a time; of text, where all is trained, at lengths.

    Raises:
        DataError: if a file is damaged.
    """
    bounds, lengths = np.append(stream.document_starts.astype(np.int64), stream.n_tokens), stream.document_lengths()
    if stream.index.loss_mask_sha256 is None:
        return SplitLabels(lengths=lengths, n_trained=stream.n_tokens, faults={}, first={})
    n_trained = 0
    counts: Counter[FaultKind] = Counter()
    firsts: dict[FaultKind, int] = {}
    document = 0
    while document < stream.n_documents:
        start = int(bounds[document])
        behind = max(document + 1, int(np.searchsorted(bounds, start + _BLOCK_TOKENS, side="right")) - 1)
        size = int(bounds[behind]) - start
        tokens, trained = stream.read(start, size), stream.loss_mask(start, size)
        n_trained += int(trained.sum())
        own = bounds[document:behind] - start
        seen = faults(tokens, trained, own, stop_id=stop_id, control_ids=control_ids)
        for kind in FAULTS:
            places = [fault.token for fault in seen if fault.kind == kind]
            if places:
                documents = np.unique(np.searchsorted(own, places, side="right") - 1) + document
                counts[kind] += len(documents)
                firsts.setdefault(kind, int(documents[0]))
        document = behind
    return SplitLabels(lengths=lengths, n_trained=n_trained, faults=dict(counts), first=firsts)

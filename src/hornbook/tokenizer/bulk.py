"""Much text to ids: documents are gathered to units of some megabytes, which threads encode with compiled kernels.

    documents -> pieces -> units -> (threads) ids of each unit -> ids in the order of the documents

Each unit borrows a state (caches of words, see `kernels.encoder_memory`) that no other thread uses meanwhile. States
stay with the encoder, so what a call has seen of the language serves the next one.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from types import ModuleType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from hornbook.tokenizer import compiled
from hornbook.tokenizer.byte_pair import BytePairScheme
from hornbook.tokenizer.patterns import PATTERNS
from hornbook.tokenizer.schemes import Scheme

UNIT_BYTES = 2**22

Array = npt.NDArray[Any]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_logger = logging.getLogger(__name__)
_lock = threading.Lock()
_encoders: "WeakKeyDictionary[BytePairScheme, BulkEncoder | None]" = WeakKeyDictionary()
_told: list[str] = []
"""Patterns of users of which it was said that they are slow."""


class MalformedError(Exception):
    """A row of a text is no UTF-8."""

    def __init__(self, row: int, offset: int) -> None:
        super().__init__(f"row {row}: malformed UTF-8 at byte offset {offset} of the text")
        self.row, self.offset = row, offset


def encoder_for(scheme: Scheme, n_bytes: int) -> "BulkEncoder | None":
    """The compiled encoder of a vocabulary for `n_bytes` more of text; None where pure Python is to do it."""
    if not isinstance(scheme, BytePairScheme) or scheme.drops_bytes:
        return None
    if scheme.pattern not in PATTERNS:
        _tell_once(scheme.pattern, n_bytes)
        return None
    kernels = compiled.kernels_for("encode", n_bytes)
    if kernels is None:
        return None
    with _lock:
        if scheme not in _encoders:
            _encoders[scheme] = _make_encoder(scheme, kernels)
        return _encoders[scheme]


class BulkEncoder:
    """The tables of one vocabulary and the states that encode with them; for any number of threads at once."""

    def __init__(self, tables: Any, kernels: ModuleType) -> None:
        self._tables, self._memory = tables, kernels.module("encoder_memory")
        self._search = kernels.module("name_search")
        self.padding: int = kernels.module("splitting").PADDING
        self._idle: dict[np.dtype[Any], deque[Any]] = {np.dtype(t): deque() for t in (np.uint16, np.uint32)}
        self._names = lru_cache(maxsize=16)(lambda ids: self._search.Names(dict(ids)))

    def encode(self, text: Array, rows: Array, names: Mapping[bytes, int], dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Encode rows of a text, split at names.

        Args:
            text: uint8 of UTF-8 with `padding` bytes behind the last row.
            rows: int64[n, 4]: start, end, the id that follows the row or -1; the last column is overwritten.
            names: names of tokens with their ids.
            dtype: of the ids, uint16 or uint32.

        Returns: the ids, and int64[n]: the number of ids up to the end of each row.

        Raises:
            MalformedError: if a row is no UTF-8.
        """
        spans = self._names(tuple(names.items())).split(text, rows) if names else rows
        out = np.empty(int((spans[:, 1] - spans[:, 0]).sum()) + len(spans) + self._memory.OUT_SLACK, dtype)
        with self._borrowed(dtype) as state:
            malformed = state.encode(text, spans, out)
            n_ids = state.n_ids
        if malformed is not None:
            row = int(np.flatnonzero((rows[:, 0] <= malformed) & (malformed < rows[:, 1]))[0])
            raise MalformedError(row, malformed - int(rows[row, 0]))
        ends = rows[:, 3].copy() if spans is rows else spans[rows[:, 3] - 1, 3]
        return out[:n_ids], ends

    def encode_parts(
        self,
        parts: Sequence[bytes | memoryview],
        following: Sequence[int] | Array,
        names: Mapping[bytes, int],
        dtype: np.dtype[Any],
    ) -> tuple[Array, Array]:
        """The same for texts that lie apart; `following` has for each the id that follows it or -1."""
        text = np.frombuffer(b"".join([*parts, bytes(self.padding)]), np.uint8)
        lengths = np.fromiter(map(len, parts), np.int64, len(parts))
        rows = np.zeros((len(parts), 4), np.int64)
        rows[:, 1] = np.cumsum(lengths)
        rows[:, 0] = rows[:, 1] - lengths
        rows[:, 2] = following
        return self.encode(text, rows, names, dtype)

    @contextmanager
    def _borrowed(self, dtype: np.dtype[Any]) -> Iterator[Any]:
        idle = self._idle[dtype]
        try:
            state = idle.pop()
        except IndexError:
            state = self._memory.State(self._tables, dtype)
        try:
            yield state
        finally:
            idle.append(state)


def ordered(
    work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int, *, ahead: int | None = None
) -> Generator[_Result, None, None]:
    """work(item) of every item in order, by so many threads; `ahead` results at most wait to be taken.

    An error is raised when its item's turn comes, so it is the first in the order of the items.
    """
    if threads == 1:
        yield from map(work, items)
        return
    waiting: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="hornbook-encode") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > (2 * threads if ahead is None else ahead):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _make_encoder(scheme: BytePairScheme, kernels: ModuleType) -> BulkEncoder | None:
    kinds: Mapping[str, int] = kernels.module("splitting").PATTERN_KINDS
    memory = kernels.module("encoder_memory")
    merges = _merge_rows(scheme)
    _, first, numbers = np.unique(merges[:, 2], return_index=True, return_inverse=True)
    if (
        scheme.pattern not in kinds
        or max(len(scheme.tokens), len(merges)) > memory.LARGEST
        # A rank that makes two tokens: no such file is known.
        or not np.array_equal(merges[first[numbers], 3], merges[:, 3])
    ):
        return None
    merges[:, 2] = numbers
    byte_ids = np.array(scheme.byte_ids, np.int64)
    tables = memory.Tables(
        kinds[scheme.pattern], byte_ids, merges, scheme.tokens, whole_words_first=scheme.whole_words_first
    )
    return BulkEncoder(tables, kernels)


def _merge_rows(scheme: BytePairScheme) -> Array:
    """`scheme.merge_table` as int64[n, 4]: left id, right id, rank, id of the joined token."""
    joined = np.array(scheme.joined, np.int64)
    pairs = np.fromiter(chain.from_iterable(scheme.merges), np.int64, 2 * len(joined)).reshape(-1, 2)
    ranks = joined if scheme.by_rank else np.arange(len(joined))
    _, last = np.unique((pairs[::-1, 0] << 32) | pairs[::-1, 1], return_index=True)
    listed = len(joined) - 1 - np.sort(last)[::-1]  # of a pair that is listed twice the last
    rows: Array = np.column_stack([pairs, ranks, joined])[listed]
    return rows


def _tell_once(pattern: str, n_bytes: int) -> None:
    if n_bytes >= compiled.LOADING_PAYS and pattern not in _told:
        _told.append(pattern)
        _logger.warning(
            "The pattern %.60r is of your own and goes through the package regex, some 30 times slower than %s.",
            pattern,
            ", ".join(PATTERNS),
        )

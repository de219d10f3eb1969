"""Makes the records that the encoder's kernels read: the tables of a vocabulary, and memory for each thread."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hornbook.tokenizer.kernels.encoder_records import BATCH, LONGEST_KEPT, NEIGHBOURS, SEGMENT, STATE, TABLES
from hornbook.tokenizer.kernels.encoding import DONE, INVALID, encode_spans, remember_tokens, tokens_by_merging
from hornbook.tokenizer.kernels.memory import zeroed
from hornbook.tokenizer.kernels.splitting import PADDING, class_table, scratch_bytes, starts_entries
from hornbook.tokenizer.kernels.word_merging import ALL, NONE, fill_pairs, fill_whole_words

LARGEST = 1 << 21
"""More ids, or merges, than this do not fit the table of pairs."""

CACHE_BITS = 18
"""2**18 buckets of short words, 16 MB for each thread."""
OUT_SLACK = 32
"""How many ids the output must have room for behind the last one."""

Array = npt.NDArray[Any]


class Tables:
    """The tables of one vocabulary, read-only.

    Args:
        kind: of the splitting pattern, see `splitting.PATTERN_KINDS`.
        byte_ids: int64[256], the id of each single byte, -1 for one that no text holds.
        merges: int64[n_merges, 4]: left id, right id, number, new id; the numbers are 0, 1, 2, ... in order of
            preference, and merges with one number have one new id.
        tokens: the bytes of each id, None for an id without any.
        whole_words_first: whether a word that is a token becomes it even if merging does not reach it.
    """

    def __init__(
        self,
        kind: int,
        byte_ids: Array,
        merges: Array,
        tokens: Sequence[bytes | None],
        *,
        whole_words_first: bool,
    ) -> None:
        assert len(tokens) <= LARGEST
        assert len(merges) <= LARGEST
        bits = max(8, (4 * len(merges)).bit_length() - 1)
        lefts, rights, numbers, new_ids = (np.ascontiguousarray(column, np.int64) for column in merges.T)
        pairs = np.full(1 << bits, ALL)
        columns = _address(lefts), _address(rights), _address(numbers)
        fill_pairs(_address(pairs), np.uint64(64 - bits), *columns, len(merges))
        joined = np.zeros(int(numbers.max(initial=0)) + 1, np.uint32)
        joined[numbers] = new_ids
        lengths = np.fromiter((len(token or b"") for token in tokens), np.int64, len(tokens))
        token_places = (np.cumsum(lengths) - lengths) << 32 | lengths
        token_bytes = np.frombuffer(b"".join(token or b"" for token in tokens) + bytes(PADDING), np.uint8)
        self._arrays = {
            "classes": class_table(kind),
            "byte_ids": np.maximum(byte_ids, 0).astype(np.uint32),
            "byte_pairs": _byte_pairs(byte_ids, lefts, rights, numbers),
            "pairs": pairs,
            "joined": joined,
            "token_places": token_places.astype(np.uint64),
            "token_bytes": token_bytes,
            "whole_words": np.zeros(2, np.uint64),
        }
        self.record = _record(TABLES, self._arrays)
        self.record["kind"] = kind
        self.record["pairs_shift"] = 64 - bits
        self.words = np.zeros(0, np.int64)
        """Ids of the tokens that as words become just themselves."""
        reached = np.zeros(len(tokens), np.uint8)
        state = State(self, np.dtype(np.uint32), cache_bits=4)
        tokens_by_merging(self.record, state.record, len(tokens), _address(reached))
        if whole_words_first:
            self._add_whole_words(np.flatnonzero((reached == 0) & (lengths > 0)))
        self.words = np.flatnonzero((lengths > 0) if whole_words_first else (reached == 1))

    def _add_whole_words(self, ids: Array) -> None:
        if not len(ids):
            return
        bits = (2 * len(ids)).bit_length()
        table = np.full((1 << bits, 2), ALL)
        self._arrays["whole_words"] = table
        self.record["whole_words"], self.record["whole_words_mask"] = _address(table), (1 << bits) - 1
        fill_whole_words(self.record, _address(np.ascontiguousarray(ids, np.int64)), len(ids))


class State:
    """Caches and scratch memory to encode with, for one thread at a time.

    Args:
        tables: the vocabulary that it is for.
        dtype: of the ids that it writes, uint16 or uint32.
        cache_bits: 2**cache_bits buckets of short words; the other caches follow.
    """

    def __init__(self, tables: Tables, dtype: np.dtype[Any], *, cache_bits: int = CACHE_BITS) -> None:
        assert dtype in (np.uint16, np.uint32)
        self._tables, self._dtype = tables, dtype
        medium_bits, long_bits, ring_bits = max(3, cache_bits - 3), max(2, cache_bits - 5), max(9, cache_bits - 1)
        self._arrays = {
            "short": zeroed(8 * ((1 << cache_bits) + NEIGHBOURS)),
            "medium": zeroed(8 * ((1 << medium_bits) + NEIGHBOURS)),
            "long": zeroed(4 * ((1 << long_bits) + NEIGHBOURS)),
            "ring": zeroed(1 << ring_bits),
            "batch": np.zeros((BATCH, 3), np.uint64),
            "ranks": np.zeros(LONGEST_KEPT, np.uint32),
            "following": np.zeros(LONGEST_KEPT + 1, np.uint16),
            "preceding": np.zeros(LONGEST_KEPT + 1, np.uint16),
        }
        self.record = _record(STATE, self._arrays)
        self.record["shift"] = dtype.itemsize.bit_length() - 1
        self.record["short_shift"] = 64 - cache_bits
        self.record["medium_shift"] = 64 - medium_bits
        self.record["long_shift"] = 64 - long_bits
        self.record["ring_words"] = 1 << ring_bits
        self._give_memory(SEGMENT)
        remember_tokens(tables.record, self.record, _address(tables.words), len(tables.words))

    def encode(self, text: Array, spans: Array, out: Array) -> int | None:
        """Encode spans of a text; afterwards `n_ids` tells how many ids there are.

        Args:
            text: uint8; PADDING bytes must follow the last span.
            spans: int64[n, 4]: start, end, the id that follows or -1; the last column gets the number of ids up to the
                span's end.
            out: of the state's dtype, with room for an id for each byte and span and OUT_SLACK more.

        Returns: None, or the offset in `text` of the first malformed UTF-8.
        """
        assert text.dtype == np.uint8
        assert text.flags.c_contiguous
        assert spans.dtype == np.int64
        assert spans.flags.c_contiguous
        assert spans.shape[1:] == (4,)
        assert out.dtype == self._dtype
        assert out.flags.c_contiguous
        lengths = spans[:, 1] - spans[:, 0]
        assert np.all(lengths >= 0)
        assert spans[:, 0].min(initial=0) >= 0
        assert spans[:, 1].max(initial=0) + PADDING <= len(text)
        assert lengths.sum() + len(spans) + OUT_SLACK <= len(out)
        self.record["span"], self.record["position"], self.record["n_ids"] = 0, -1, 0
        while True:
            code = encode_spans(
                self._tables.record, self.record, _address(text), _address(spans), len(spans), _address(out)
            )
            if code == DONE:
                return None
            if code == INVALID:
                return int(self.record["position"])
            self._give_memory(code)

    @property
    def n_ids(self) -> int:
        """How many ids the last call wrote."""
        return int(self.record["n_ids"])

    def _give_memory(self, n: int) -> None:
        """Scratch memory for segments of n bytes."""
        self._scratch: dict[str, Array] = {
            "symbols": np.empty(n + 2, np.uint32),
            "links": np.empty((n + 1, 2), np.int32),
            "heap": np.empty(3 * n + 1, np.uint64),
            "splitting": np.empty(scratch_bytes(n), np.uint8),
            "starts": np.empty(starts_entries(n), np.int32),
        }
        for name, array in self._scratch.items():
            self.record[name] = _address(array)
        self.record["capacity"] = n


def _byte_pairs(byte_ids: Array, lefts: Array, rights: Array, numbers: Array) -> Array:
    """The merges of two single bytes, by the bytes."""
    largest = max(int(a.max(initial=0)) for a in (byte_ids, lefts, rights))
    byte_of = np.full(largest + 1, -1)
    byte_of[byte_ids[byte_ids >= 0]] = np.flatnonzero(byte_ids >= 0)
    left, right = byte_of[lefts], byte_of[rights]
    both = (left >= 0) & (right >= 0)
    table = np.full(1 << 16, NONE, np.uint32)
    table[left[both] << 8 | right[both]] = numbers[both]
    return table


def _record(dtype: np.dtype[Any], arrays: dict[str, Array]) -> Any:
    record = np.zeros(1, dtype)[0]
    for name, array in arrays.items():
        record[name] = _address(array)
    return record


def _address(array: Array) -> np.uint64:
    return np.uint64(array.ctypes.data)

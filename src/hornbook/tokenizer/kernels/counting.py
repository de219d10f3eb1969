"""Counting words exactly: `reference.count_words`, compiled. One table for each thread, added up at the end.

A table has slots of four uint64. A word of up to 15 bytes stands in its slot, with its length in the highest byte; of a
longer one there is a hash, and the bytes stand in an arena behind the table:

    slot   | first 8 bytes | 7 bytes more, length | count |   -   |     " the":  20 74 68 65 0 0 0 0 | 0 ... 0 4 | 17
    slot   | hash of all   | 255, length          | count | where |     where: the offset of its bytes in the arena
    slot   |       -       | 0: empty             |   -   |   -   |

A slot is found by the top bits of a hash of its first two numbers, and the next free one is taken (linear probing).
Words are looked up by the hundred: one loop makes their keys and asks for the memory, the next one finds it there.

Nothing is ever dropped: where a table, an arena or the memory to split text in is too small, the kernel stops before
the words that need it and says so, the caller makes it larger, and it goes on from there.
All numbers here are uint64, because numba makes a float of int64 with uint64; `split` and its like take int64.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64, njit, uint64

from hornbook.tokenizer.kernels.machine import (
    load_u8,
    load_u32,
    load_u64,
    prefetch,
    range_mask,
    store_u8,
    store_u64,
    trailing_zeros,
)
from hornbook.tokenizer.kernels.memory import zeroed
from hornbook.tokenizer.kernels.splitting import (
    PADDING,
    PATTERN_KINDS,
    class_table,
    find_cut,
    first_invalid_utf8,
    scratch_bytes,
    split,
    starts_entries,
)
from hornbook.tokenizer.word_counts import WordCounts

DONE, NEEDS_SLOTS, NEEDS_ARENA, NEEDS_SCRATCH, INVALID = range(5)
"""What `count` returns; `job.needed` says how much, or where the text is no UTF-8."""

_INLINE = uint64(15)
_LONG = uint64(0xFF) << uint64(56)
_LOW_56 = uint64(0x00FFFFFFFFFFFFFF)
_LOW_32 = uint64(0xFFFFFFFF)
_BATCH = 256
_STRETCH, _LONGEST_STRETCH = 2**16, 2**31 - 1024  # the splitter writes offsets as int32
_FEWEST_SLOTS = 2**17
_SMALLEST_ARENA = 2**18
_ONE = uint64(1)
_SECRET = secrets.randbits(64) | 1
"""What this process hashes with. Were it known, a text could be made whose words all want the same slot."""

TABLE = np.dtype(
    [
        ("slots", np.uint64),  # address of n_slots of four uint64
        ("n_slots", np.uint64),  # a power of two
        ("n_words", np.uint64),  # slots that are taken
        ("arena", np.uint64),  # address of the bytes of long words, each at a multiple of 8, with zeros up to the next
        ("arena_size", np.uint64),
        ("arena_used", np.uint64),
        ("secret", np.uint64),  # odd, and the same for all tables
    ],
    align=True,
)

JOB = np.dtype(
    [
        ("kind", np.int64),  # of splitter
        ("classes", np.uint64),  # address of the class of each code point
        # Special tokens: their different first bytes, and all of them, longest first, as (address, bytes).
        ("first_bytes", np.uint64),
        ("n_first_bytes", np.uint64),
        ("names", np.uint64),
        ("n_names", np.uint64),
        # Memory to split a stretch of text in.
        ("stretch", np.uint64),  # bytes of text that it is for
        ("scratch", np.uint64),
        ("starts", np.uint64),
        ("masks", np.uint64),  # for lengths of 0 to 15: two uint64, which cut a word out of the 16 bytes at its start
        ("keys", np.uint64),  # of a batch of words: (two uint64 of the key, address of the slot)
        # The text, and how far it is counted.
        ("text", np.uint64),
        ("bounds", np.uint64),  # int64[n_documents + 1]
        ("n_documents", np.uint64),
        ("document", np.uint64),
        ("position", np.uint64),  # of the stretch that is being counted
        ("words_done", np.uint64),  # in this stretch
        ("needed", np.uint64),
    ],
    align=True,
)
"""What one thread works on; what is no number is an address."""


# ------------------------------------------------------------------------------------------------------- slots


@njit(nogil=True)
def _mix(number, secret):
    """Well mixed in its top bits: every bit of the number reaches them."""
    return (number ^ (number >> uint64(32))) * secret


@njit(nogil=True)
def _hash(low, high, secret):
    return _mix(low ^ (high * secret), secret)


@njit(nogil=True)
def _first_slot(table, hashed):
    # The top bits of the hash: as many as number all slots.
    return table.slots + ((hashed >> (uint64(64) - trailing_zeros(table.n_slots))) << uint64(5))


@njit(nogil=True)
def _next_slot(table, slot):
    return table.slots + ((slot - table.slots + uint64(32)) & ((table.n_slots << uint64(5)) - _ONE))


@njit(nogil=True)
def _add_short(table, slot, low, high, times):
    """Count a word that stands in its slot; `slot` is where to look first."""
    while True:
        there = load_u64(slot + uint64(8))
        if (load_u64(slot) == low) & (there == high):
            store_u64(slot + uint64(16), load_u64(slot + uint64(16)) + times)
            return
        if there == uint64(0):
            store_u64(slot, low)
            store_u64(slot + uint64(8), high)
            store_u64(slot + uint64(16), times)
            table.n_words += _ONE
            return
        slot = _next_slot(table, slot)


@njit(nogil=True)
def _eight_bytes(text, i, n):
    """Bytes i to i + 8 of a text of n bytes, with zeros behind its end."""
    word = load_u64(text + i)
    return word if i + uint64(8) <= n else word & ((_ONE << ((n - i) << uint64(3))) - _ONE)


@njit(nogil=True)
def _hash_text(text, n, secret):
    hashed = n * secret
    for i in range(uint64(0), n, uint64(8)):
        hashed = _mix(hashed ^ _eight_bytes(text, uint64(i), n), secret)
    return hashed


@njit(nogil=True)
def _same_text(text, other, n):
    for i in range(uint64(0), n, uint64(8)):
        if _eight_bytes(text, uint64(i), n) != _eight_bytes(other, uint64(i), n):
            return False
    return True


@njit(nogil=True)
def _add_long(table, text, n, times):
    """Count a word of more than 15 bytes; the arena has room for it."""
    low, high = _hash_text(text, n, table.secret), _LONG | n
    slot = _first_slot(table, _hash(low, high, table.secret))
    while load_u64(slot + uint64(8)) != uint64(0):
        alike = (load_u64(slot) == low) & (load_u64(slot + uint64(8)) == high)
        if alike and _same_text(text, table.arena + load_u64(slot + uint64(24)), n):
            store_u64(slot + uint64(16), load_u64(slot + uint64(16)) + times)
            return
        slot = _next_slot(table, slot)
    where = table.arena_used
    for i in range(uint64(0), n, uint64(8)):
        store_u64(table.arena + where + uint64(i), _eight_bytes(text, uint64(i), n))
    store_u64(slot, low)
    store_u64(slot + uint64(8), high)
    store_u64(slot + uint64(16), times)
    store_u64(slot + uint64(24), where)
    table.arena_used = where + ((n + uint64(7)) & ~uint64(7))
    table.n_words += _ONE


@njit(nogil=True, cache=True)
def add_table(source, target, part, n_parts):
    """Add the words of one of `n_parts` equal parts of a table to another; DONE or NEEDS_SLOTS.

    This makes a table larger, adds up the tables of several threads, and lets each thread add up one part of them.
    Parts go by the low half of the hash: its top bits choose the slot, and a part is to be spread over all slots. The
    arena must be large enough for all long words; where there are too few slots, begin anew with a larger table.
    """
    for i in range(source.n_slots):
        slot = source.slots + (uint64(i) << uint64(5))
        low, high = load_u64(slot), load_u64(slot + uint64(8))
        if high == uint64(0):
            continue
        hashed = _hash(low, high, target.secret)
        if ((hashed & _LOW_32) * n_parts) >> uint64(32) != part:
            continue
        if target.n_words * uint64(2) >= target.n_slots:
            return NEEDS_SLOTS
        if high >= _LONG:
            _add_long(target, source.arena + load_u64(slot + uint64(24)), high & _LOW_56, load_u64(slot + uint64(16)))
        else:
            _add_short(target, _first_slot(target, hashed), low, high, load_u64(slot + uint64(16)))
    return DONE


@njit(nogil=True, cache=True)
def write_words(slots, n_words, arena, starts, words):
    """Write the bytes of words side by side.

    Args:
        slots: address of the slots of n_words words, none of them empty.
        n_words: how many.
        arena: address of the arena of their table.
        starts: address of int64[n_words], where each word is to start.
        words: address of the memory to write to, with 16 bytes more than the words have.
    """
    for i in range(n_words):
        slot, to = slots + (uint64(i) << uint64(5)), words + load_u64(starts + (uint64(i) << uint64(3)))
        high = load_u64(slot + uint64(8))
        if high < _LONG:
            store_u64(to, load_u64(slot))
            store_u64(to + uint64(8), high)  # its length lands on the next word, which is written later
            continue
        text = arena + load_u64(slot + uint64(24))
        for k in range(high & _LOW_56):
            store_u8(to + uint64(k), load_u8(text + uint64(k)))


# ----------------------------------------------------------------------------------------------- special tokens


@njit(nogil=True)
def _name_at(job, place, end):
    """Bytes of the longest special token at an address, all of it before `end`; 0 if there is none."""
    for i in range(job.n_names):
        name = load_u64(job.names + (uint64(i) << uint64(4)))
        n = load_u64(job.names + (uint64(i) << uint64(4)) + uint64(8))
        if place + n <= end:
            k = uint64(0)
            while k < n and load_u8(name + k) == load_u8(place + k):
                k += _ONE
            if k == n:
                return n
    return uint64(0)


@njit(nogil=True)
def _find_name(job, low, high, end):
    """The first place in low <= place < high where a special token stands, and its bytes; (high, 0) if there is none.

    64 bytes at a time are compared with the first byte of a name, of which there are few.
    """
    block = low
    while block < high and job.n_names:
        found = uint64(0)
        for i in range(job.n_first_bytes):
            found |= range_mask(block, np.uint8(0), np.uint8(load_u8(job.first_bytes + uint64(i))), np.uint8(0))
        while found:
            place = block + trailing_zeros(found)
            if place >= high:
                break
            n = _name_at(job, place, end)
            if n:
                return place, n
            found &= found - _ONE
        block += uint64(64)
    return high, uint64(0)


# ------------------------------------------------------------------------------------------------------- words


@njit(nogil=True)
def _next_stretch(job, start, end):
    """(end of ordinary text from `start` on that can be split by itself, bytes of the special token behind it).

    A stretch is short, so that it stays near the processor from the search for special tokens to the last look-up;
    where there is no place to cut it becomes longer.
    """
    reach = uint64(_STRETCH)
    while True:
        high = min(start + reach, end)
        # One place further: white space before a special token is split like that at the end of a text.
        found, n = _find_name(job, start, min(high + _ONE, end), end)
        if n:
            return found, n
        if high == end:
            return end, n
        cut = find_cut(job.kind, job.text, int64(start - job.text), int64(high - job.text))
        if cut > int64(start - job.text):
            return job.text + uint64(cut), n
        reach *= uint64(2)


@njit(nogil=True)
def _write_keys(job, table, text, first, n):
    """Write the keys of a batch of words and where to look for them, and ask for that memory."""
    starts, keys = job.starts + (first << uint64(2)), job.keys
    shift = uint64(64) - trailing_zeros(table.n_slots)
    slots, secret = table.slots, table.secret
    start = load_u32(starts)
    for i in range(n):
        end = load_u32(starts + (uint64(i) << uint64(2)) + uint64(4))
        length = end - start
        kept = min(length, _INLINE)
        mask = job.masks + (kept << uint64(4))
        low = load_u64(text + start) & load_u64(mask)
        high = (load_u64(text + start + uint64(8)) & load_u64(mask + uint64(8))) | (kept << uint64(56))
        slot = slots + ((_hash(low, high, secret) >> shift) << uint64(5))
        prefetch(slot)
        store_u64(keys, low)
        store_u64(keys + uint64(8), _LONG if length > _INLINE else high)
        store_u64(keys + uint64(16), slot)
        keys += uint64(24)
        start = end


@njit(nogil=True)
def _count_words(job, table, text, n_words):
    """Count the words of a stretch, going on after those that are done; returns DONE or what is needed first."""
    while job.words_done < n_words:
        first = job.words_done
        n = min(uint64(_BATCH), n_words - first)
        if (table.n_words + n) * uint64(2) > table.n_slots:
            return NEEDS_SLOTS
        n_bytes = load_u32(job.starts + ((first + n) << uint64(2))) - load_u32(job.starts + (first << uint64(2)))
        job.needed = table.arena_used + n_bytes + uint64(8) * n
        if job.needed > table.arena_size:
            return NEEDS_ARENA
        _write_keys(job, table, text, first, n)
        keys = job.keys
        for i in range(n):
            high = load_u64(keys + uint64(8))
            if high < _LONG:
                _add_short(table, load_u64(keys + uint64(16)), load_u64(keys), high, _ONE)
            else:
                start = load_u32(job.starts + ((first + uint64(i)) << uint64(2)))
                end = load_u32(job.starts + ((first + uint64(i)) << uint64(2)) + uint64(4))
                _add_long(table, text + start, end - start, _ONE)
            keys += uint64(24)
        job.words_done += n
    return DONE


@njit(nogil=True, cache=True)
def count(job, table):
    """Count the words of the documents of a job, between special tokens; returns DONE or what is needed first.

    Called again after NEEDS_..., it goes on where it was.
    """
    while job.document < job.n_documents:
        bounds = job.bounds + (job.document << uint64(3))
        end = job.text + load_u64(bounds + uint64(8))
        job.position = max(job.position, load_u64(bounds))
        while job.text + job.position < end:
            start = job.text + job.position
            stop, n_special = _next_stretch(job, start, end)
            n = stop - start
            if n > job.stretch:
                job.needed = n
                return NEEDS_SCRATCH
            bad = first_invalid_utf8(start, int64(n))
            if bad >= 0:
                job.needed = job.position + uint64(bad)
                return INVALID
            n_words = split(job.kind, start, int64(n), job.classes, job.scratch, job.starts) if n else 0
            result = _count_words(job, table, start, uint64(n_words))
            if result != DONE:
                return result
            job.words_done = uint64(0)
            job.position += n + n_special
        job.document += _ONE
    return DONE


# ------------------------------------------------------------------------------------------------- the way in


class WordTable:
    """Words and their counts, in slots and an arena that grow.

    Args:
        room: how many words there are slots for, no more than half of them taken.
        arena_size: bytes for long words.
    """

    def __init__(self, room: int = _FEWEST_SLOTS // 2, arena_size: int = _SMALLEST_ARENA) -> None:
        n_slots = 1 << (2 * room - 1).bit_length()
        self.record: Any = np.zeros(1, TABLE)[0]
        self.record["secret"] = _SECRET
        self.slots, self.arena = zeroed(4 * n_slots), np.zeros(arena_size // 8 + 1, np.uint64)
        self._point(n_slots)

    @classmethod
    def of_words(cls, counts: Mapping[bytes, int]) -> "WordTable":
        """A table of words that have been counted already; none of them empty."""
        words = sorted(counts, key=len)
        lengths = np.array([len(word) for word in words], np.uint64)
        n_short = int(np.searchsorted(lengths, _INLINE, side="right"))
        listed, where = cls(len(words) + 1, int(lengths[n_short:].sum()) + 8 * len(words)), 0
        slots, arena = listed.slots.reshape(-1, 4), listed.arena.view(np.uint8)
        slots[:n_short, :2] = np.array(words[:n_short], "S16").view(np.uint64).reshape(-1, 2)
        slots[:n_short, 1] |= lengths[:n_short] << np.uint64(56)
        slots[: len(words), 2] = [counts[word] for word in words]
        for slot, word in zip(slots[n_short:], words[n_short:], strict=False):
            slot[1], slot[3] = _LONG | np.uint64(len(word)), where
            arena[where : where + len(word)] = np.frombuffer(word, np.uint8)
            where += -(-len(word) // 8) * 8
        listed.record["n_words"], listed.record["arena_used"] = len(words), where
        return cls.sum([listed])  # where it was only a list, not at the places that hashes say

    @classmethod
    def sum(
        cls, tables: Sequence["WordTable"], part: int = 0, n_parts: int = 1, *, room: int | None = None
    ) -> "WordTable":
        """The words of several tables added up, or one of n_parts parts of them; other parts can be made meanwhile."""
        arena_size = sum(int(table.record["arena_used"]) for table in tables)
        room = room or sum(table.n_words for table in tables) // n_parts + 1000
        while True:
            target = cls(room, arena_size)
            added = (add_table(table.record, target.record, np.uint64(part), np.uint64(n_parts)) for table in tables)
            if all(result == DONE for result in added):
                return target
            room *= 2

    @property
    def n_words(self) -> int:
        """How many distinct words there are."""
        return int(self.record["n_words"])

    def grow(self) -> None:
        """Double the slots."""
        larger = WordTable.sum([self], room=int(self.record["n_slots"]))
        self.record, self.slots, self.arena = larger.record, larger.slots, larger.arena

    def reserve_arena(self, n_bytes: int) -> None:
        """Have an arena of at least so many bytes."""
        arena = np.zeros(max(n_bytes // 8 + 1, 2 * len(self.arena)), np.uint64)
        arena[: len(self.arena)] = self.arena
        self.arena = arena
        self._point(int(self.record["n_slots"]))

    def words(self) -> WordCounts:
        """All words, sorted by their first eight bytes: the same for the same text, but for equal beginnings.

        Words that begin alike hold the same pairs of bytes, so sorting them lets merging find places side by side.
        """
        slots = self.slots.reshape(-1, 4)
        slots = slots.take(np.flatnonzero(slots[:, 1]), axis=0)
        slots = slots.take(np.argsort(slots[:, 0].byteswap()), axis=0)
        high = slots[:, 1]
        lengths = np.where(high < _LONG, high >> np.uint64(56), high & _LOW_56).astype(np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        text = np.empty(int(starts[-1]) + 16, np.uint8)
        write_words(_address(slots), np.uint64(len(slots)), _address(self.arena), _address(starts), _address(text))
        return WordCounts(text[: starts[-1]], starts, slots[:, 2].astype(np.int64))

    def _point(self, n_slots: int) -> None:
        self.record["slots"], self.record["n_slots"] = self.slots.ctypes.data, n_slots
        self.record["arena"], self.record["arena_size"] = self.arena.ctypes.data, self.arena.nbytes


class WordCounter:
    """What one thread counts with: a table, and memory to split text in.

    Args:
        pattern: a name of PATTERN_KINDS.
        names: special tokens, which are borders between words and no words themselves.
    """

    def __init__(self, pattern: str, names: Iterable[bytes] = ()) -> None:
        self.table = WordTable()
        self._job: Any = np.zeros(1, JOB)[0]
        self._job["kind"] = PATTERN_KINDS[pattern]
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._keep("classes", class_table(PATTERN_KINDS[pattern]))
        self._keep("masks", np.tri(16, 16, -1, np.uint8) * np.uint8(255))
        self._keep("keys", np.empty(3 * _BATCH, np.uint64))
        self._make_scratch(_STRETCH)
        self._keep_names(sorted(names, key=len, reverse=True))

    def count(self, text: npt.NDArray[np.uint8], bounds: Sequence[int]) -> int | None:
        """Count the words of documents that lie side by side.

        Args:
            text: uint8, with PADDING bytes behind the last document.
            bounds: where each document starts, and the end of the last one.

        Returns:
            None, or where the text is not UTF-8; then only what stands before that has been counted.

        Raises:
            OverflowError: for 2 GB of text without a place to cut.
        """
        assert text.dtype == np.uint8
        assert text.flags.c_contiguous
        assert len(text) >= bounds[-1] + PADDING
        job, edges = self._job, np.array(bounds, np.int64)
        assert (np.diff(edges, prepend=0) >= 0).all()
        job["text"], job["bounds"], job["n_documents"] = text.ctypes.data, edges.ctypes.data, len(edges) - 1
        job["document"] = job["position"] = job["words_done"] = 0
        while True:
            match count(job, self.table.record):
                case 0:
                    return None
                case 1:
                    self.table.grow()
                case 2:
                    self.table.reserve_arena(int(job["needed"]))
                case 3:
                    self._make_scratch(int(job["needed"]))
                case _:
                    return int(job["needed"])

    def _make_scratch(self, stretch: int) -> None:
        if stretch > _LONGEST_STRETCH:
            raise OverflowError(f"{stretch:,} bytes without a place between words")
        self._keep("scratch", np.empty(scratch_bytes(stretch), np.uint8))
        self._keep("starts", np.empty(starts_entries(stretch), np.int32))
        self._job["stretch"] = stretch

    def _keep_names(self, names: Sequence[bytes]) -> None:
        joined = self._keep("joined", np.frombuffer(b"".join(names) or b" ", np.uint8))
        first_bytes = self._keep("first_bytes", np.frombuffer(bytes({name[0] for name in names}) or b" ", np.uint8))
        lengths = [len(name) for name in names]
        offsets = np.cumsum([0, *lengths])[:-1].astype(np.uint64)
        table = np.stack([np.uint64(joined.ctypes.data) + offsets, np.array(lengths, np.uint64)], axis=1)
        self._keep("names", np.ascontiguousarray(table))
        self._job["n_names"], self._job["n_first_bytes"] = len(names), len(first_bytes)

    def _keep(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._arrays[name] = array
        if name in (JOB.names or ()):
            self._job[name] = array.ctypes.data
        return array


def exercise() -> None:
    """Run every kernel once, which compiles it or takes it from the cache."""
    counter, text = WordCounter("gpt2", [b"<>"]), b"it is<>it"
    counter.count(np.frombuffer(text + bytes(PADDING), np.uint8), [0, len(text)])
    counter.table.grow()
    counter.table.words()


def _address(array: npt.NDArray[Any]) -> np.uint64:
    return np.uint64(array.ctypes.data)

"""Learning merges from counted words: `reference.learn_merges`, compiled.

All distinct words stand once in one row of cells, a cell for each byte, with a fence before and behind each word. A
symbol writes its id into the cells of its first and of its last byte, so that both its neighbours are found without
links: the next symbol starts at place + length, and the cell before a place tells which symbol ends there.

    byte                 t   h   e       t   h   a   t
    cell at first    |   t   h   e   |   t   h   a   t   |        | is a fence
    after t+h = 300  | 300 300   e   | 300 300   a   t   |
    after 300+e      | 301   .   301 | 300 300   a   t   |        . is inside: nobody looks there

What makes it fast is one fact: all places where a pair stands are born in the step that makes its newer symbol. So the
list of its places is written once, in rising order, and its count only falls afterwards. Therefore

* a heap with outdated counts is exact: an entry whose count fell since is filed again when it comes to the top;
* only pairs that stand at least `floor` times are in the heap at all; when it runs dry, the floor falls to a quarter;
* a step adds up what happens to its neighbours in arrays indexed by symbol (`before` and `after`), and looks each
  *pair* up once, not each occurrence.

Places are numbered by uint32, three for each cell at most: enough for distinct words of 1.4 GB together, which only
terabytes of text have.
All numbers here are uint64, because numba makes a float of int64 with uint64.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, uint64

from hornbook.tokenizer.kernels.machine import load_u8, load_u32, load_u64, prefetch, store_u8, store_u32, store_u64
from hornbook.tokenizer.kernels.memory import zeroed
from hornbook.tokenizer.reference import Pair, TieOrder
from hornbook.tokenizer.word_counts import WordCounts

FENCE = uint64(0xFFFFFFFF)
"""In place of a symbol, before and behind each word."""
_INSIDE = uint64(0xFFFFFFFE)
"""In place of a symbol that has been merged into another."""
_MOST_PLACES = 2**32 - 1
_FEWEST_PAIRS = 2**17
_FIRST_SLICE = 64
_AHEAD = uint64(12)
"""How many occurrences ahead memory is asked for."""
_MIX = uint64(0x9E3779B97F4A7C15)
_LOW_HALF = uint64(0xFFFFFFFF)

MERGED, EXHAUSTED, NEEDS_PAIRS = 0, 1, 2
"""What `learn` returns: as many merges as asked for; no pair is left; more memory for pairs is needed first."""

STATE = np.dtype(
    [
        # The row.
        ("cells", np.uint64),  # n_cells of (symbol uint32, number of the word uint32)
        ("n_cells", np.uint64),
        ("text", np.uint64),  # the byte of each cell, then each of the 256 bytes
        ("word_counts", np.uint64),  # uint64 for each word
        # Pairs: (left << 32 | right, count, first of its places, number of places), uint64 each, by age.
        ("pairs", np.uint64),
        ("n_pairs", np.uint64),
        ("pair_capacity", np.uint64),
        ("slots", np.uint64),  # hash table: 0, or (high half of the hash, number of the pair + 1), uint32 each
        ("slot_mask", np.uint64),
        ("places", np.uint64),  # uint32; the places of a pair lie side by side
        ("n_places", np.uint64),
        # The heap: (count when it was filed, left << 32 | right, number of the pair), uint64 each.
        ("heap", np.uint64),
        ("n_heap", np.uint64),
        ("floor", np.uint64),
        # Symbols.
        ("before", np.uint64),  # (occurrences' weight uint64, number uint32, length in bytes uint32) for each symbol
        ("after", np.uint64),  # the same; the length is unused
        ("order", np.uint64),  # (first 8 bytes, big end first, uint64; a place of it uint32; length uint32)
        ("lexicographic", np.uint64),  # 1 or 0: the tie order
        # Of one step: the symbols met on each side, and for each occurrence (symbol met uint32, place uint32).
        ("met_before", np.uint64),
        ("met_after", np.uint64),
        ("born_before", np.uint64),
        ("born_after", np.uint64),
        # The result: left << 32 | right, uint64 each.
        ("merges", np.uint64),
        ("n_merges", np.uint64),
    ],
    align=True,
)
"""What stands where; all but the numbers are addresses."""

_SIDE = np.dtype([("weight", np.uint64), ("number", np.uint32), ("length", np.uint32)])
_ORDER = np.dtype([("prefix", np.uint64), ("place", np.uint32), ("length", np.uint32)])


# ---------------------------------------------------------------------------------------------------- pairs by hash


@njit(nogil=True)
def _hash(key):
    mixed = key * _MIX
    return (mixed ^ (mixed >> uint64(29))) * _MIX


@njit(nogil=True)
def _slot(state, hashed):
    return state.slots + (((hashed >> uint64(20)) & state.slot_mask) << uint64(3))


@njit(nogil=True)
def _next_slot(state, slot):
    return state.slots + ((slot - state.slots + uint64(8)) & ((state.slot_mask << uint64(3)) | uint64(7)))


@njit(nogil=True)
def _enter(state, key, number):
    """Put a pair that is not there yet into the hash table."""
    hashed = _hash(key)
    slot = _slot(state, hashed)
    while load_u64(slot) != uint64(0):
        slot = _next_slot(state, slot)
    store_u64(slot, (hashed & ~_LOW_HALF) | (number + uint64(1)))


@njit(nogil=True)
def _find(state, key):
    """The address of a pair that is there."""
    hashed = _hash(key)
    slot = _slot(state, hashed)
    while True:
        entry = load_u64(slot)
        if (entry ^ hashed) >> uint64(32) == uint64(0):
            pair = state.pairs + (((entry & _LOW_HALF) - uint64(1)) << uint64(5))
            if load_u64(pair) == key:
                return pair
        slot = _next_slot(state, slot)


@njit(nogil=True)
def _add_pair(state, key, count, n_places):
    """A new pair, its places to be written from state.n_places on; the caller moves that on."""
    number = state.n_pairs
    pair = state.pairs + (number << uint64(5))
    store_u64(pair, key)
    store_u64(pair + uint64(8), count)
    store_u64(pair + uint64(16), state.n_places)
    store_u64(pair + uint64(24), n_places)
    _enter(state, key, number)
    state.n_pairs = number + uint64(1)


@njit(nogil=True, cache=True)
def fill_slots(state):
    """Enter all pairs into a hash table that is empty."""
    for number in range(state.n_pairs):
        _enter(state, load_u64(state.pairs + (uint64(number) << uint64(5))), uint64(number))


# ------------------------------------------------------------------------------------------------------- the heap


@njit(nogil=True)
def _compare(state, one, two):
    """Negative, 0 or positive as the bytes of symbol `one` sort before, like or after those of `two`."""
    if one == two:
        return 0
    first, second = state.order + (one << uint64(4)), state.order + (two << uint64(4))
    prefix, other_prefix = load_u64(first), load_u64(second)
    if prefix != other_prefix:
        return 1 if prefix > other_prefix else -1
    place, other_place = load_u32(first + uint64(8)), load_u32(second + uint64(8))
    length, other_length = load_u32(first + uint64(12)), load_u32(second + uint64(12))
    for i in range(min(length, other_length)):
        byte, other = load_u8(state.text + place + uint64(i)), load_u8(state.text + other_place + uint64(i))
        if byte != other:
            return 1 if byte > other else -1
    if length == other_length:
        return 0
    return 1 if length > other_length else -1


@njit(nogil=True)
def _goes_first(state, count, key, other_count, other_key):
    """Whether the first of two pairs is merged before the other: more frequent, or preferred by the tie order."""
    if count != other_count:
        return count > other_count
    if state.lexicographic == uint64(0):
        return key < other_key
    by_left = _compare(state, key >> uint64(32), other_key >> uint64(32))
    if by_left != 0:
        return by_left > 0
    return _compare(state, key & _LOW_HALF, other_key & _LOW_HALF) > 0


@njit(nogil=True)
def _heap_entry(state, i):
    return state.heap + i * uint64(24)


@njit(nogil=True)
def _write_entry(state, i, count, key, number):
    entry = _heap_entry(state, i)
    store_u64(entry, count)
    store_u64(entry + uint64(8), key)
    store_u64(entry + uint64(16), number)


@njit(nogil=True)
def _copy_entry(state, source, target):
    entry = _heap_entry(state, source)
    _write_entry(state, target, load_u64(entry), load_u64(entry + uint64(8)), load_u64(entry + uint64(16)))


@njit(nogil=True)
def _push(state, count, key, number):
    """Add an entry: it rises from the end to where it belongs."""
    i = state.n_heap
    state.n_heap = i + uint64(1)
    while i > uint64(0):
        parent = (i - uint64(1)) >> uint64(1)
        entry = _heap_entry(state, parent)
        if not _goes_first(state, count, key, load_u64(entry), load_u64(entry + uint64(8))):
            break
        _copy_entry(state, parent, i)
        i = parent
    _write_entry(state, i, count, key, number)


@njit(nogil=True)
def _replace_top(state, count, key, number):
    """Put an entry in place of the top: it sinks to where it belongs."""
    i = uint64(0)
    while True:
        child = uint64(2) * i + uint64(1)
        if child >= state.n_heap:
            break
        entry = _heap_entry(state, child)
        child_count, child_key = load_u64(entry), load_u64(entry + uint64(8))
        if child + uint64(1) < state.n_heap:
            right_count, right_key = load_u64(entry + uint64(24)), load_u64(entry + uint64(32))
            if _goes_first(state, right_count, right_key, child_count, child_key):
                child, child_count, child_key = child + uint64(1), right_count, right_key
        if not _goes_first(state, child_count, child_key, count, key):
            break
        _copy_entry(state, child, i)
        i = child
    _write_entry(state, i, count, key, number)


@njit(nogil=True)
def _drop_top(state):
    last = state.n_heap - uint64(1)
    state.n_heap = last
    if last > uint64(0):
        entry = _heap_entry(state, last)
        _replace_top(state, load_u64(entry), load_u64(entry + uint64(8)), load_u64(entry + uint64(16)))


@njit(nogil=True)
def _lower_floor(state):
    """Let the pairs into the heap that stand at least a quarter as often as the floor was."""
    old = state.floor
    state.floor = max(uint64(1), old >> uint64(2))
    for number in range(state.n_pairs):
        pair = state.pairs + (uint64(number) << uint64(5))
        count = load_u64(pair + uint64(8))
        if count >= state.floor and count < old:
            _push(state, count, load_u64(pair), uint64(number))


# --------------------------------------------------------------------------------------------------- the first index


@njit(nogil=True, cache=True)
def index(state, words, starts, n_words, symbol_of_byte, grid):
    """Write the row of cells and the table of all pairs of bytes with their places.

    Args:
        state: with memory for all that is filled here, its numbers 0, its slots and symbols zero.
        words: address of the bytes of all words, one after the other.
        starts: address of int64[n_words + 1], where each word starts.
        n_words: number of words.
        symbol_of_byte: address of uint8[256].
        grid: address of uint64[65536, 2], zero: (count, number of places) of each pair of bytes.
    """
    # Two rounds: count the places of each pair, so that its list can be laid out; then write them.
    cell, text = state.cells, state.text
    store_u64(cell, FENCE)
    for word in range(n_words):
        weight = load_u64(state.word_counts + (uint64(word) << uint64(3)))
        start = load_u64(starts + (uint64(word) << uint64(3)))
        end = load_u64(starts + (uint64(word) << uint64(3)) + uint64(8))
        previous = FENCE
        for place in range(start, end):
            byte = load_u8(words + uint64(place))
            symbol = load_u8(symbol_of_byte + byte)
            cell, text = cell + uint64(8), text + uint64(1)
            store_u64(cell, symbol | (uint64(word) << uint64(32)))
            store_u8(text, byte)
            if previous != FENCE:
                square = grid + (((previous << uint64(8)) | symbol) << uint64(4))
                store_u64(square, load_u64(square) + weight)
                store_u64(square + uint64(8), load_u64(square + uint64(8)) + uint64(1))
            previous = symbol
        cell, text = cell + uint64(8), text + uint64(1)
        store_u64(cell, FENCE)

    most = uint64(0)
    for k in range(65536):
        square = grid + (uint64(k) << uint64(4))
        count, n_places = load_u64(square), load_u64(square + uint64(8))
        if n_places:
            key = (uint64(k >> 8) << uint64(32)) | uint64(k & 255)
            _add_pair(state, key, count, n_places)
            store_u64(square + uint64(8), state.n_places)  # from here on: where its next place is written
            state.n_places += n_places
            most = max(most, count)
    state.floor = most + uint64(1)

    previous = FENCE
    for place in range(state.n_cells):
        symbol = load_u32(state.cells + (uint64(place) << uint64(3)))
        if previous != FENCE and symbol != FENCE:
            square = grid + (((previous << uint64(8)) | symbol) << uint64(4)) + uint64(8)
            position = load_u64(square)
            store_u32(state.places + (position << uint64(2)), uint64(place) - uint64(1))
            store_u64(square, position + uint64(1))
        previous = symbol


# ------------------------------------------------------------------------------------------------------ one merge


@njit(nogil=True)
def _length(state, symbol):
    return load_u32(state.before + (symbol << uint64(4)) + uint64(12))


@njit(nogil=True)
def _meet(side, met, n_met, symbol, weight):
    """Add one occurrence of `symbol` beside the pair; returns how many symbols have been met on this side."""
    entry = side + (symbol << uint64(4))
    number = load_u32(entry + uint64(8))
    if number == uint64(0):
        store_u32(met + (n_met << uint64(2)), symbol)
        n_met += uint64(1)
    store_u64(entry, load_u64(entry) + weight)
    store_u32(entry + uint64(8), number + uint64(1))
    return n_met


@njit(nogil=True)
def _rewrite(state, left, right, new, first, n_places):
    """Write `new` wherever the pair stands, left to right, and note its neighbours.

    Returns:
        How many symbols were met before it and after it, how often a symbol was met there, and one of its places.
    """
    left_length, right_length = _length(state, left), _length(state, right)
    length = left_length + right_length
    store_u32(state.before + (new << uint64(4)) + uint64(12), length)  # in "aaaa" it is its own neighbour
    cells, after_right = state.cells, length << uint64(3)
    to_right, to_last = left_length << uint64(3), (length - uint64(1)) << uint64(3)
    place_list = state.places + (first << uint64(2))
    last = n_places - uint64(1)
    n_before = n_after = n_born_before = n_born_after = an_occurrence = uint64(0)
    for i in range(n_places):
        # The branches below wait for this memory otherwise, and are hard to foresee.
        prefetch(cells + (load_u32(place_list + (min(uint64(i) + _AHEAD, last) << uint64(2))) << uint64(3)))
        place = load_u32(place_list + (uint64(i) << uint64(2)))
        cell = cells + (place << uint64(3))
        here = load_u64(cell)
        if here & _LOW_HALF != left or load_u32(cell + to_right) != right:
            continue  # merged with another neighbour since
        an_occurrence = place
        weight = load_u64(state.word_counts + ((here >> uint64(32)) << uint64(3)))
        neighbour = load_u32(cell - uint64(8))
        if neighbour != FENCE:
            n_before = _meet(state.before, state.met_before, n_before, neighbour, weight)
            born = neighbour | ((place - _length(state, neighbour)) << uint64(32))
            store_u64(state.born_before + (n_born_before << uint64(3)), born)
            n_born_before += uint64(1)
        neighbour = load_u32(cell + after_right)
        if neighbour != FENCE:
            n_after = _meet(state.after, state.met_after, n_after, neighbour, weight)
            store_u64(state.born_after + (n_born_after << uint64(3)), neighbour | (place << uint64(32)))
            n_born_after += uint64(1)
        store_u32(cell, new)
        store_u32(cell + to_right, _INSIDE)
        store_u32(cell + to_last, new)
    return n_before, n_after, n_born_before, n_born_after, an_occurrence


@njit(nogil=True)
def _add_born(state, side, met, n_met, born, n_born, new, new_is_right):
    """The pairs of the new symbol with the symbols met on one side, and their places."""
    for i in range(n_met):
        symbol = load_u32(met + (uint64(i) << uint64(2)))
        entry = side + (symbol << uint64(4))
        n_places = load_u32(entry + uint64(8))
        key = (symbol << uint64(32)) | new if new_is_right else (new << uint64(32)) | symbol
        _add_pair(state, key, load_u64(entry), n_places)
        store_u32(entry + uint64(8), state.n_places)  # from here on: where its next place is written
        state.n_places += n_places
    for i in range(n_born):
        met_at = load_u64(born + (uint64(i) << uint64(3)))
        cursor = side + ((met_at & _LOW_HALF) << uint64(4)) + uint64(8)
        position = load_u32(cursor)
        store_u32(state.places + (position << uint64(2)), met_at >> uint64(32))
        store_u32(cursor, position + uint64(1))


@njit(nogil=True)
def _lower_counts(state, side, met, n_met, part, part_is_right):
    """Take from the pairs that the new symbol broke up what it took, and clear this side for the next step."""
    for i in range(n_met):
        symbol = load_u32(met + (uint64(i) << uint64(2)))
        entry = side + (symbol << uint64(4))
        pair = _find(state, (symbol << uint64(32)) | part if part_is_right else (part << uint64(32)) | symbol)
        store_u64(pair + uint64(8), load_u64(pair + uint64(8)) - load_u64(entry))
        store_u64(entry, uint64(0))
        store_u32(entry + uint64(8), uint64(0))


@njit(nogil=True)
def _describe_symbol(state, new, place, length):
    """Write what `_compare` needs of a new symbol."""
    prefix = uint64(0)
    for i in range(min(length, uint64(8))):
        prefix |= load_u8(state.text + place + uint64(i)) << (uint64(56) - uint64(8) * uint64(i))
    entry = state.order + (new << uint64(4))
    store_u64(entry, prefix)
    store_u32(entry + uint64(8), place)
    store_u32(entry + uint64(12), length)


@njit(nogil=True)
def _merge(state, number):
    """Make one symbol of a pair."""
    pair = state.pairs + (number << uint64(5))
    key = load_u64(pair)
    left, right, new = key >> uint64(32), key & _LOW_HALF, uint64(256) + state.n_merges
    store_u64(state.merges + (state.n_merges << uint64(3)), key)
    state.n_merges += uint64(1)
    n_before, n_after, n_born_before, n_born_after, place = _rewrite(
        state, left, right, new, load_u64(pair + uint64(16)), load_u64(pair + uint64(24))
    )
    _describe_symbol(state, new, place, _length(state, new))
    first_born = state.n_pairs
    _add_born(state, state.before, state.met_before, n_before, state.born_before, n_born_before, new, True)
    _add_born(state, state.after, state.met_after, n_after, state.born_after, n_born_after, new, False)
    # Only now: in "aaaa" the second "aa" breaks up a pair that the first one made.
    _lower_counts(state, state.before, state.met_before, n_before, left, True)
    _lower_counts(state, state.after, state.met_after, n_after, right, False)
    store_u64(pair + uint64(8), uint64(0))
    for born in range(first_born, state.n_pairs):
        entry = state.pairs + (uint64(born) << uint64(5))
        count = load_u64(entry + uint64(8))
        if count >= state.floor:
            _push(state, count, load_u64(entry), uint64(born))


@njit(nogil=True, cache=True)
def learn(state, stop):
    """Merge until there are `stop` merges; returns MERGED, EXHAUSTED or NEEDS_PAIRS, and can be called again."""
    while state.n_merges < stop:
        if state.n_heap == uint64(0):
            if state.floor <= uint64(1):
                return EXHAUSTED
            _lower_floor(state)
            continue
        count, key, number = load_u64(state.heap), load_u64(state.heap + uint64(8)), load_u64(state.heap + uint64(16))
        pair = state.pairs + (number << uint64(5))
        now = load_u64(pair + uint64(8))
        if now != count:  # it fell since it was filed
            if now >= state.floor:
                _replace_top(state, now, key, number)
            else:
                _drop_top(state)
            continue
        # A symbol can be met on either side of each occurrence, and each symbol only once a side.
        most_born = uint64(2) * min(load_u64(pair + uint64(24)), uint64(256) + state.n_merges)
        if state.n_pairs + most_born > state.pair_capacity:
            return NEEDS_PAIRS
        _drop_top(state)
        _merge(state, number)
    return MERGED


# ------------------------------------------------------------------------------------------------- the way in


def learn_merges(
    words: WordCounts,
    alphabet: Sequence[int],
    n_merges: int,
    *,
    tie_order: TieOrder,
    progress: Callable[[int], None] | None = None,
) -> list[Pair]:
    """The merges in order of learning, as `reference.learn_merges` gives them.

    Args:
        words: distinct words; if one stands there twice, its counts add up.
        alphabet: the 256 bytes in the order of their ids.
        n_merges: how many to learn; fewer come back if every word has become one symbol.
        tie_order: which of equally frequent pairs is merged first.
        progress: called now and then with the number of merges learnt. Between two calls no signal is heard.

    Raises:
        OverflowError: if there are more places than can be numbered: distinct words of 1.4 GB together.
    """
    text, starts = np.ascontiguousarray(words.text, np.uint8), np.ascontiguousarray(words.starts, np.int64)
    assert len(starts) == len(words.counts) + 1
    assert starts[0] == 0
    assert starts[-1] == len(text)
    assert (np.diff(starts) >= 0).all()
    assert sorted(alphabet) == list(range(256))
    memory = _Memory(len(text), words.counts, np.array(alphabet, np.uint8), n_merges)
    state, done = memory.state, 0
    state["lexicographic"] = tie_order == "lexicographic"
    symbol_of_byte, grid = np.argsort(alphabet).astype(np.uint8), np.zeros((65536, 2), np.uint64)
    n_words = np.uint64(len(words.counts))
    index(state, _address(text), _address(starts), n_words, _address(symbol_of_byte), _address(grid))
    while done < n_merges:
        # The first merges rewrite millions of places each, the last ones few.
        result = learn(state, np.uint64(min(n_merges, done + max(_FIRST_SLICE, done // 8))))
        done = int(state["n_merges"])
        if result == EXHAUSTED:
            break
        if result == NEEDS_PAIRS:
            memory.make_room_for_pairs()
        elif progress and done < n_merges:
            progress(done)
    return [(key >> 32, key & 0xFFFFFFFF) for key in memory.merges[:done].tolist()]


def exercise() -> None:
    """Run every kernel once, which compiles it or takes it from the cache."""
    learn_merges(WordCounts.of({b"abcab": 2, b"cab": 1}), range(256), 3, tie_order="lexicographic")
    _Memory(0, np.zeros(0, np.int64), np.arange(256, dtype=np.uint8), 0).make_room_for_pairs()


def _address(array: npt.NDArray[Any]) -> np.uint64:
    return np.uint64(array.ctypes.data)


class _Memory:
    """The arrays that STATE points to. What is reserved and never touched costs no memory."""

    def __init__(
        self, n_bytes: int, counts: npt.NDArray[np.int64], alphabet: npt.NDArray[np.uint8], n_merges: int
    ) -> None:
        n_cells, n_symbols = n_bytes + len(counts) + 1, 256 + n_merges
        if 3 * n_cells > _MOST_PLACES:  # a merge takes one place and makes two at most, so the first list can triple
            raise OverflowError(f"{len(counts):,} distinct words of {n_bytes:,} bytes together")
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self.state: Any = np.zeros(1, STATE)[0]
        self.state["n_cells"] = n_cells
        self._keep("word_counts", np.ascontiguousarray(counts, np.int64))
        self._keep("cells", np.empty(n_cells, np.uint64))
        self._keep("places", np.empty(3 * n_cells, np.uint32))
        self._keep("before", np.zeros(n_symbols, _SIDE))["length"][:256] = 1
        self._keep("after", np.zeros(n_symbols, _SIDE))
        text, order = self._keep("text", np.zeros(n_cells + 256, np.uint8)), np.zeros(n_symbols, _ORDER)
        text[n_cells:] = np.arange(256)
        order["prefix"][:256] = alphabet.astype(np.uint64) << np.uint64(56)
        order["place"][:256] = n_cells + alphabet.astype(np.uint32)
        order["length"][:256] = 1
        self._keep("order", order)
        for name, size in (("met", n_symbols), ("born", n_cells)):
            for side in ("before", "after"):
                self._keep(f"{name}_{side}", np.empty(size, np.uint64 if name == "born" else np.uint32))
        self.merges = self._keep("merges", np.zeros(n_merges, np.uint64))
        # A guess that fits a vocabulary of 32,000; for each pair that follows there are many places.
        self._make_pairs(max(_FEWEST_PAIRS, 1 << (n_cells // 8).bit_length()))

    def make_room_for_pairs(self) -> None:
        """Twice as much memory for pairs, with the present ones in it."""
        self._make_pairs(2 * int(self.state["pair_capacity"]))
        fill_slots(self.state)

    def _make_pairs(self, capacity: int) -> None:
        for name, width in (("pairs", 4), ("heap", 3)):
            old, new = self._arrays.get(name), np.empty((capacity, width), np.uint64)
            if old is not None:
                new[: len(old)] = old
            self._keep(name, new)
        self._keep("slots", zeroed(2 * capacity))  # never more than half full
        self.state["slot_mask"] = 2 * capacity - 1
        self.state["pair_capacity"] = capacity

    def _keep(self, name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        self._arrays[name] = array
        self.state[name] = array.ctypes.data
        return array

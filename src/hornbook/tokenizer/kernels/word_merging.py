"""The ids of one word by its merges: of the pairs in it the lowest rank merges first, the leftmost among equals.

The definition is `reference.merge_word`. Three ways to find the lowest rank, by the length of the word:

    to 15 bytes   one vector minimum of sixteen; which places are in use is known from the digits of two numbers
    to 256        the vector minima of as many blocks of sixteen as it takes
    beyond        a heap

A merge has a number, its rank. Only the order of ranks counts, so they are 0, 1, 2, ...; where several pairs make the
same token with the same rank, as in tiktoken's files, they share a number.
"""

import numpy as np
from numba import njit

from hornbook.tokenizer.kernels.encoder_records import LONGEST_KEPT, SHORTEST_MEDIUM
from hornbook.tokenizer.kernels.machine import (
    load_u8,
    load_u16,
    load_u32,
    load_u64,
    minimum_16,
    store_u16,
    store_u32,
    store_u64,
)

U64, I64 = np.uint64, np.int64

NONE = U64(0xFFFFFFFF)
ALL = U64(0xFFFFFFFFFFFFFFFF)
MULTIPLIER = U64(0x9E3779B97F4A7C15)

PAIR_BITS, MERGE_BITS = U64(21), U64(22)


@njit(nogil=True, cache=True)
def fill_pairs(pairs, shift, lefts, rights, numbers, n):
    """Put n pairs of ids and their merges' numbers (int64 each, by address) into an empty table of pairs."""
    for i in range(n):
        offset = U64(8) * U64(i)
        key = (load_u64(lefts + offset) << PAIR_BITS) | load_u64(rights + offset)
        at = (key * MULTIPLIER) >> shift
        while load_u64(pairs + (at << U64(3))) != ALL:
            at = (at + U64(1)) & (ALL >> shift)
        store_u64(pairs + (at << U64(3)), (key << MERGE_BITS) | load_u64(numbers + offset))


@njit(nogil=True, cache=True)
def merge_of(pairs, shift, left, right):
    """The number of the merge of two ids, NONE if they do not merge."""
    key = (left << PAIR_BITS) | right
    at = (key * MULTIPLIER) >> shift
    while True:
        slot = load_u64(pairs + (at << U64(3)))
        if slot >> MERGE_BITS == key:
            return slot & U64(0x3FFFFF)
        if slot == ALL:
            return NONE
        at = (at + U64(1)) & (ALL >> shift)


@njit(nogil=True, cache=True)
def hash_bytes(text, n):
    """A hash of n bytes in its top bits; reads up to 7 bytes more."""
    h = U64(n) * MULTIPLIER
    for i in range(0, n, 8):
        part = load_u64(text + U64(i))
        if n - i < 8:
            part &= (U64(1) << U64(8 * (n - i))) - U64(1)
        h = (h ^ part) * MULTIPLIER
        h ^= h >> U64(29)
    return h * MULTIPLIER


@njit(nogil=True, cache=True)
def same_bytes(a, b, n):
    """Whether n bytes at two addresses are equal; reads up to 7 bytes more."""
    different = U64(0)
    for i in range(0, n, 8):
        part = load_u64(a + U64(i)) ^ load_u64(b + U64(i))
        if n - i < 8:
            part &= (U64(1) << U64(8 * (n - i))) - U64(1)
        different |= part
    return different == U64(0)


@njit(nogil=True, cache=True)
def whole_word(tables, text, n):
    """The id of a word that is a token out of reach of merging, where such a word becomes it anyway; else NONE."""
    at = hash_bytes(text, n)
    h = at
    while True:
        at &= tables.whole_words_mask
        token = load_u64(tables.whole_words + (at << U64(4)) + U64(8))
        if token == ALL:
            return NONE
        if load_u64(tables.whole_words + (at << U64(4))) == h:
            place = load_u64(tables.token_places + (token << U64(3)))
            if I64(place & NONE) == n and same_bytes(text, tables.token_bytes + (place >> U64(32)), n):
                return token
        at += U64(1)


@njit(nogil=True, cache=True)
def fill_whole_words(tables, ids, n):
    """Put n tokens (int64 ids, by address) into the empty table that `whole_word` reads."""
    for i in range(n):
        token = load_u64(ids + U64(8 * i))
        place = load_u64(tables.token_places + (token << U64(3)))
        h = hash_bytes(tables.token_bytes + (place >> U64(32)), I64(place & NONE))
        at = h & tables.whole_words_mask
        while load_u64(tables.whole_words + (at << U64(4)) + U64(8)) != ALL:
            at = (at + U64(1)) & tables.whole_words_mask
        store_u64(tables.whole_words + (at << U64(4)), h)
        store_u64(tables.whole_words + (at << U64(4)) + U64(8), token)


@njit(nogil=True, cache=True)
def merge_word(tables, state, text, n):
    """Write the ids of a word of n >= 1 bytes to `state.symbols`; returns how many."""
    if tables.whole_words_mask:
        token = whole_word(tables, text, n)
        if token != NONE:
            store_u32(state.symbols, token)
            return 1
    if n < SHORTEST_MEDIUM:
        return _merge_short(tables, state, text, n)
    if n <= LONGEST_KEPT:
        return _merge_medium(tables, state, text, n)
    return _merge_long(tables, state, text, n)


@njit(nogil=True, cache=True)
def _merge_short(tables, state, text, n):
    """At most 15 bytes.

    ranks[i] is merge << 8 | i for the pair whose first symbol is at place i, so the minimum tells both. Digit i (four
    bits) of `following` is the next place in use, of `preceding` the one before:

        places     0   1   2   3   4              0   1   2   3   4
        symbols    t   h   e   r   e     "he"     t   he  -   r   e
        following  1   2   3   4   5              1   3       4   5
    """
    symbols, ranks, pairs, shift = state.symbols, state.ranks, tables.pairs, tables.pairs_shift
    for i in range(8):
        store_u64(ranks + U64(8 * i), ALL)
    byte = load_u8(text)
    store_u32(symbols, load_u32(tables.byte_ids + (byte << U64(2))))
    for i in range(1, n):
        place = U64(i)
        after = load_u8(text + place)
        store_u32(symbols + (place << U64(2)), load_u32(tables.byte_ids + (after << U64(2))))
        merge = load_u32(tables.byte_pairs + (((byte << U64(8)) | after) << U64(2)))
        if merge != NONE:
            store_u32(ranks + ((place - U64(1)) << U64(2)), (merge << U64(8)) | (place - U64(1)))
        byte = after
    following, preceding = U64(0xFEDCBA987654321), U64(0xEDCBA98765432100)
    fifteen = U64(15)
    while True:
        best = minimum_16(ranks)
        if best == NONE:
            break
        at = best & U64(0xFF)
        gone = (following >> (at << U64(2))) & fifteen
        right = (following >> (gone << U64(2))) & fifteen
        new = load_u32(tables.joined + ((best >> U64(8)) << U64(2)))
        store_u32(symbols + (at << U64(2)), new)
        store_u32(symbols + (gone << U64(2)), NONE)
        store_u32(ranks + (gone << U64(2)), NONE)
        following = (following & ~(fifteen << (at << U64(2)))) | (right << (at << U64(2)))
        merge = NONE
        if right != U64(0) and right < U64(n):
            preceding = (preceding & ~(fifteen << (right << U64(2)))) | (at << (right << U64(2)))
            merge = merge_of(pairs, shift, new, load_u32(symbols + (right << U64(2))))
            if merge != NONE:
                merge = (merge << U64(8)) | at
        store_u32(ranks + (at << U64(2)), merge)
        if at > U64(0):
            left = (preceding >> (at << U64(2))) & fifteen
            merge = merge_of(pairs, shift, load_u32(symbols + (left << U64(2))), new)
            if merge != NONE:
                merge = (merge << U64(8)) | left
            store_u32(ranks + (left << U64(2)), merge)
    return _without_gaps(symbols, n)


@njit(nogil=True, cache=True)
def _merge_medium(tables, state, text, n):
    """At most LONGEST_KEPT bytes; like `_merge_short`, but with as many blocks of sixteen ranks as it takes.

    A minimum has to wait until the ranks written just before have arrived in the cache. All blocks wait together, so
    looking at four of them costs little more than at one.
    """
    symbols, ranks, pairs, shift = state.symbols, state.ranks, tables.pairs, tables.pairs_shift
    following, preceding = state.following, state.preceding
    n_blocks = (n + 15) >> 4
    for i in range(8 * n_blocks):
        store_u64(ranks + U64(8 * i), ALL)
    byte = load_u8(text)
    store_u32(symbols, load_u32(tables.byte_ids + (byte << U64(2))))
    store_u16(following, U64(1))
    for i in range(1, n):
        place = U64(i)
        after = load_u8(text + place)
        store_u32(symbols + (place << U64(2)), load_u32(tables.byte_ids + (after << U64(2))))
        store_u16(following + (place << U64(1)), place + U64(1))
        store_u16(preceding + (place << U64(1)), place - U64(1))
        merge = load_u32(tables.byte_pairs + (((byte << U64(8)) | after) << U64(2)))
        if merge != NONE:
            store_u32(ranks + ((place - U64(1)) << U64(2)), (merge << U64(8)) | (place - U64(1)))
        byte = after
    while True:
        best = minimum_16(ranks)
        for block in range(1, n_blocks):
            best = min(best, minimum_16(ranks + U64(64 * block)))
        if best == NONE:
            break
        at = best & U64(0xFF)
        gone = load_u16(following + (at << U64(1)))
        right = load_u16(following + (gone << U64(1)))
        new = load_u32(tables.joined + ((best >> U64(8)) << U64(2)))
        store_u32(symbols + (at << U64(2)), new)
        store_u32(symbols + (gone << U64(2)), NONE)
        store_u32(ranks + (gone << U64(2)), NONE)
        store_u16(following + (at << U64(1)), right)
        merge = NONE
        if right < U64(n):
            store_u16(preceding + (right << U64(1)), at)
            merge = merge_of(pairs, shift, new, load_u32(symbols + (right << U64(2))))
            if merge != NONE:
                merge = (merge << U64(8)) | at
        store_u32(ranks + (at << U64(2)), merge)
        if at > U64(0):
            left = load_u16(preceding + (at << U64(1)))
            merge = merge_of(pairs, shift, load_u32(symbols + (left << U64(2))), new)
            if merge != NONE:
                merge = (merge << U64(8)) | left
            store_u32(ranks + (left << U64(2)), merge)
    return _without_gaps(symbols, n)


@njit(nogil=True, cache=True)
def _without_gaps(symbols, n):
    """Move the symbols that are left together; returns how many there are."""
    kept = U64(0)
    for i in range(n):
        symbol = load_u32(symbols + U64(4 * i))
        store_u32(symbols + (kept << U64(2)), symbol)
        kept += U64(symbol != NONE)
    return I64(kept)


@njit(nogil=True, cache=True)
def _merge_long(tables, state, text, n):
    """Any number of bytes: a heap of merge << 32 | place over linked symbols.

    An entry is outdated if the pair at its place is by now of another merge. At most two entries are born in a merge
    and one goes, so 3 n entries are room enough.
    """
    symbols, links, heap, pairs, shift = state.symbols, state.links, state.heap, tables.pairs, tables.pairs_shift
    size = 0
    for i in range(n):
        place = U64(i)
        store_u32(symbols + (place << U64(2)), load_u32(tables.byte_ids + (load_u8(text + place) << U64(2))))
        store_u32(links + (place << U64(3)), place + U64(1))
        store_u32(links + (place << U64(3)) + U64(4), place - U64(1))
        if i:
            before = load_u8(text + place - U64(1))
            merge = load_u32(tables.byte_pairs + (((before << U64(8)) | load_u8(text + place)) << U64(2)))
            if merge != NONE:
                store_u64(heap + (U64(size) << U64(3)), (merge << U64(32)) | (place - U64(1)))
                size += 1
    for i in range(size // 2 - 1, -1, -1):
        _sift_down(heap, size, i)
    end = U64(n)
    while size:
        best = load_u64(heap)
        size -= 1
        store_u64(heap, load_u64(heap + (U64(size) << U64(3))))
        _sift_down(heap, size, 0)
        at, merge = best & NONE, best >> U64(32)
        symbol = load_u32(symbols + (at << U64(2)))
        gone = load_u32(links + (at << U64(3)))
        if symbol == NONE or gone == end:
            continue
        if merge_of(pairs, shift, symbol, load_u32(symbols + (gone << U64(2)))) != merge:
            continue
        new = load_u32(tables.joined + (merge << U64(2)))
        right = load_u32(links + (gone << U64(3)))
        store_u32(symbols + (at << U64(2)), new)
        store_u32(symbols + (gone << U64(2)), NONE)
        store_u32(links + (at << U64(3)), right)
        if right != end:
            store_u32(links + (right << U64(3)) + U64(4), at)
            merge = merge_of(pairs, shift, new, load_u32(symbols + (right << U64(2))))
            if merge != NONE:
                store_u64(heap + (U64(size) << U64(3)), (merge << U64(32)) | at)
                size += 1
                _sift_up(heap, size - 1)
        if at:
            left = load_u32(links + (at << U64(3)) + U64(4))
            merge = merge_of(pairs, shift, load_u32(symbols + (left << U64(2))), new)
            if merge != NONE:
                store_u64(heap + (U64(size) << U64(3)), (merge << U64(32)) | left)
                size += 1
                _sift_up(heap, size - 1)
    return _without_gaps(symbols, n)


@njit(nogil=True, cache=True)
def _sift_up(heap, i):
    """Restore the order of a heap of uint64 whose entry i may be smaller than the entries above it."""
    entry = load_u64(heap + (U64(i) << U64(3)))
    while i > 0:
        above = (i - 1) >> 1
        other = load_u64(heap + (U64(above) << U64(3)))
        if other <= entry:
            break
        store_u64(heap + (U64(i) << U64(3)), other)
        i = above
    store_u64(heap + (U64(i) << U64(3)), entry)


@njit(nogil=True, cache=True)
def _sift_down(heap, size, i):
    """Restore the order of a heap of uint64 whose entry i may be larger than the entries below it."""
    entry = load_u64(heap + (U64(i) << U64(3)))
    while True:
        below = 2 * i + 1
        if below >= size:
            break
        other = load_u64(heap + (U64(below) << U64(3)))
        if below + 1 < size:
            second = load_u64(heap + (U64(below + 1) << U64(3)))
            if second < other:
                below, other = below + 1, second
        if other >= entry:
            break
        store_u64(heap + (U64(i) << U64(3)), other)
        i = below
    store_u64(heap + (U64(i) << U64(3)), entry)

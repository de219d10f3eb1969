"""The ids of words that were seen before. Three tables by the length of the word, which never grow:

    short, to 15 bytes: a bucket is one cache line of two entries
        | text, zero behind its end ....... 15 bytes | length 4 bits, ids 4 bits |  ids ............... 16 bytes |
        | text ............................ 15 bytes | length 4 bits, ids 4 bits |  ids ............... 16 bytes |
    medium, to 31 bytes: a cache line is one entry
        | text, zero behind its end ....... 31 bytes | length - 16,   ids 4 bits |  ids ............... 32 bytes |
    long, to 256 bytes: text and ids are in the ring
        | hash of the text | place in the ring | bytes | ids |

The number of ids is at least 1, so 0 there is an empty entry. If the ids have no room in an entry, the number is 15,
and the first two words of the room are a place in the ring and the true number. A word is put into its home, which a
hash of it says, or into one of the buckets after it; if all are full, the home's older entry goes.

The ring is an array of uint64 that is written round and round. A place counts all words ever written, so what stands at
a place has not been overwritten as long as `head - place <= size of the ring`.
"""

import numpy as np
from numba import njit

from hornbook.tokenizer.kernels.encoder_records import LONGEST_KEPT, NEIGHBOURS, SHORTEST_LONG
from hornbook.tokenizer.kernels.machine import load_u32, load_u64, store_u16, store_u32, store_u64
from hornbook.tokenizer.kernels.word_merging import ALL, MULTIPLIER, hash_bytes, merge_word, same_bytes

U64, I64 = np.uint64, np.int64

KEY = U64(0x0FFFFFFFFFFFFFFF)
"""Of the word of an entry that holds the lengths, all but the number of ids."""
IN_RING = U64(15)
_COUNT = U64(60)
_OTHER_MULTIPLIER = U64(0xC2B2AE3D27D4EB4F)


@njit(nogil=True, cache=True)
def low_bytes(n):
    """A mask of the n lowest bytes of 8, of all for more."""
    return ALL if n >= U64(8) else (U64(1) << (n << U64(3))) - U64(1)


@njit(nogil=True, cache=True)
def hash_short(low, high):
    """Mixes all bits of a key of 16 bytes into the top bits, from which a bucket is taken."""
    h = low ^ (high * _OTHER_MULTIPLIER)
    return (h ^ (h >> U64(32))) * MULTIPLIER


@njit(nogil=True, cache=True)
def hash_medium(text, n):
    """The same for a word of 16 to 31 bytes; reads 32."""
    a, b, c, d = _medium_key(text, n)
    h = (hash_short(a, b) ^ (c * _OTHER_MULTIPLIER)) * MULTIPLIER
    return hash_short(h ^ (h >> U64(32)), d)


@njit(nogil=True, cache=True)
def find_or_encode_short(tables, state, text, n, low, high, home, out):
    """The ids of a short word that is not inline in its home: from another place, or merged now and kept.

    Args:
        text, n: the word.
        low, high: its key.
        home: address of its bucket.
        out: address where its ids go; 8 bytes more than they take may be written.

    Returns: how many ids.
    """
    entry, free = home, U64(0)
    for _ in range(2 * NEIGHBOURS):
        lengths = load_u64(entry + U64(8))
        if lengths == U64(0):
            free = entry
            break
        if ((load_u64(entry) ^ low) | ((lengths ^ high) & KEY)) == U64(0):
            count = lengths >> _COUNT
            if count != IN_RING:
                store_u64(out, load_u64(entry + U64(16)))
                store_u64(out + U64(8), load_u64(entry + U64(24)))
                return I64(count)
            count = _from_ring(state, load_u64(entry + U64(16)), load_u64(entry + U64(24)), out)
            if count:
                return I64(count)
            free = entry  # overwritten since
            break
        entry += U64(32)
    n_ids = merge_word(tables, state, text, n)
    emit(state.symbols, n_ids, out, state.shift)
    if free == U64(0):
        for i in range(4):
            store_u64(home + U64(32 + 8 * i), load_u64(home + U64(8 * i)))
        free = home
    store_u64(free, low)
    keep_ids(state, n_ids, out, free + U64(16), U64(16), free + U64(8), high)
    return n_ids


@njit(nogil=True, cache=True)
def find_or_encode_medium(tables, state, text, n, home, out):
    """The same for a medium word; `home` is the address of its entry."""
    a, b, c, d = _medium_key(text, n)
    entry, free = home, U64(0)
    for _ in range(NEIGHBOURS):
        lengths = load_u64(entry + U64(24))
        if lengths >> _COUNT == U64(0):
            free = entry
            break
        different = (load_u64(entry) ^ a) | (load_u64(entry + U64(8)) ^ b) | (load_u64(entry + U64(16)) ^ c)
        if (different | ((lengths ^ d) & KEY)) == U64(0):
            count = lengths >> _COUNT
            if count != IN_RING:
                for i in range(4):
                    store_u64(out + U64(8 * i), load_u64(entry + U64(32 + 8 * i)))
                return I64(count)
            count = _from_ring(state, load_u64(entry + U64(32)), load_u64(entry + U64(40)), out)
            if count:
                return I64(count)
            free = entry
            break
        entry += U64(64)
    n_ids = merge_word(tables, state, text, n)
    emit(state.symbols, n_ids, out, state.shift)
    if free == U64(0):
        free = home
    store_u64(free, a)
    store_u64(free + U64(8), b)
    store_u64(free + U64(16), c)
    keep_ids(state, n_ids, out, free + U64(32), U64(32), free + U64(24), d)
    return n_ids


@njit(nogil=True, cache=True)
def find_or_encode_long(tables, state, text, n, out):
    """The same for a long word, which is kept if it has at most LONGEST_KEPT bytes; any length is encoded.

    In the ring: its bytes, filled up to a multiple of 8, then its ids as uint32.
    """
    if n > LONGEST_KEPT:
        n_ids = merge_word(tables, state, text, n)
        emit(state.symbols, n_ids, out, state.shift)
        return n_ids
    h = hash_bytes(text, n)
    home = state.long + ((h >> state.long_shift) << U64(5))
    entry, free = home, U64(0)
    n_words = U64((n + 7) >> 3)
    for _ in range(NEIGHBOURS):
        count = load_u64(entry + U64(24))
        if count == U64(0):
            free = entry
            break
        if load_u64(entry) == h and load_u64(entry + U64(16)) == U64(n):
            place = load_u64(entry + U64(8))
            if state.ring_head - place > state.ring_words:
                free = entry
                break
            kept = state.ring + ((place & (state.ring_words - U64(1))) << U64(3))
            if same_bytes(kept, text, n):
                emit(kept + (n_words << U64(3)), I64(count), out, state.shift)
                return I64(count)
        entry += U64(32)
    n_ids = merge_word(tables, state, text, n)
    emit(state.symbols, n_ids, out, state.shift)
    if free == U64(0):
        free = home
    n_id_words = U64((n_ids + 1) >> 1)
    place = _room_in_ring(state, n_words + n_id_words)
    kept = state.ring + ((place & (state.ring_words - U64(1))) << U64(3))
    for i in range(n_words):
        store_u64(kept + (U64(i) << U64(3)), load_u64(text + (U64(i) << U64(3))))
    for i in range(n_id_words):
        store_u64(kept + ((n_words + U64(i)) << U64(3)), load_u64(state.symbols + (U64(i) << U64(3))))
    store_u64(free, h)
    store_u64(free + U64(8), place)
    store_u64(free + U64(16), U64(n))
    store_u64(free + U64(24), U64(n_ids))
    return n_ids


@njit(nogil=True, cache=True)
def keep_ids(state, n_ids, ids, room, room_bytes, lengths_at, key):
    """Write ids, in the form of the output, into an entry's room or, if they are too many, into the ring.

    Args:
        n_ids, ids: how many, and the address where they stand with 8 readable bytes more.
        room, room_bytes: the entry's room for ids.
        lengths_at, key: where the entry holds the lengths, and all of that word but the number of ids.
    """
    n_bytes = U64(n_ids) << state.shift
    n_words = (n_bytes + U64(7)) >> U64(3)
    if n_bytes <= room_bytes and U64(n_ids) < IN_RING:
        for i in range(n_words):
            store_u64(room + (U64(i) << U64(3)), load_u64(ids + (U64(i) << U64(3))))
        store_u64(lengths_at, key | (U64(n_ids) << _COUNT))
        return
    place = _room_in_ring(state, n_words)
    kept = state.ring + ((place & (state.ring_words - U64(1))) << U64(3))
    for i in range(n_words):
        store_u64(kept + (U64(i) << U64(3)), load_u64(ids + (U64(i) << U64(3))))
    store_u64(room, place)
    store_u64(room + U64(8), U64(n_ids))
    store_u64(lengths_at, key | (IN_RING << _COUNT))


@njit(nogil=True, cache=True)
def emit(symbols, n_ids, out, shift):
    """Write ids, uint32 at `symbols`, in the form of the output: uint16 for shift 1, uint32 for 2."""
    if shift == U64(1):
        for i in range(n_ids):
            store_u16(out + U64(2 * i), load_u32(symbols + U64(4 * i)))
    else:
        for i in range(n_ids):
            store_u32(out + U64(4 * i), load_u32(symbols + U64(4 * i)))


@njit(nogil=True, cache=True)
def _medium_key(text, n):
    """The first half of an entry for a word of 16 to 31 bytes, without the number of its ids."""
    rest = U64(n) - U64(SHORTEST_LONG // 2)
    c = load_u64(text + U64(16)) & low_bytes(rest)
    d = load_u64(text + U64(24)) & low_bytes(rest - min(rest, U64(8)))
    return load_u64(text), load_u64(text + U64(8)), c, d | (rest << U64(56))


@njit(nogil=True, cache=True)
def _room_in_ring(state, n_words):
    """The place of n_words in a row that may be written now."""
    at = state.ring_head & (state.ring_words - U64(1))
    if at + n_words > state.ring_words:
        state.ring_head += state.ring_words - at
    place = state.ring_head
    state.ring_head += n_words
    return place


@njit(nogil=True, cache=True)
def _from_ring(state, place, n_ids, out):
    """Copy ids in the form of the output from a place in the ring; 0 if they have been overwritten."""
    if state.ring_head - place > state.ring_words:
        return U64(0)
    kept = state.ring + ((place & (state.ring_words - U64(1))) << U64(3))
    for i in range(((n_ids << state.shift) + U64(7)) >> U64(3)):
        store_u64(out + (U64(i) << U64(3)), load_u64(kept + (U64(i) << U64(3))))
    return n_ids

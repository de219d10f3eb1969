"""Text to ids, 256 words at a time. The definition is `BytePairScheme.encode`.

    text --split--> words --+--> in a cache: its ids are copied
                            +--> else: merged (`word_merging`) and kept (`word_cache`)

Text repeats its words, so nearly all are in the cache, and the work is to find them there without waiting: a first pass
over 256 words makes the key of each, finds its bucket and asks for that cache line; when a second pass comes to the
words, the lines have arrived. It always copies 16 bytes, eight or four ids, and moves on by as many as there are.

A text comes in spans, each with an id that follows it, or none: documents and their end, or what stands between special
tokens. A long span is encoded in segments that fit the processor's cache, cut where a word starts anyway.
"""

import numpy as np
from numba import njit

from hornbook.tokenizer.kernels.encoder_records import BATCH, NEIGHBOURS, SEGMENT, SHORTEST_LONG, SHORTEST_MEDIUM
from hornbook.tokenizer.kernels.machine import load_u32, load_u64, prefetch, store_u8, store_u16, store_u32, store_u64
from hornbook.tokenizer.kernels.splitting import PADDING, find_cut, first_invalid_utf8, split
from hornbook.tokenizer.kernels.word_cache import (
    KEY,
    find_or_encode_long,
    find_or_encode_medium,
    find_or_encode_short,
    hash_medium,
    hash_short,
    low_bytes,
)
from hornbook.tokenizer.kernels.word_merging import ALL, merge_word

U64, I64 = np.uint64, np.int64

DONE, INVALID = 0, -1

_COUNT = U64(60)
_IN_RING = U64(15)


@njit(nogil=True, cache=True)
def encode_spans(tables, state, text, spans, n_spans, out):
    """Encode the spans of a text from `state.span` on.

    Args:
        tables, state: see `encoder_records`. `span`, `position` and `n_ids` of the state say where to go on.
        text: address of bytes; behind the last span at least PADDING are readable.
        spans: address of int64[n_spans, 4]: start, end, the id that follows or -1, and (written here) the number of ids
            up to the span's end.
        out: address where the ids go: one for each byte and span, and 64 bytes more.

    Returns: DONE; INVALID if the span has malformed UTF-8, which starts at `state.position`; or the bytes of a segment
        for which the state must be given memory before the same call goes on.
    """
    while state.span < n_spans:
        row = spans + U64(32 * state.span)
        start, end, following = I64(load_u64(row)), I64(load_u64(row + U64(8))), load_u64(row + U64(16))
        if state.position < 0:
            malformed = first_invalid_utf8(text + U64(start), end - start)
            if malformed >= 0:
                state.position = start + malformed
                return INVALID
            state.position = start
        while state.position < end:
            stop = _segment_end(tables.kind, text, state.position, end)
            if stop - state.position > state.capacity:
                return stop - state.position
            here = text + U64(state.position)
            n_words = split(tables.kind, here, stop - state.position, tables.classes, state.splitting, state.starts)
            state.n_ids += _encode_words(tables, state, here, n_words, out + (U64(state.n_ids) << state.shift))
            state.position = stop
        if following != ALL:
            if state.shift == U64(1):
                store_u16(out + (U64(state.n_ids) << U64(1)), following)
            else:
                store_u32(out + (U64(state.n_ids) << U64(2)), following)
            state.n_ids += 1
        store_u64(row + U64(24), U64(state.n_ids))
        state.span += 1
        state.position = -1
    return DONE


@njit(nogil=True, cache=True)
def _segment_end(kind, text, start, end):
    """Where the segment that begins at `start` ends: at a cut after at most SEGMENT bytes, at a later one, or `end`."""
    low, high = start, start + SEGMENT
    while high < end:
        cut = find_cut(kind, text, low, high)
        if cut > start:
            return cut
        low, high = high - 2, start + 2 * (high - start)
    return end


@njit(nogil=True, cache=True)
def _encode_words(tables, state, text, n_words, out):
    """Encode the words whose offsets stand at `state.starts`; returns how many ids were written to `out`."""
    starts, batch, short, short_shift = state.starts, state.batch, state.short, state.short_shift
    shift = state.shift
    write = out
    for first in range(0, n_words, BATCH):
        here = starts + U64(4 * first)
        m = min(BATCH, n_words - first)
        for j in range(m):
            start = load_u32(here + U64(4 * j))
            n = load_u32(here + U64(4 * j + 4)) - start
            word = text + start
            if n < U64(SHORTEST_MEDIUM):
                low = load_u64(word) & low_bytes(n)
                high = (load_u64(word + U64(8)) & low_bytes(n - min(n, U64(8)))) | (n << U64(56))
                bucket = short + ((hash_short(low, high) >> short_shift) << U64(6))
            else:
                low, high, bucket = U64(0), ALL, U64(0)  # no entry has this key
                if n < U64(SHORTEST_LONG):
                    bucket = state.medium + ((hash_medium(word, I64(n)) >> state.medium_shift) << U64(6))
            prefetch(bucket)
            store_u64(batch + U64(24 * j), low)
            store_u64(batch + U64(24 * j + 8), high)
            store_u64(batch + U64(24 * j + 16), bucket)
        for j in range(m):
            low = load_u64(batch + U64(24 * j))
            high = load_u64(batch + U64(24 * j + 8))
            bucket = load_u64(batch + U64(24 * j + 16))
            if high != ALL:
                first_entry = (load_u64(bucket) ^ low) | ((load_u64(bucket + U64(8)) ^ high) & KEY)
                second_entry = (load_u64(bucket + U64(32)) ^ low) | ((load_u64(bucket + U64(40)) ^ high) & KEY)
                entry = bucket + (U64(first_entry != U64(0)) << U64(5))
                count = load_u64(entry + U64(8)) >> _COUNT
                if ((first_entry == U64(0)) | (second_entry == U64(0))) & (count != _IN_RING):
                    store_u64(write, load_u64(entry + U64(16)))
                    store_u64(write + U64(8), load_u64(entry + U64(24)))
                    write += count << shift
                    continue
            start = load_u32(here + U64(4 * j))
            n = I64(load_u32(here + U64(4 * j + 4)) - start)
            if high != ALL:
                n_ids = find_or_encode_short(tables, state, text + start, n, low, high, bucket, write)
            elif bucket:
                n_ids = find_or_encode_medium(tables, state, text + start, n, bucket, write)
            else:
                n_ids = find_or_encode_long(tables, state, text + start, n, write)
            write += U64(n_ids) << shift
    return I64((write - out) >> shift)


@njit(nogil=True, cache=True)
def tokens_by_merging(tables, state, n_ids, reached):
    """Write a byte for each id to `reached`: 1 if the token's bytes as a word become just this id, else 0.

    Ids without a token, of length 0, get 0.
    """
    for token in range(n_ids):
        place = load_u64(tables.token_places + U64(8 * token))
        n = I64(place & U64(0xFFFFFFFF))
        alone = U64(0)
        if n > 0 and n <= state.capacity and merge_word(tables, state, tables.token_bytes + (place >> U64(32)), n) == 1:
            alone = U64(load_u32(state.symbols) == U64(token))
        store_u8(reached + U64(token), alone)


@njit(nogil=True, cache=True)
def remember_tokens(tables, state, tokens, n_tokens):
    """Put tokens that as words become just themselves (int64 ids, by address) into the empty cache of short words."""
    for i in range(n_tokens):
        token = load_u64(tokens + U64(8 * i))
        place = load_u64(tables.token_places + (token << U64(3)))
        word, n = tables.token_bytes + (place >> U64(32)), place & U64(0xFFFFFFFF)
        if n >= U64(SHORTEST_MEDIUM):
            continue
        low = load_u64(word) & low_bytes(n)
        high = (load_u64(word + U64(8)) & low_bytes(n - min(n, U64(8)))) | (n << U64(56))
        entry = state.short + ((hash_short(low, high) >> state.short_shift) << U64(6))
        for _ in range(2 * NEIGHBOURS):
            if load_u64(entry + U64(8)) == U64(0):
                store_u64(entry, low)
                store_u64(entry + U64(8), high | (U64(1) << _COUNT))
                store_u64(entry + U64(16), token)
                break
            entry += U64(32)


def exercise() -> None:
    """Run every kernel once, which compiles it or takes it from the cache."""
    from hornbook.tokenizer.kernels.encoder_memory import State, Tables

    merges = np.array([[97, 98, 0, 256]])
    tokens = [bytes([byte]) for byte in range(256)] + [b"ab", b"abc"]
    tables = Tables(0, np.arange(256), merges, tokens, whole_words_first=True)
    words = b"ab abcdefghijklmnopqrst " + b"x" * 40 + b" " + b"y" * 300
    text = np.frombuffer(words + bytes(PADDING), np.uint8)
    state = State(tables, np.dtype(np.uint16), cache_bits=4)
    state.encode(text, np.array([[0, len(words), -1, 0]]), np.empty(1000, np.uint16))

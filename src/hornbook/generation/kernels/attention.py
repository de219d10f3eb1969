"""Attention of one query over the filled part of a slot's keys and values, and where those lie.

    keys    (slots, kv heads, blocks of 16 positions, HEAD_WIDTH, 16): scores of 16 positions are lanes of one sum
    values  (slots, kv heads, positions, HEAD_WIDTH): the mixed head's numbers are lanes

Both are float32 or bfloat16. Every sum goes by position or by dimension in order, so a query's result depends on
nothing but itself and the positions that it sees.
"""

import numpy as np

from hornbook.generation.kernels.layout import PRECISIONS
from hornbook.generation.kernels.machine import (
    add,
    exponential,
    fma,
    inner,
    keep_first,
    larger,
    largest,
    load,
    load_bfloat16,
    multiply,
    read_f32,
    splat,
    stay_whole,
    store,
    store_first,
    subtract,
    total,
    write_bfloat16,
    write_f32,
)

_FLOAT32 = PRECISIONS["float32"]
_ZERO, _ONE, _LOWEST = np.float32(0), np.float32(1), np.float32(-3.0e38)


def _attend_over(load_stored, size):
    """`attend` for keys and values of one kind."""

    @inner
    def attend(query, head_dim, head_width, keys, values, n_positions, scores, out):
        stay_whole()
        n_blocks = (n_positions + 15) // 16
        block_bytes = head_width * 16 * size
        highest = splat(_LOWEST)
        block = 0
        while block < n_blocks:
            at = keys + block * block_bytes
            if block + 4 <= n_blocks:  # four at a time, because one waits for the sum before
                a, b, c, d = splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO)
                for i in range(head_dim):
                    q = splat(read_f32(query + 4 * i))
                    a = fma(q, load_stored(at + i * 16 * size), a)
                    b = fma(q, load_stored(at + block_bytes + i * 16 * size), b)
                    c = fma(q, load_stored(at + 2 * block_bytes + i * 16 * size), c)
                    d = fma(q, load_stored(at + 3 * block_bytes + i * 16 * size), d)
                store(scores + 64 * block, a)
                store(scores + 64 * block + 64, b)
                store(scores + 64 * block + 128, c)
                store(scores + 64 * block + 192, d)
                block += 4
            else:
                a = splat(_ZERO)
                for i in range(head_dim):
                    a = fma(splat(read_f32(query + 4 * i)), load_stored(at + i * 16 * size), a)
                store(scores + 64 * block, a)
                block += 1
        in_last = n_positions - 16 * (n_blocks - 1)
        last = scores + 64 * (n_blocks - 1)
        store(last, keep_first(load(last), in_last, splat(_LOWEST)))
        for block in range(n_blocks):
            highest = larger(load(scores + 64 * block), highest)
        top = splat(largest(highest))
        sums = splat(_ZERO)
        for block in range(n_blocks):
            weight = exponential(subtract(load(scores + 64 * block), top))
            if block == n_blocks - 1:
                weight = keep_first(weight, in_last, splat(_ZERO))
            store(scores + 64 * block, weight)
            sums = add(sums, weight)
        share = splat(_ONE / total(sums))
        stride = head_width * size
        lane = 0
        while lane < head_width:
            at = values + lane * size
            if lane + 64 <= head_width:
                a, b, c, d = splat(_ZERO), splat(_ZERO), splat(_ZERO), splat(_ZERO)
                for position in range(n_positions):
                    weight = splat(read_f32(scores + 4 * position))
                    a = fma(weight, load_stored(at), a)
                    b = fma(weight, load_stored(at + 16 * size), b)
                    c = fma(weight, load_stored(at + 32 * size), c)
                    d = fma(weight, load_stored(at + 48 * size), d)
                    at += stride
                store_first(out + 4 * lane, multiply(a, share), min(16, head_dim - lane))
                store_first(out + 4 * lane + 64, multiply(b, share), min(16, head_dim - lane - 16))
                store_first(out + 4 * lane + 128, multiply(c, share), min(16, head_dim - lane - 32))
                store_first(out + 4 * lane + 192, multiply(d, share), min(16, head_dim - lane - 48))
                lane += 64
            else:
                a = splat(_ZERO)
                for position in range(n_positions):
                    a = fma(splat(read_f32(scores + 4 * position)), load_stored(at), a)
                    at += stride
                store_first(out + 4 * lane, multiply(a, share), min(16, head_dim - lane))
                lane += 16

    return attend


_attend_float32, _attend_bfloat16 = _attend_over(load, 4), _attend_over(load_bfloat16, 2)


@inner
def attend(precision, query, head_dim, head_width, keys, values, n_positions, scores, out):
    """softmax(q k) v over the first `n_positions` of a slot's head; the query is scaled already.

    Args:
        precision: of keys and values.
        query: address of float32 (head_dim).
        keys: address of the blocks of this slot and head, as `values`.
        scores: address of float32 for n_positions, rounded up to whole blocks.
        out: address of float32 (head_dim).
    """
    if precision == _FLOAT32:
        _attend_float32(query, head_dim, head_width, keys, values, n_positions, scores, out)
    else:
        _attend_bfloat16(query, head_dim, head_width, keys, values, n_positions, scores, out)


@inner
def write_key(precision, key, head_dim, head_width, keys, position):
    """Put a key into its column of its block."""
    if precision == _FLOAT32:
        at = keys + (position // 16) * head_width * 64 + (position % 16) * 4
        for i in range(head_dim):
            write_f32(at + 64 * i, read_f32(key + 4 * i))
    else:
        at = keys + (position // 16) * head_width * 32 + (position % 16) * 2
        for i in range(head_dim):
            write_bfloat16(at + 32 * i, read_f32(key + 4 * i))


@inner
def write_value(precision, value, head_dim, head_width, values, position):
    """Put a value into its row."""
    if precision == _FLOAT32:
        for i in range(head_dim):
            write_f32(values + (position * head_width + i) * 4, read_f32(value + 4 * i))
    else:
        for i in range(head_dim):
            write_bfloat16(values + (position * head_width + i) * 2, read_f32(value + 4 * i))

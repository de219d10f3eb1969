"""Products of weights, as they are stored, with rows of float32."""

from hornbook.generation.kernels.layout import BFLOAT16_DOT, BLOCKS, PRECISIONS, TILE_OUTS
from hornbook.generation.kernels.machine import (
    HAS_BFLOAT16_DOT,
    PRODUCTS,
    inner,
    load_first,
    multiply,
    stay_whole,
    store_first,
)

_FLOAT32, _BFLOAT16, _INT8 = PRECISIONS.values()


def _product_of(stored):
    """`product` for one kind of weight: tiles of 4 rows by 4 outputs, 8 outputs where there is one row."""
    block, block_bytes = BLOCKS[stored]
    by_one, by_two, by_four = (
        _by(outs, PRODUCTS[stored, outs, rows], PRODUCTS[stored, 1, rows], block, block_bytes)
        for outs, rows in ((8, 1), (4, 2), (4, 4))
    )

    @inner
    def product(weight, length, first, n_outs, x, x_stride, n_rows, out, out_stride):
        r = 0
        while r + 4 <= n_rows:
            by_four(weight, length, first, n_outs, x + r * x_stride, x_stride, out + r * out_stride, out_stride)
            r += 4
        if r + 2 <= n_rows:
            by_two(weight, length, first, n_outs, x + r * x_stride, x_stride, out + r * out_stride, out_stride)
            r += 2
        if r < n_rows:
            by_one(weight, length, first, n_outs, x + r * x_stride, x_stride, out + r * out_stride, out_stride)

    return product


def _by(outs, wide, thin, block, block_bytes):
    """Some outputs for as many rows as the tiles have: wide tiles where a whole one begins, elsewhere thin ones."""

    @inner
    def by(weight, length, first, n_outs, x, x_stride, out, out_stride):
        stay_whole()
        group_bytes = (length + block - 1) // block * block_bytes * TILE_OUTS
        o, end = first, first + n_outs
        while o < end:
            at = weight + o // TILE_OUTS * group_bytes + o % TILE_OUTS * block_bytes
            if o % outs == 0 and o + outs <= end:
                wide(at, x, x_stride, length, out, out_stride)
                o += outs
                out += 4 * outs
            else:
                thin(at, x, x_stride, length, out, out_stride)
                o += 1
                out += 4

    return by


_float32, _bfloat16, _int8 = (_product_of(stored) for stored in PRECISIONS)
_bfloat16_dot = _product_of("bfloat16_dot" if HAS_BFLOAT16_DOT else "bfloat16")


@inner
def product(precision, weight, scales, length, first, n_outs, x, x_stride, n_rows, out, out_stride):
    """out[r, o] = scales[first + o] * sum over i of weight[first + o, i] x[r, i], without scales for floats.

    Args:
        precision: a number of PRECISIONS, or BFLOAT16_DOT, where rows of x are bfloat16.
        weight: address of (outputs, length), packed as `layout.BLOCKS` says.
        scales: address of float32 (outputs), for int8.
        first: the first output that is wanted, of `n_outs`.
        x: address of float32 rows, `x_stride` bytes from one to the next.
        out: address of float32 rows of `n_outs`, `out_stride` bytes from one to the next.
    """
    stay_whole()
    if precision == _FLOAT32:
        _float32(weight, length, first, n_outs, x, x_stride, n_rows, out, out_stride)
    elif precision == _BFLOAT16:
        _bfloat16(weight, length, first, n_outs, x, x_stride, n_rows, out, out_stride)
    elif precision == BFLOAT16_DOT:
        _bfloat16_dot(weight, length, first, n_outs, x, x_stride, n_rows, out, out_stride)
    else:
        _int8(weight, length, first, n_outs, x, x_stride, n_rows, out, out_stride)
        for r in range(n_rows):
            row = out + r * out_stride
            for o in range(0, n_outs, 16):
                count = min(16, n_outs - o)
                scaled = multiply(load_first(row + 4 * o, count), load_first(scales + 4 * (first + o), count))
                store_first(row + 4 * o, scaled, count)

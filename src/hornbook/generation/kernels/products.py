"""Products of weights, as they are stored, with rows of float32."""

from hornbook.generation.kernels.layout import BFLOAT16_DOT, PRECISIONS
from hornbook.generation.kernels.machine import (
    BFLOAT16_PRODUCTS,
    BYTES,
    HAS_BFLOAT16_DOT,
    PRODUCTS,
    inner,
    load_first,
    multiply,
    stay_whole,
    store_first,
)

_FLOAT32, _BFLOAT16, _INT8 = PRECISIONS.values()


def _product_of(size, tiles):
    """`product` for one kind of weight: tiles of 4 rows by 4 outputs, 8 outputs where there is one row."""
    wide_1, wide_2, wide_4 = tiles[8, 1], tiles[4, 2], tiles[4, 4]
    thin_1, thin_2, thin_4 = tiles[1, 1], tiles[1, 2], tiles[1, 4]

    @inner
    def by_one(weight, length, n_outs, x, out):
        stay_whole()
        stride = length * size
        o = 0
        while o + 8 <= n_outs:
            wide_1(weight + o * stride, stride, x, 0, length, out + 4 * o, 0)
            o += 8
        while o < n_outs:
            thin_1(weight + o * stride, stride, x, 0, length, out + 4 * o, 0)
            o += 1

    @inner
    def by_two(weight, length, n_outs, x, x_stride, out, out_stride):
        stay_whole()
        stride = length * size
        o = 0
        while o + 4 <= n_outs:
            wide_2(weight + o * stride, stride, x, x_stride, length, out + 4 * o, out_stride)
            o += 4
        while o < n_outs:
            thin_2(weight + o * stride, stride, x, x_stride, length, out + 4 * o, out_stride)
            o += 1

    @inner
    def by_four(weight, length, n_outs, x, x_stride, out, out_stride):
        stay_whole()
        stride = length * size
        o = 0
        while o + 4 <= n_outs:
            wide_4(weight + o * stride, stride, x, x_stride, length, out + 4 * o, out_stride)
            o += 4
        while o < n_outs:
            thin_4(weight + o * stride, stride, x, x_stride, length, out + 4 * o, out_stride)
            o += 1

    @inner
    def product(weight, length, first, n_outs, x, x_stride, n_rows, out, out_stride):
        weight += first * length * size
        r = 0
        while r + 4 <= n_rows:
            by_four(weight, length, n_outs, x + r * x_stride, x_stride, out + r * out_stride, out_stride)
            r += 4
        if r + 2 <= n_rows:
            by_two(weight, length, n_outs, x + r * x_stride, x_stride, out + r * out_stride, out_stride)
            r += 2
        if r < n_rows:
            by_one(weight, length, n_outs, x + r * x_stride, out + r * out_stride)

    return product


def _tiles(stored):
    return {(outs, rows): tile for (kind, outs, rows), tile in PRODUCTS.items() if kind == stored}


_float32, _bfloat16, _int8 = (_product_of(BYTES[stored], _tiles(stored)) for stored in PRECISIONS)
_bfloat16_dot = _product_of(BYTES["bfloat16"], BFLOAT16_PRODUCTS if HAS_BFLOAT16_DOT else _tiles("bfloat16"))


@inner
def product(precision, weight, scales, length, first, n_outs, x, x_stride, n_rows, out, out_stride):
    """out[r, o] = scales[first + o] * sum over i of weight[first + o, i] x[r, i], without scales for floats.

    Args:
        precision: a number of PRECISIONS, or BFLOAT16_DOT, where rows of x are bfloat16.
        weight: address of (outputs, length).
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

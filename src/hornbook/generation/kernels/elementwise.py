"""What is done to one row of float32 at a time: normalisation, activation, rotation."""

import math

import numpy as np

from hornbook.generation.kernels.layout import ACTIVATIONS, NORMS
from hornbook.generation.kernels.machine import (
    add,
    divide,
    exponential,
    fma,
    inner,
    keep_first,
    larger,
    load,
    load_first,
    multiply,
    read_f32,
    splat,
    stay_whole,
    store_first,
    subtract,
    total,
    where_small,
    write_f32,
)

_RMS = NORMS["rms_norm"]
_SWIGLU, _GELU, _GELU_TANH, _RELU, _RELU2 = ACTIVATIONS.values()
_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@inner
def _sum(x, width):
    """The sum of `width` float32: lane by lane, then over the lanes."""
    whole = width - width % 16
    lanes = splat(_ZERO)
    for i in range(0, whole, 16):
        lanes = add(lanes, load(x + 4 * i))
    if whole < width:
        lanes = add(lanes, load_first(x + 4 * whole, width - whole))
    return total(lanes)


@inner
def _sum_of_squares(x, width, mean):
    """The sum of (x - mean)^2."""
    whole = width - width % 16
    lanes, middle = splat(_ZERO), splat(mean)
    for i in range(0, whole, 16):
        part = subtract(load(x + 4 * i), middle)
        lanes = fma(part, part, lanes)
    if whole < width:
        part = subtract(load_first(x + 4 * whole, width - whole), middle)
        part = keep_first(part, width - whole, splat(_ZERO))
        lanes = fma(part, part, lanes)
    return total(lanes)


@inner
def normalise(kind, x, width, gain, bias, eps, out):
    """RMSNorm, or LayerNorm with a bias where there is one, from x to out, which may be x."""
    stay_whole()
    mean = _ZERO if kind == _RMS else _sum(x, width) / np.float32(width)
    spread = _sum_of_squares(x, width, mean) / np.float32(width)
    factor, middle = splat(_ONE / np.sqrt(spread + eps)), splat(mean)
    for i in range(0, width, 16):
        count = min(16, width - i)
        y = multiply(subtract(load_first(x + 4 * i, count), middle), factor)
        y = multiply(y, load_first(gain + 4 * i, count))
        if bias != 0:
            y = add(y, load_first(bias + 4 * i, count))
        store_first(out + 4 * i, y, count)


@inner
def add_into(target, x, bias, width):
    """target += x + bias, without a bias where it is 0."""
    for i in range(0, width, 16):
        count = min(16, width - i)
        y = load_first(x + 4 * i, count)
        if bias != 0:
            y = add(y, load_first(bias + 4 * i, count))
        store_first(target + 4 * i, add(load_first(target + 4 * i, count), y), count)


@inner
def _sigmoid(x):
    return divide(splat(_ONE), add(splat(_ONE), exponential(subtract(splat(_ZERO), x))))


@inner
def _tanh(x):
    """2 sigmoid(2 x) - 1; near 0, where that cancels, an odd polynomial (Cephes)."""
    far = fma(splat(np.float32(2)), _sigmoid(add(x, x)), splat(np.float32(-1)))
    z = multiply(x, x)
    p = splat(np.float32(-5.70498872745e-3))
    p = fma(p, z, splat(np.float32(2.06390887954e-2)))
    p = fma(p, z, splat(np.float32(-5.37397155531e-2)))
    p = fma(p, z, splat(np.float32(1.33314422036e-1)))
    p = fma(p, z, splat(np.float32(-3.33332819422e-1)))
    return where_small(x, splat(np.float32(0.625)), fma(multiply(p, z), x, x), far)


@inner
def activate(kind, up, up_bias, gate, gate_bias, width, out):
    """act(up), or silu(gate) * up for swiglu; biases are added before, where they are not 0."""
    stay_whole()
    for i in range(0, width, 16):
        count = min(16, width - i)
        y = load_first(up + 4 * i, count)
        if up_bias != 0:
            y = add(y, load_first(up_bias + 4 * i, count))
        if kind == _SWIGLU:
            g = load_first(gate + 4 * i, count)
            if gate_bias != 0:
                g = add(g, load_first(gate_bias + 4 * i, count))
            y = multiply(multiply(g, _sigmoid(g)), y)
        elif kind == _GELU_TANH:  # x (1 + tanh(z)) / 2 = x sigmoid(2 z)
            cube = fma(multiply(multiply(y, y), y), splat(np.float32(0.044715)), y)
            y = multiply(y, _sigmoid(multiply(cube, splat(np.float32(2 * math.sqrt(2 / math.pi))))))
        elif kind in (_RELU, _RELU2):
            y = larger(splat(_ZERO), y)  # in this order, what is not a number stays so, and damaged weights show
            if kind == _RELU2:
                y = multiply(y, y)
        store_first(out + 4 * i, y, count)
    if kind == _GELU:
        for i in range(width):
            x = read_f32(out + 4 * i)
            write_f32(out + 4 * i, _HALF * x * (_ONE + np.float32(math.erf(x * np.float32(math.sqrt(0.5))))))


@inner
def soft_cap(x, width, cap):
    """x = cap tanh(x / cap)."""
    for i in range(0, width, 16):
        count = min(16, width - i)
        y = multiply(_tanh(divide(load_first(x + 4 * i, count), splat(cap))), splat(cap))
        store_first(x + 4 * i, y, count)


@inner
def rotate(x, cosines, sines, head_dim):
    """Turn a head by its position: dimension i pairs with i + head_dim / 2."""
    half = head_dim // 2
    for i in range(half):
        left, right = read_f32(x + 4 * i), read_f32(x + 4 * (i + half))
        cos, sin = read_f32(cosines + 4 * i), read_f32(sines + 4 * i)
        write_f32(x + 4 * i, left * cos - right * sin)
        write_f32(x + 4 * (i + half), right * cos + left * sin)

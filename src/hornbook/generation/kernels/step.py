"""One forward of up to MAX_ROWS tokens, each a row with its slot and position, by all threads together.

    embed -> (heads -> attend -> project -> widen -> narrow) x layers -> head

Each name is a region of `sharing`: its chunks can be done in any order and by any thread. Normalisations are done by
every thread for itself, which is quicker than waiting for another one. All rows' keys and values of a layer are
written before any row attends, so tokens of one slot may follow each other in one step.
"""

import numpy as np
from numba import njit

from hornbook.generation.kernels.attention import attend, write_key, write_value
from hornbook.generation.kernels.elementwise import activate, add_into, normalise, rotate, soft_cap
from hornbook.generation.kernels.layout import (
    BFLOAT16_DOT,
    LAYER_FIELDS,
    MAX_CHUNK_OUTS,
    MAX_ROWS,
    NORMS,
    PRECISIONS,
    REGIONS_PER_LAYER,
    Field,
    LayerField,
    Number,
)
from hornbook.generation.kernels.machine import (
    HAS_BFLOAT16_DOT,
    add,
    inner,
    load,
    load_first,
    multiply,
    read_f32,
    read_i64,
    splat,
    stay_whole,
    store_bfloat16,
    store_first,
)
from hornbook.generation.kernels.products import product
from hornbook.generation.kernels.sharing import await_step, claim, close, finish, is_open, publish, wait

_FLOAT32 = PRECISIONS["float32"]
_RMS = NORMS["rms_norm"]
_ZERO = np.float32(0)

MULTIPLIES_BFLOAT16 = HAS_BFLOAT16_DOT


@inner
def _of(plan, field):
    """A field of the plan, or of a layer's plan."""
    return read_i64(plan + 8 * field)


@inner
def _number(plan, number):
    return read_f32(_of(plan, Field.NUMBERS) + 4 * number)


@inner
def _scratch(plan, thread):
    """A thread's own memory: normalised rows, two buffers for products, scores."""
    return _of(plan, Field.SCRATCH) + thread * _of(plan, Field.SCRATCH_BYTES)


@inner
def _normalised(plan, rows, n_rows, gain, bias, out):
    """The residual stream of all rows, or of those at an address of row numbers, normalised into `out`."""
    width = _of(plan, Field.D_MODEL)
    hidden, kind, eps = _of(plan, Field.HIDDEN), _of(plan, Field.NORM), _number(plan, Number.NORM_EPS)
    for r in range(n_rows):
        row = r if rows == 0 else read_i64(rows + 8 * r)
        normalise(kind, hidden + row * width * 4, width, gain, bias, eps, out + r * width * 4)
    _as_multiplied(plan, out, n_rows * width, out)


@inner
def _as_multiplied(plan, x, count, out):
    """Where float32 numbers are in the form that products take: rounded into `out`, which may be x, or x itself."""
    if _of(plan, Field.PRECISION) != BFLOAT16_DOT:
        return x
    for i in range(0, count, 16):
        store_bfloat16(out + 2 * i, load(x + 4 * i))
    return out


@inner
def _multiply(plan, matrix, length, first, n_outs, x, n_rows, out, out_stride):
    """Rows of `length` float32 by some outputs of the matrix whose weight, scales and bias stand at `matrix`."""
    precision = _of(plan, Field.PRECISION)
    weight, scales, stride = read_i64(matrix), read_i64(matrix + 8), length * (2 if precision == BFLOAT16_DOT else 4)
    product(precision, weight, scales, length, first, n_outs, x, stride, n_rows, out, out_stride)


@inner
def _add_bias(matrix, first, n_outs, out):
    bias = read_i64(matrix + 16)
    if bias != 0:
        for i in range(0, n_outs, 16):
            count = min(16, n_outs - i)
            added = add(load_first(out + 4 * i, count), load_first(bias + 4 * (first + i), count))
            store_first(out + 4 * i, added, count)


@inner
def _embed(plan):
    """The residual stream's first form. Done by one thread before the others are let in."""
    width, numbers = _of(plan, Field.D_MODEL), _of(plan, Field.NUMBERS)
    table, places = _of(plan, Field.EMBEDDING), _of(plan, Field.POSITIONS_TABLE)
    scale = splat(read_f32(numbers + 4 * Number.EMBEDDING_SCALE))
    for r in range(_of(plan, Field.ROWS)):
        source = table + read_i64(_of(plan, Field.TOKENS) + 8 * r) * width * 4
        place = places + read_i64(_of(plan, Field.POSITIONS) + 8 * r) * width * 4
        target = _of(plan, Field.HIDDEN) + r * width * 4
        for i in range(0, width, 16):
            count = min(16, width - i)
            x = multiply(load_first(source + 4 * i, count), scale)
            if places != 0:
                x = add(x, load_first(place + 4 * i, count))
            store_first(target + 4 * i, x, count)


@inner
def _one_head(plan, layer, head, x, n_rows, out):
    """One head's queries, keys or values of all rows: projected, normalised, turned, and put where they belong."""
    stay_whole()
    head_dim, width, heads = _of(plan, Field.HEAD_DIM), _of(plan, Field.HEAD_WIDTH), _of(plan, Field.HEADS)
    kv_heads, stored = _of(plan, Field.KV_HEADS), _of(plan, Field.KEYS_PRECISION)
    size = 4 if stored == _FLOAT32 else 2
    of_slot = _of(plan, Field.MAX_LENGTH) * width * size
    matrix, number, gain = layer + 8 * LayerField.Q, head, _of(layer, LayerField.Q_NORM)
    if head >= heads + kv_heads:
        matrix, number, gain = layer + 8 * LayerField.V, head - heads - kv_heads, 0
    elif head >= heads:
        matrix, number, gain = layer + 8 * LayerField.K, head - heads, _of(layer, LayerField.K_NORM)
    stride = width * 4
    _multiply(plan, matrix, _of(plan, Field.D_MODEL), number * head_dim, head_dim, x, n_rows, out, stride)
    for r in range(n_rows):
        row = out + r * stride
        _add_bias(matrix, number * head_dim, head_dim, row)
        position = read_i64(_of(plan, Field.POSITIONS) + 8 * r)
        in_cache = (read_i64(_of(plan, Field.SLOTS) + 8 * r) * kv_heads + number) * of_slot
        if head >= heads + kv_heads:
            write_value(stored, row, head_dim, width, _of(layer, LayerField.VALUES) + in_cache, position)
            continue
        if gain != 0:
            normalise(_RMS, row, head_dim, gain, 0, _number(plan, Number.NORM_EPS), row)
        if _of(plan, Field.COSINES) != 0:
            turn = position * (head_dim // 2) * 4
            rotate(row, _of(plan, Field.COSINES) + turn, _of(plan, Field.SINES) + turn, head_dim)
        if head >= heads:
            write_key(stored, row, head_dim, width, _of(layer, LayerField.KEYS) + in_cache, position)
        else:
            target = _of(plan, Field.QUERIES) + (r * heads + head) * stride
            scale = splat(_number(plan, Number.SCORE_SCALE))
            for i in range(0, head_dim, 16):
                count = min(16, head_dim - i)
                store_first(target + 4 * i, multiply(load_first(row + 4 * i, count), scale), count)


@inner
def _attend_one(plan, layer, number, scores):
    """One head of one row: what it sees of its slot, mixed."""
    heads, head_dim, width = _of(plan, Field.HEADS), _of(plan, Field.HEAD_DIM), _of(plan, Field.HEAD_WIDTH)
    kv_heads, stored = _of(plan, Field.KV_HEADS), _of(plan, Field.KEYS_PRECISION)
    row, head = number // heads, number % heads
    slot = read_i64(_of(plan, Field.SLOTS) + 8 * row)
    size = 4 if stored == _FLOAT32 else 2
    in_cache = (slot * kv_heads + head // (heads // kv_heads)) * _of(plan, Field.MAX_LENGTH) * width * size
    attend(
        stored,
        _of(plan, Field.QUERIES) + number * width * 4,
        head_dim,
        width,
        _of(layer, LayerField.KEYS) + in_cache,
        _of(layer, LayerField.VALUES) + in_cache,
        read_i64(_of(plan, Field.POSITIONS) + 8 * row) + 1,
        scores,
        _of(plan, Field.MIXED) + number * head_dim * 4,
    )


@inner
def _into_hidden(plan, matrix, length, first, chunk_outs, x, n_rows, out):
    """Some outputs of a projection back into the residual stream."""
    width = _of(plan, Field.D_MODEL)
    n_outs = min(chunk_outs, width - first)
    _multiply(plan, matrix, length, first, n_outs, x, n_rows, out, chunk_outs * 4)
    bias = read_i64(matrix + 16)
    for r in range(n_rows):
        target = _of(plan, Field.HIDDEN) + (r * width + first) * 4
        add_into(target, out + r * chunk_outs * 4, bias + 4 * first if bias != 0 else 0, n_outs)


@inner
def _widen(plan, layer, first, chunk_outs, x, n_rows, out, other):
    """Some numbers of the feed-forward's inner vector."""
    length, n_inner = _of(plan, Field.D_MODEL), _of(plan, Field.D_FF)
    n_outs = min(chunk_outs, n_inner - first)
    up, gate = layer + 8 * LayerField.UP, layer + 8 * LayerField.GATE
    _multiply(plan, up, length, first, n_outs, x, n_rows, out, chunk_outs * 4)
    if read_i64(gate) != 0:
        _multiply(plan, gate, length, first, n_outs, x, n_rows, other, chunk_outs * 4)
    up_bias, gate_bias = read_i64(up + 16), read_i64(gate + 16)
    for r in range(n_rows):
        at = r * chunk_outs * 4
        activate(
            _of(plan, Field.ACTIVATION),
            out + at,
            up_bias + 4 * first if up_bias != 0 else 0,
            other + at,
            gate_bias + 4 * first if gate_bias != 0 else 0,
            n_outs,
            _of(plan, Field.INNER) + (r * n_inner + first) * 4,
        )


@inner
def _logits(plan, first, chunk_outs, x, n_rows):
    """Some logits of the rows that have any."""
    vocabulary, length = _of(plan, Field.VOCABULARY), _of(plan, Field.D_MODEL)
    n_outs = min(chunk_outs, vocabulary - first)
    out, cap = _of(plan, Field.LOGITS) + 4 * first, _number(plan, Number.SOFT_CAP)
    _multiply(plan, plan + 8 * Field.HEAD, length, first, n_outs, x, n_rows, out, vocabulary * 4)
    if cap != _ZERO:
        for r in range(n_rows):
            soft_cap(out + r * vocabulary * 4, n_outs, cap)


@inner
def _chunks(n_outs, of):
    return (n_outs + of - 1) // of


@inner
def _layer(plan, layer, region, epoch, x, out, other, scores):
    """This thread's part of one layer."""
    stay_whole()
    counters, current, n_rows = _of(plan, Field.COUNTERS), _of(plan, Field.EPOCH), _of(plan, Field.ROWS)
    heads, kv_heads, head_dim = _of(plan, Field.HEADS), _of(plan, Field.KV_HEADS), _of(plan, Field.HEAD_DIM)
    d_model, d_ff = _of(plan, Field.D_MODEL), _of(plan, Field.D_FF)

    n_chunks = heads + 2 * kv_heads
    if is_open(counters, region, epoch, n_chunks):
        gain, bias = _of(layer, LayerField.ATTENTION_NORM), _of(layer, LayerField.ATTENTION_NORM_BIAS)
        _normalised(plan, 0, n_rows, gain, bias, x)
        chunk = claim(counters, region, epoch, n_chunks)
        while chunk >= 0:
            _one_head(plan, layer, chunk, x, n_rows, out)
            finish(counters, region)
            chunk = claim(counters, region, epoch, n_chunks)
    wait(counters, region, current, epoch, n_chunks)
    region += 1

    n_chunks = n_rows * heads
    chunk = claim(counters, region, epoch, n_chunks)
    while chunk >= 0:
        _attend_one(plan, layer, chunk, scores)
        finish(counters, region)
        chunk = claim(counters, region, epoch, n_chunks)
    wait(counters, region, current, epoch, n_chunks)
    region += 1

    chunk_outs = _of(plan, Field.O_OUTS)
    n_chunks = _chunks(d_model, chunk_outs)
    length, mixed = heads * head_dim, _of(plan, Field.MIXED)
    if is_open(counters, region, epoch, n_chunks):
        mixed = _as_multiplied(plan, mixed, n_rows * length, x)
    chunk = claim(counters, region, epoch, n_chunks)
    while chunk >= 0:
        matrix = layer + 8 * LayerField.O
        _into_hidden(plan, matrix, length, chunk * chunk_outs, chunk_outs, mixed, n_rows, out)
        finish(counters, region)
        chunk = claim(counters, region, epoch, n_chunks)
    wait(counters, region, current, epoch, n_chunks)
    region += 1

    chunk_outs = _of(plan, Field.INNER_OUTS)
    n_chunks = _chunks(d_ff, chunk_outs)
    if is_open(counters, region, epoch, n_chunks):
        gain, bias = _of(layer, LayerField.FEED_FORWARD_NORM), _of(layer, LayerField.FEED_FORWARD_NORM_BIAS)
        _normalised(plan, 0, n_rows, gain, bias, x)
        chunk = claim(counters, region, epoch, n_chunks)
        while chunk >= 0:
            _widen(plan, layer, chunk * chunk_outs, chunk_outs, x, n_rows, out, other)
            finish(counters, region)
            chunk = claim(counters, region, epoch, n_chunks)
    wait(counters, region, current, epoch, n_chunks)
    region += 1

    chunk_outs = _of(plan, Field.DOWN_OUTS)
    n_chunks, widened = _chunks(d_model, chunk_outs), _of(plan, Field.INNER)
    if is_open(counters, region, epoch, n_chunks):
        widened = _as_multiplied(plan, widened, n_rows * d_ff, x)
    chunk = claim(counters, region, epoch, n_chunks)
    while chunk >= 0:
        matrix = layer + 8 * LayerField.DOWN
        _into_hidden(plan, matrix, d_ff, chunk * chunk_outs, chunk_outs, widened, n_rows, out)
        finish(counters, region)
        chunk = claim(counters, region, epoch, n_chunks)
    wait(counters, region, current, epoch, n_chunks)


@inner
def _forward(plan, thread, epoch):
    """This thread's part of the step `epoch`."""
    n_layers, width = _of(plan, Field.LAYERS), _of(plan, Field.WIDEST)
    x = _scratch(plan, thread)
    out = x + MAX_ROWS * width * 4
    buffer_bytes = MAX_ROWS * max(MAX_CHUNK_OUTS, _of(plan, Field.HEAD_WIDTH)) * 4
    other = out + buffer_bytes
    scores = other + buffer_bytes
    for number in range(n_layers):
        layer = _of(plan, Field.LAYER_PLANS) + number * LAYER_FIELDS * 8
        _layer(plan, layer, number * REGIONS_PER_LAYER, epoch, x, out, other, scores)

    n_wanted, region = _of(plan, Field.WANTED), n_layers * REGIONS_PER_LAYER
    counters, chunk_outs = _of(plan, Field.COUNTERS), _of(plan, Field.HEAD_OUTS)
    n_chunks = _chunks(_of(plan, Field.VOCABULARY), chunk_outs)
    if n_wanted == 0:
        return
    if is_open(counters, region, epoch, n_chunks):
        gain, bias = _of(plan, Field.FINAL_NORM), _of(plan, Field.FINAL_NORM_BIAS)
        _normalised(plan, _of(plan, Field.WANTED_ROWS), n_wanted, gain, bias, x)
        chunk = claim(counters, region, epoch, n_chunks)
        while chunk >= 0:
            _logits(plan, chunk * chunk_outs, chunk_outs, x, n_wanted)
            finish(counters, region)
            chunk = claim(counters, region, epoch, n_chunks)
    wait(counters, region, _of(plan, Field.EPOCH), epoch, n_chunks)


@njit(nogil=True, cache=True)
def take_part(plan, thread, last, looks):
    """Thread 0 does the step that the plan describes; others help with every step after `last`.

    Args:
        plan: address of the fields of `layout.Field`.
        thread: whose scratch memory to use.
        last: the number of a step that is over.
        looks: how often to look for a next step before giving up; thread 0 does not look.

    Returns:
        The number of the last step.
    """
    current = _of(plan, Field.EPOCH)
    n_regions = _of(plan, Field.LAYERS) * REGIONS_PER_LAYER + 1
    while True:
        if thread == 0:
            epoch = read_i64(current) + 1
            _embed(plan)
            publish(_of(plan, Field.COUNTERS), n_regions, current, epoch)
        else:
            epoch = await_step(current, last, looks)
            if epoch == last or epoch < 0:
                return epoch
        _forward(plan, thread, epoch)
        if thread == 0:
            close(_of(plan, Field.COUNTERS), n_regions, epoch)
            return epoch
        last = epoch


def exercise():
    """Compile the step, or take it from the cache, without running it: a helper that finds no step goes at once."""
    epoch = np.zeros(1, np.int64)
    plan = np.zeros(len(Field), np.int64)
    plan[Field.EPOCH] = epoch.ctypes.data
    take_part(plan.ctypes.data, 1, 0, 0)

"""What numba lacks for arithmetic: sixteen float32 at once, and counters that threads share.

A `Vector` is sixteen float32 lanes in LLVM's own vector type, which becomes one AVX-512 register, two of AVX2 or four
of NEON. Every sum over lanes is written as a tree of halves, so that its order is fixed whatever the machine and
whatever surrounds it: that is what makes a row's logits the same bits in every batch. Nothing here may be reordered, so
nothing is compiled with fastmath.

Addresses are int64: numba counts references atomically for arrays that are passed to a function. No bound is checked.
"""

import llvmlite.binding
from llvmlite import ir
from numba import njit, types
from numba.core.datamodel import models
from numba.extending import intrinsic, register_model

from hornbook.generation.kernels.layout import BLOCKS, LANES, TILE_OUTS

inner = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compiles a function that only kernels call; it is cached inside the kernels that call it."""

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_F32 = ir.FloatType()
_V = ir.VectorType(_F32, LANES)
_VI = ir.VectorType(_I32, LANES)
_MASK = ir.VectorType(_I1, LANES)
_STORED = {"float32": _F32, "bfloat16": _I16, "int8": _I8}
_KIND = {stored: ir.VectorType(element, LANES) for stored, element in _STORED.items()} | {"bfloat16_dot": _VI}
"""A block of a weight, as it is loaded."""
_X_KIND = {stored: _VI if stored == "bfloat16_dot" else _V for stored in _KIND}
"""The numbers of x that go with a block: 64 bytes."""


class VectorType(types.Type):  # type: ignore[misc]
    """numba's name for sixteen float32 lanes."""

    def __init__(self):
        super().__init__(name="Vector16")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _V)


def _constant(kind, value):
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * kind.count)


def _lanes():
    return ir.Constant(_VI, [ir.Constant(_I32, lane) for lane in range(LANES)])


def _splat(builder, scalar, count=LANES):
    kind = ir.VectorType(scalar.type, count)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(
        one, ir.Constant(kind, ir.Undefined), ir.Constant(ir.VectorType(_I32, count), [ir.Constant(_I32, 0)] * count)
    )


def _function(builder, name, result, parameters):
    found = builder.module.globals.get(name)
    return found or ir.Function(builder.module, ir.FunctionType(result, parameters), name)


def _pointer(builder, address, kind):
    return builder.inttoptr(address, kind.as_pointer())


def _read(builder, address, kind, align=1):
    value = builder.load(_pointer(builder, address, kind))
    value.align = align
    return value


def _fma(builder, a, b, c):
    return builder.call(_function(builder, "llvm.fmuladd.v16f32", _V, [_V, _V, _V]), [a, b, c])


def _prefetch(builder, address):
    """Ask for a cache line that will be read soon; any address is allowed."""
    parameters = [_I8.as_pointer(), _I32, _I32, _I32]
    fetch = _function(builder, "llvm.prefetch.p0", ir.VoidType(), parameters)
    read, keep, data = (ir.Constant(_I32, number) for number in (0, 3, 1))
    builder.call(fetch, [_pointer(builder, address, _I8), read, keep, data])


def _widen(builder, raw, stored):
    """Lanes as they are stored to float32: exact for all kinds."""
    if stored == "float32":
        return raw
    if stored == "bfloat16":
        return builder.bitcast(builder.shl(builder.zext(raw, _VI), _constant(_VI, 16)), _V)
    return builder.sitofp(builder.sext(raw, _VI), _V)


def _sum(builder, value):
    """The sum of all lanes: halves upon halves, 16 to 8 to 4 to 2 to 1."""
    width = LANES
    while width > 1:
        width //= 2
        picks = [ir.Constant(ir.VectorType(_I32, width), list(range(at, at + width))) for at in (0, width)]
        low, high = (builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), pick) for pick in picks)
        value = builder.fadd(low, high)
    return builder.extract_element(value, ir.Constant(_I32, 0))


def _sums(builder, values):
    """The sums of 8 or 16 vectors as the lanes of one, each in the order of `_sum`: vectors are halved in pairs."""
    width = LANES
    while width > 1:
        width //= 2
        if len(values) == 1:
            pairs, blocks = [(values[0], values[0])], values[0].type.count // (2 * width)
        else:
            pairs, blocks = list(zip(values[::2], values[1::2], strict=True)), LANES // width
        lows = [2 * width * block + lane for block in range(blocks) for lane in range(width)]
        kind = ir.VectorType(_I32, len(lows))
        low, high = ir.Constant(kind, lows), ir.Constant(kind, [lane + width for lane in lows])
        values = [builder.fadd(builder.shuffle_vector(a, b, low), builder.shuffle_vector(a, b, high)) for a, b in pairs]
    return values[0]


def _store_tile(builder, sums, outs, rows, out, out_stride):
    """Write the sums of a tile, given output after output with all rows of each."""
    places = [builder.add(out, builder.mul(out_stride, ir.Constant(_I64, r))) for r in range(rows)]
    if outs == 1:
        for place, value in zip(places, sums, strict=True):
            builder.store(_sum(builder, value), _pointer(builder, place, _F32)).align = 4
        return
    by_row = _sums(builder, [sums[o * rows + r] for r in range(rows) for o in range(outs)])
    kind = ir.VectorType(_F32, outs)
    for r, place in enumerate(places):
        pick = ir.Constant(ir.VectorType(_I32, outs), list(range(r * outs, (r + 1) * outs)))
        row = builder.shuffle_vector(by_row, ir.Constant(by_row.type, ir.Undefined), pick)
        builder.store(row, _pointer(builder, place, kind)).align = 4


def _first_lanes(builder, count):
    """A mask of the first `count` lanes, an int64."""
    return builder.icmp_unsigned("<", _lanes(), _splat(builder, builder.trunc(count, _I32)))


def _read_first(builder, address, mask):
    """Lanes under a mask; the others are zero and their memory is not touched."""
    load = _function(builder, "llvm.masked.load.v16f32.p0", _V, [_V.as_pointer(), _I32, _MASK, _V])
    return builder.call(load, [_pointer(builder, address, _V), ir.Constant(_I32, 1), mask, ir.Constant(_V, None)])


@intrinsic
def stay_whole(typing_context):
    """Keep the function that calls this from being copied into its callers: it is compiled once instead of often."""

    def generate(context, builder, signature, arguments):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


def _loader(stored):
    @intrinsic
    def load(typing_context, address):
        def generate(context, builder, signature, arguments):
            raw = _read(builder, arguments[0], ir.VectorType(_STORED[stored], LANES))
            return _widen(builder, raw, stored)

        return vector(types.int64), generate

    return load


load = _loader("float32")
"""Sixteen float32 at an address."""
load_bfloat16 = _loader("bfloat16")
"""Sixteen bfloat16 at an address, as float32."""


@intrinsic
def load_first(typing_context, address, count):
    """The first `count` of sixteen float32 at an address; the others are zero and not read."""

    def generate(context, builder, signature, arguments):
        return _read_first(builder, arguments[0], _first_lanes(builder, arguments[1]))

    return vector(types.int64, types.int64), generate


@intrinsic
def store(typing_context, address, value):
    """Write sixteen float32."""

    def generate(context, builder, signature, arguments):
        written = builder.store(arguments[1], _pointer(builder, arguments[0], _V))
        written.align = 1
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def store_first(typing_context, address, value, count):
    """Write the first `count` of sixteen float32."""

    def generate(context, builder, signature, arguments):
        write = _function(builder, "llvm.masked.store.v16f32.p0", ir.VoidType(), [_V, _V.as_pointer(), _I32, _MASK])
        pointer = _pointer(builder, arguments[0], _V)
        mask = _first_lanes(builder, arguments[2])
        builder.call(write, [arguments[1], pointer, ir.Constant(_I32, 1), mask])
        return context.get_dummy_value()

    return types.void(types.int64, vector, types.int64), generate


@intrinsic
def splat(typing_context, number):
    """Sixteen times the same float32."""

    def generate(context, builder, signature, arguments):
        return _splat(builder, arguments[0])

    return vector(types.float32), generate


@intrinsic
def fma(typing_context, a, b, c):
    """a * b + c."""

    def generate(context, builder, signature, arguments):
        return _fma(builder, *arguments)

    return vector(vector, vector, vector), generate


@intrinsic
def add(typing_context, a, b):
    """a + b."""

    def generate(context, builder, signature, arguments):
        return builder.fadd(*arguments)

    return vector(vector, vector), generate


@intrinsic
def subtract(typing_context, a, b):
    """a - b."""

    def generate(context, builder, signature, arguments):
        return builder.fsub(*arguments)

    return vector(vector, vector), generate


@intrinsic
def multiply(typing_context, a, b):
    """a * b."""

    def generate(context, builder, signature, arguments):
        return builder.fmul(*arguments)

    return vector(vector, vector), generate


@intrinsic
def divide(typing_context, a, b):
    """a / b."""

    def generate(context, builder, signature, arguments):
        return builder.fdiv(*arguments)

    return vector(vector, vector), generate


def _larger(builder, a, b):
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


@intrinsic
def larger(typing_context, a, b):
    """The larger one, lane by lane; b where one is not a number."""

    def generate(context, builder, signature, arguments):
        return _larger(builder, *arguments)

    return vector(vector, vector), generate


@intrinsic
def keep_first(typing_context, value, count, other):
    """The first `count` lanes of `value`, then those of `other`."""

    def generate(context, builder, signature, arguments):
        return builder.select(_first_lanes(builder, arguments[1]), arguments[0], arguments[2])

    return vector(vector, types.int64, vector), generate


@intrinsic
def where_small(typing_context, x, limit, small, other):
    """The lanes of `small` where |x| < limit, elsewhere those of `other`."""

    def generate(context, builder, signature, arguments):
        x, limit, small, other = arguments
        size = builder.call(_function(builder, "llvm.fabs.v16f32", _V, [_V]), [x])
        return builder.select(builder.fcmp_ordered("<", size, limit), small, other)

    return vector(vector, vector, vector, vector), generate


@intrinsic
def total(typing_context, value):
    """The sum of the lanes, in a fixed order."""

    def generate(context, builder, signature, arguments):
        return _sum(builder, arguments[0])

    return types.float32(vector), generate


@intrinsic
def largest(typing_context, value):
    """The largest lane."""

    def generate(context, builder, signature, arguments):
        name = "llvm.vector.reduce.fmax.v16f32"
        return builder.call(_function(builder, name, _F32, [_V]), [arguments[0]])

    return types.float32(vector), generate


def _exponential(builder, x):
    """e^x = 2^n e^r with |r| <= ln 2 / 2: a polynomial of degree 6, error below 2 units in the last place (Cephes).

    Below -87.3 the smallest normal numbers come out instead of zero or subnormal ones, above 88.3 about 2e38.
    """
    number = lambda value: _constant(_V, value)  # noqa: E731
    x = builder.select(builder.fcmp_ordered(">", x, number(88.3)), number(88.3), x)
    x = builder.select(builder.fcmp_ordered("<", x, number(-87.3)), number(-87.3), x)
    nearest = _function(builder, "llvm.rint.v16f32", _V, [_V])
    n = builder.call(nearest, [builder.fmul(x, number(1.44269504088896341))])
    r = _fma(builder, n, number(-0.693359375), x)
    r = _fma(builder, n, number(2.12194440e-4), r)
    p = number(1.9875691500e-4)
    for coefficient in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = _fma(builder, p, r, number(coefficient))
    p = builder.fadd(_fma(builder, p, builder.fmul(r, r), r), number(1.0))
    power = builder.shl(builder.add(builder.fptosi(n, _VI), _constant(_VI, 127)), _constant(_VI, 23))
    return builder.fmul(p, builder.bitcast(power, _V))


@intrinsic
def exponential(typing_context, x):
    """e^x."""

    def generate(context, builder, signature, arguments):
        return _exponential(builder, arguments[0])

    return vector(vector), generate


_IS_X86 = llvmlite.binding.get_process_triple().startswith(("x86_64", "i686", "amd64"))
_FEATURES = llvmlite.binding.get_host_cpu_features()
HAS_BFLOAT16_DOT = bool(_IS_X86 and _FEATURES.get("avx512bf16"))
"""Whether the processor multiplies pairs of bfloat16: twice the products of float32."""
llvmlite.binding.initialize_native_asmparser()


def _dot_bfloat16(builder, sums, a, b):
    """Each lane plus two products of bfloat16 numbers."""
    kind = ir.FunctionType(_V, [_V, _VI, _VI])
    return builder.asm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", [sums, a, b], False)


def _accumulate(builder, stored, sums, w, x):
    """Each lane plus a product, or two of bfloat16 numbers."""
    if stored == "bfloat16_dot":
        return _dot_bfloat16(builder, sums, x, w)
    return _fma(builder, _widen(builder, w, stored), x, sums)


def _either(builder, values, block, others, other_block):
    """The values of whichever block this one was reached from."""
    chosen = [builder.phi(value.type) for value in values]
    for phi, value, other in zip(chosen, values, others, strict=True):
        phi.add_incoming(value, block)
        phi.add_incoming(other, other_block)
    return chosen


AHEAD = 4096
"""Bytes of a weight between what is multiplied and what is asked for: some hundred nanoseconds of memory traffic."""


def _product(outs, rows, stored):
    """A tile of a matrix product: `outs` rows of a packed weight by `rows` rows of x, each sum in lanes of its own.

    Sum (o, r) adds w[o, i] x[r, i] to lane i % 16, i ascending, and then the lanes by `_sum`: the same order in every
    tile. A weight is loaded once for all rows of the tile. For a single row, where memory is all that counts, what
    comes AHEAD bytes later is asked for: the processor's own guesses reach a fifth less.
    """

    @intrinsic
    def product(typing_context, weight, x, x_stride, length, out, out_stride):
        def generate(context, builder, signature, arguments):
            weight, x, x_stride, length, out, out_stride = arguments
            x_rows = [builder.add(x, builder.mul(x_stride, ir.Constant(_I64, r))) for r in range(rows)]
            block, block_bytes = BLOCKS[stored]

            def grow(at, sums, read_x):
                here = builder.add(weight, builder.mul(at, ir.Constant(_I64, TILE_OUTS * block_bytes)))
                xs = [read_x(builder.add(row, builder.mul(at, ir.Constant(_I64, 64)))) for row in x_rows]
                grown = []
                for o in range(outs):
                    w = _read(builder, builder.add(here, ir.Constant(_I64, o * block_bytes)), _KIND[stored])
                    grown += [_accumulate(builder, stored, sums[o * rows + r], w, xs[r]) for r in range(rows)]
                for line in range(AHEAD, AHEAD + outs * block_bytes, 64) if rows == 1 else ():
                    _prefetch(builder, builder.add(here, ir.Constant(_I64, line)))
                return grown

            zero = ir.Constant(_V, None)
            whole, rest = (divide(length, ir.Constant(_I64, block)) for divide in (builder.udiv, builder.urem))
            entry = builder.block
            loop, after = map(builder.append_basic_block, ("tile.loop", "tile.after"))
            builder.cbranch(builder.icmp_signed(">", whole, ir.Constant(_I64, 0)), loop, after)

            builder.position_at_end(loop)
            at = builder.phi(_I64)
            sums = [builder.phi(_V) for _ in range(outs * rows)]
            grown = grow(at, sums, lambda address: _read(builder, address, _X_KIND[stored]))
            following = builder.add(at, ir.Constant(_I64, 1))
            at.add_incoming(ir.Constant(_I64, 0), entry)
            at.add_incoming(following, loop)
            for one, next_one in zip(sums, grown, strict=True):
                one.add_incoming(zero, entry)
                one.add_incoming(next_one, loop)
            builder.cbranch(builder.icmp_signed("<", following, whole), loop, after)

            builder.position_at_end(after)
            final = _either(builder, [zero] * len(sums), entry, grown, loop)
            if stored != "bfloat16_dot":  # whose rows are whole blocks
                tail, done = map(builder.append_basic_block, ("tile.tail", "tile.done"))
                builder.cbranch(builder.icmp_signed(">", rest, ir.Constant(_I64, 0)), tail, done)
                builder.position_at_end(tail)
                mask = _first_lanes(builder, rest)
                ended = grow(whole, final, lambda address: _read_first(builder, address, mask))
                builder.branch(done)
                builder.position_at_end(done)
                final = _either(builder, final, after, ended, tail)
            _store_tile(builder, final, outs, rows, out, out_stride)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), generate

    return product


TILES = ((8, 1), (4, 2), (4, 4), (1, 1), (1, 2), (1, 4))
"""(outputs, rows) of a product's tiles; sums are told apart by `_sums`, which takes 8 or 16."""
PRODUCTS = {
    (stored, *tile): _product(*tile, stored)
    for stored in BLOCKS
    if HAS_BFLOAT16_DOT or stored != "bfloat16_dot"
    for tile in TILES
}


@intrinsic
def store_bfloat16(typing_context, address, value):
    """Write sixteen float32 rounded to bfloat16, to even at a tie; for finite numbers."""

    def generate(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[1], _VI)
        odd = builder.and_(builder.lshr(bits, _constant(_VI, 16)), _constant(_VI, 1))
        rounded = builder.lshr(builder.add(builder.add(bits, _constant(_VI, 0x7FFF)), odd), _constant(_VI, 16))
        kind = ir.VectorType(_I16, LANES)
        builder.store(builder.trunc(rounded, kind), _pointer(builder, arguments[0], kind)).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, vector), generate


@intrinsic
def read_f32(typing_context, address):
    """The float32 at an address."""

    def generate(context, builder, signature, arguments):
        return _read(builder, arguments[0], _F32)

    return types.float32(types.int64), generate


@intrinsic
def write_f32(typing_context, address, value):
    """Write a float32."""

    def generate(context, builder, signature, arguments):
        builder.store(arguments[1], _pointer(builder, arguments[0], _F32)).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def write_bfloat16(typing_context, address, value):
    """Write a float32 rounded to bfloat16, to even at a tie; for finite numbers."""

    def generate(context, builder, signature, arguments):
        bits = builder.bitcast(arguments[1], _I32)
        odd = builder.and_(builder.lshr(bits, ir.Constant(_I32, 16)), ir.Constant(_I32, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(_I32, 0x7FFF)), odd)
        short = builder.trunc(builder.lshr(rounded, ir.Constant(_I32, 16)), _I16)
        builder.store(short, _pointer(builder, arguments[0], _I16)).align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), generate


@intrinsic
def read_i64(typing_context, address):
    """The int64 at an address."""

    def generate(context, builder, signature, arguments):
        return _read(builder, arguments[0], _I64)

    return types.int64(types.int64), generate


@intrinsic
def atomic_read(typing_context, address):
    """The int64 at an address; what its writer wrote before is seen afterwards."""

    def generate(context, builder, signature, arguments):
        return builder.load_atomic(_pointer(builder, arguments[0], _I64), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def atomic_write(typing_context, address, value):
    """Write an int64 after all that was written before."""

    def generate(context, builder, signature, arguments):
        builder.store_atomic(arguments[1], _pointer(builder, arguments[0], _I64), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def atomic_add(typing_context, address, value):
    """Add to an int64 that threads share; returns what it was."""

    def generate(context, builder, signature, arguments):
        return builder.atomic_rmw("add", _pointer(builder, arguments[0], _I64), arguments[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def atomic_replace(typing_context, address, expected, value):
    """Write `value` if an int64 that threads share still is `expected`; returns whether it was."""

    def generate(context, builder, signature, arguments):
        pointer = _pointer(builder, arguments[0], _I64)
        pair = builder.cmpxchg(pointer, arguments[1], arguments[2], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(types.int64, types.int64, types.int64), generate


_YIELDS = llvmlite.binding.address_of_symbol("sched_yield") is not None


@intrinsic
def pause(typing_context):
    """Tell the processor that this thread only waits."""

    def generate(context, builder, signature, arguments):
        if _IS_X86:
            builder.call(_function(builder, "llvm.x86.sse2.pause", ir.VoidType(), []), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def give_way(typing_context):
    """Let another thread have this processor, where the system has a call for it."""

    def generate(context, builder, signature, arguments):
        if _YIELDS:
            builder.call(_function(builder, "sched_yield", _I32, []), [])
        return context.get_dummy_value()

    return types.void(), generate

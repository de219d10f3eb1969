"""What numba lacks: memory by address, 64 bytes at once, and three instructions.

Addresses are uint64. Inside hot loops they replace arrays, because numba counts references atomically for every array
that is passed to a function (measured: a splitter at 58 MB/s instead of 368). Nothing here checks a bound: the entry
points of the kernels check sizes and padding, and tests put unreadable pages behind every buffer.

The vectors are plain LLVM ones, which become AVX-512, AVX2 or NEON instructions as the machine has them.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

inner = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Compiles a function that only kernels call. Without an entry from Python that takes a fifth less time; it is cached
inside the kernels that call it."""

inlined = njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)
"""The same for a short function that is called for each character: LLVM is made to copy it into its callers."""

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
_BYTES_64 = ir.VectorType(_I8, 64)
_WORDS_16 = ir.VectorType(_I32, 16)


def _load(builder, address, kind):
    """An unaligned load of any type."""
    value = builder.load(builder.inttoptr(address, kind.as_pointer()))
    value.align = 1
    return value


def _store(builder, address, value, kind):
    store = builder.store(value, builder.inttoptr(address, kind.as_pointer()))
    store.align = 1


def _splat(builder, byte):
    """A vector of 64 times the same byte."""
    one = builder.insert_element(ir.Constant(_BYTES_64, ir.Undefined), byte, ir.Constant(_I32, 0))
    zeros = ir.Constant(ir.VectorType(_I32, 64), None)
    return builder.shuffle_vector(one, ir.Constant(_BYTES_64, ir.Undefined), zeros)


@intrinsic
def range_mask(typing_context, address, or_mask, low, span):
    """Bit k of the result is set if low <= (memory[address + k] | or_mask) <= low + span, for the 64 bytes there."""

    def generate(context, builder, signature, arguments):
        address, or_mask, low, span = arguments
        block = builder.or_(_load(builder, address, _BYTES_64), _splat(builder, or_mask))
        distance = builder.sub(block, _splat(builder, low))
        return builder.bitcast(builder.icmp_unsigned("<=", distance, _splat(builder, span)), _I64)

    return types.uint64(types.uint64, types.uint8, types.uint8, types.uint8), generate


@intrinsic
def minimum_16(typing_context, address):
    """The smallest of the sixteen uint32 at an address."""

    def generate(context, builder, signature, arguments):
        name = "llvm.vector.reduce.umin.v16i32"
        reduce = builder.module.globals.get(name)
        if reduce is None:
            reduce = ir.Function(builder.module, ir.FunctionType(_I32, [_WORDS_16]), name)
        return builder.zext(builder.call(reduce, [_load(builder, arguments[0], _WORDS_16)]), _I64)

    return types.uint64(types.uint64), generate


@intrinsic
def load_u8(typing_context, address):
    """The byte at an address."""

    def generate(context, builder, signature, arguments):
        return builder.zext(_load(builder, arguments[0], _I8), _I64)

    return types.uint64(types.uint64), generate


@intrinsic
def load_u16(typing_context, address):
    """The uint16 at an address, in the machine's byte order like all that follow."""

    def generate(context, builder, signature, arguments):
        return builder.zext(_load(builder, arguments[0], _I16), _I64)

    return types.uint64(types.uint64), generate


@intrinsic
def load_u32(typing_context, address):
    """The uint32 at an address."""

    def generate(context, builder, signature, arguments):
        return builder.zext(_load(builder, arguments[0], _I32), _I64)

    return types.uint64(types.uint64), generate


@intrinsic
def load_u64(typing_context, address):
    """The uint64 at an address."""

    def generate(context, builder, signature, arguments):
        return _load(builder, arguments[0], _I64)

    return types.uint64(types.uint64), generate


@intrinsic
def store_u8(typing_context, address, value):
    """Write the low byte of a value."""

    def generate(context, builder, signature, arguments):
        _store(builder, arguments[0], builder.trunc(arguments[1], _I8), _I8)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


@intrinsic
def store_u16(typing_context, address, value):
    """Write the low 16 bits of a value."""

    def generate(context, builder, signature, arguments):
        _store(builder, arguments[0], builder.trunc(arguments[1], _I16), _I16)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


@intrinsic
def store_u32(typing_context, address, value):
    """Write the low 32 bits of a value."""

    def generate(context, builder, signature, arguments):
        _store(builder, arguments[0], builder.trunc(arguments[1], _I32), _I32)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


@intrinsic
def store_u64(typing_context, address, value):
    """Write a uint64."""

    def generate(context, builder, signature, arguments):
        _store(builder, arguments[0], arguments[1], _I64)
        return context.get_dummy_value()

    return types.void(types.uint64, types.uint64), generate


@intrinsic
def trailing_zeros(typing_context, value):
    """How many zero bits stand below the lowest one bit; 64 for zero."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(_I1, 0))  # 0: a value of zero is no undefined behaviour

    return types.uint64(types.uint64), generate


@intrinsic
def leading_zeros(typing_context, value):
    """How many zero bits stand above the highest one bit; 64 for zero."""

    def generate(context, builder, signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(_I1, 0))

    return types.uint64(types.uint64), generate


@intrinsic
def ones(typing_context, value):
    """How many bits of a value are one."""

    def generate(context, builder, signature, arguments):
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def prefetch(typing_context, address):
    """Ask for the cache line of an address that will soon be read; any address is allowed."""

    def generate(context, builder, signature, arguments):
        name = "llvm.prefetch.p0"
        fetch = builder.module.globals.get(name)
        if fetch is None:
            parameters = [_I8.as_pointer(), _I32, _I32, _I32]
            fetch = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), parameters), name)
        read, keep, data = (ir.Constant(_I32, number) for number in (0, 3, 1))
        builder.call(fetch, [builder.inttoptr(arguments[0], _I8.as_pointer()), read, keep, data])
        return context.get_dummy_value()

    return types.void(types.uint64), generate

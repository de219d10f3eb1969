"""Where a kernel finds things: the plan is an array of int64, sizes and addresses, whose fields are numbered here.

One compiled step serves every shape, because nothing about a model is known when it is compiled.
"""

from enum import IntEnum

LANES = 16
CHUNK_BYTES = 1 << 17
"""Of a weight that a thread takes at a time, about: a microsecond or two of memory traffic."""
MAX_CHUNK_OUTS = 128
"""Outputs in a chunk at most."""
REGION_BYTES = 128
"""Of the two counters of a region, each in a cache line of its own."""
MAX_ROWS = 64
"""Tokens that are worked on at once; the buffers have as many rows."""

NORMS = {"rms_norm": 0, "layer_norm": 1}
ACTIVATIONS = {"swiglu": 0, "gelu": 1, "gelu_tanh": 2, "relu": 3, "relu2": 4}
PRECISIONS = {"float32": 0, "bfloat16": 1, "int8": 2}
BFLOAT16_DOT = 3
"""What a plan has instead of bfloat16 where the processor multiplies bfloat16 numbers: x is rounded to them too."""
WEIGHT_BYTES = {"float32": 4, "bfloat16": 2, "int8": 1}
TILE_OUTS = 8
"""Outputs whose weights lie together: block by block of their length, each block output by output. A tile of them is
then read from one end to the other, as memory is read fastest."""
BLOCKS = {"float32": (16, 64), "bfloat16": (16, 32), "int8": (16, 16), "bfloat16_dot": (32, 64)}
"""Numbers and bytes in a block of one output."""
PRECISION_OF_KEYS = {"float32": "float32", "bfloat16": "bfloat16", "int8": "bfloat16"}
"""How keys and values are kept beside weights of a precision."""


class Field(IntEnum):
    """A number of the plan."""

    LAYERS = 0  # how many
    D_MODEL = 1
    HEADS = 2
    KV_HEADS = 3
    HEAD_DIM = 4
    HEAD_WIDTH = 5  # head_dim rounded up to whole vectors
    D_FF = 6
    VOCABULARY = 7
    MAX_LENGTH = 8  # rounded up to whole blocks of keys
    NORM = 9
    ACTIVATION = 10
    PRECISION = 11
    KEYS_PRECISION = 12
    NUMBERS = 13  # address of the float32 of `Number`
    EMBEDDING = 14  # float32 (v, d)
    POSITIONS_TABLE = 15  # float32 (positions, d) or 0
    COSINES = 16  # float32 (positions, e / 2) or 0
    SINES = 17
    FINAL_NORM = 18
    FINAL_NORM_BIAS = 19
    HEAD = 20
    HEAD_SCALES = 21
    LAYER_PLANS = 22  # one after the other, each of len(LayerField) int64
    HIDDEN = 23  # float32 (MAX_ROWS, d): the residual stream
    QUERIES = 24  # float32 (MAX_ROWS, h, HEAD_WIDTH)
    MIXED = 25  # float32 (MAX_ROWS, h e)
    INNER = 26  # float32 (MAX_ROWS, f)
    SCRATCH = 27  # of each thread
    SCRATCH_BYTES = 28
    COUNTERS = 29
    EPOCH = 30  # address of the number of the step at work
    ROWS = 31  # of this step, like all that follow
    TOKENS = 32
    POSITIONS = 33
    SLOTS = 34
    WANTED = 35  # how many rows have logits
    WANTED_ROWS = 36
    LOGITS = 37  # float32 (WANTED, v)
    O_OUTS = 38  # outputs in a chunk, of each kind of product
    INNER_OUTS = 39
    DOWN_OUTS = 40
    HEAD_OUTS = 41
    WIDEST = 42  # float32 in a row of the buffer for what is multiplied


class Number(IntEnum):
    """A float32 of the plan."""

    NORM_EPS = 0
    EMBEDDING_SCALE = 1
    SCORE_SCALE = 2
    SOFT_CAP = 3  # 0: none


class LayerField(IntEnum):
    """A number of a layer's plan: addresses, 0 for what the model does not have."""

    ATTENTION_NORM = 0
    ATTENTION_NORM_BIAS = 1
    FEED_FORWARD_NORM = 2
    FEED_FORWARD_NORM_BIAS = 3
    Q_NORM = 4
    K_NORM = 5
    KEYS = 6
    VALUES = 7
    Q = 8  # weight, scales, bias: also of the next six
    K = 11
    V = 14
    O = 17  # noqa: E741
    GATE = 20
    UP = 23
    DOWN = 26


LAYER_FIELDS = 29
PLAN_FIELDS = len(Field)
REGIONS_PER_LAYER = 5


def whole(number: int, of: int = LANES) -> int:
    """`number` rounded up to a multiple."""
    return -(-number // of) * of


def chunk_outs(n_outs: int, row_bytes: int, threads: int) -> int:
    """Outputs in a chunk of a product whose weight has rows of so many bytes: whole vectors, four chunks a thread."""
    fair = whole(-(-n_outs // (4 * threads)))
    return max(LANES, min(CHUNK_BYTES // row_bytes // LANES * LANES, fair, MAX_CHUNK_OUTS))

"""Text into words at memory speed: which compiled splitter does which pattern, and where a text may be cut.

The definition is `patterns.Splitter`; each pattern that has a splitter here gives the same words. A splitter gets
addresses and writes offsets:

    text     I t ' s . . t w o              n bytes, and PADDING readable ones behind them
    starts   0   2   4 5       9            int32, one for each word, then n: word i is text[starts[i]:starts[i + 1]]
"""

from functools import cache

import numpy as np
from numba import njit

from hornbook.errors import TokenizerError
from hornbook.tokenizer.kernels.blocks import ALL, NONE
from hornbook.tokenizer.kernels.machine import inner, load_u8
from hornbook.tokenizer.kernels.splitting_cl100k import split_cl100k
from hornbook.tokenizer.kernels.splitting_gpt2 import split_gpt2
from hornbook.tokenizer.kernels.splitting_o200k import split_o200k
from hornbook.tokenizer.kernels.utf8 import NUMBER, first_invalid_utf8
from hornbook.tokenizer.kernels.utf8 import class_table as frozen_classes
from hornbook.tokenizer.patterns import ADDED_DIGITS

__all__ = [
    "PADDING",
    "PATTERN_KINDS",
    "class_table",
    "exercise",
    "find_cut",
    "first_invalid_utf8",
    "scratch_bytes",
    "split",
    "starts_entries",
    "word_starts",
]

PADDING = 128
"""How many bytes behind a text must be readable, whatever they hold."""

PATTERN_KINDS = {"gpt2": 0, "cl100k": 1, "llama3": 2, "qwen2": 3, "o200k": 4, "smollm": 5}
"""The patterns of `patterns.PATTERNS` that have a compiled splitter, by the number that `split` takes."""

_GPT2, _CL100K, _LLAMA3, _QWEN2, _O200K, _SMOLLM = PATTERN_KINDS.values()
_TAB, _LF, _CR, _BLANK, _SLASH = (np.uint64(ord(c)) for c in "\t\n\r /")


@cache
def class_table(kind: int = _GPT2) -> np.ndarray:
    """uint8[0x110000], read-only: the class of every code point as a pattern has it; see `utf8.class_table`."""
    table = frozen_classes()
    if kind == _SMOLLM:
        for first, last in ADDED_DIGITS:
            table[first : last + 1] = NUMBER
    table.setflags(write=False)
    return table


@njit(nogil=True, cache=True)
def split(kind, text, n, classes, scratch, starts):
    """Write the offset of every word's first byte, then n, as int32; returns how many words there are.

    Args:
        kind: a number of PATTERN_KINDS.
        text: address of n bytes and PADDING more.
        n: how many bytes, fewer than 2**31.
        classes: address of `class_table(kind)`.
        scratch: address of `scratch_bytes(n)` bytes.
        starts: address of `starts_entries(n)` int32, all of which may be written.
    """
    digits_alone = ALL if kind in (_QWEN2, _SMOLLM) else NONE
    if kind in (_GPT2, _SMOLLM):
        return split_gpt2(text, n, classes, starts, digits_alone)
    if kind == _O200K:
        return split_o200k(text, n, classes, starts)
    return split_cl100k(text, n, classes, starts, digits_alone, ALL if kind == _CL100K else NONE)


@njit(nogil=True, cache=True)
def scratch_bytes(n):
    """How many bytes of scratch memory `split` needs for n bytes of text."""
    return 64


@njit(nogil=True, cache=True)
def starts_entries(n):
    """How many int32 `split` needs for the words of n bytes of text."""
    return n + 17


@njit(nogil=True, cache=True)
def find_cut(kind, text, low, high):
    """The last p in low < p < high where a cut changes no word, whatever stands before and behind; -1 if there is none.

    The places are those of `Pattern.cut`: before white space that follows anything else, and for cl100k and its family
    not before a line end, but behind one. Reads the bytes from `low` to before `high`.

    Args:
        kind: a number of PATTERN_KINDS.
        text: address of the text.
        low: an offset of it, inclusive for reading.
        high: another, exclusive.
    """
    line_ends_stick = kind not in (_GPT2, _SMOLLM)
    byte = load_u8(text + np.uint64(high - 1)) if high > low else NONE
    for p in range(high - 1, low, -1):
        before = load_u8(text + np.uint64(p - 1))
        if _is_white(byte) and not (line_ends_stick and byte in (_LF, _CR)):
            if not _may_end_white(before):
                return p
        elif line_ends_stick and before in (_LF, _CR) and not _may_begin_white(byte) and byte != _SLASH:
            return p
        byte = before
    return -1


@inner
def _is_white(byte):
    """Whether a byte is ASCII white space."""
    return byte == _BLANK or (byte >= _TAB and byte <= _CR)


@inner
def _may_end_white(byte):
    """Whether a byte is ASCII white space or the last of one beyond."""
    if _is_white(byte) or (byte >= np.uint64(0x80) and byte <= np.uint64(0x8A)):
        return True
    return byte in (np.uint64(0x9F), np.uint64(0xA0), np.uint64(0xA8), np.uint64(0xA9), np.uint64(0xAF))


@inner
def _may_begin_white(byte):
    """Whether a byte is ASCII white space or the first of one beyond."""
    return _is_white(byte) or byte in (np.uint64(0xC2), np.uint64(0xE1), np.uint64(0xE2), np.uint64(0xE3))


def word_starts(pattern: str, data: bytes) -> np.ndarray:
    """Offsets of the words of a text, as int64; the checked way to `split` for a few texts.

    Raises:
        TokenizerError: for a pattern without a compiled splitter.
    """
    if pattern not in PATTERN_KINDS:
        raise TokenizerError(f"pattern {pattern!r} has no compiled splitter; these have: {', '.join(PATTERN_KINDS)}")
    n = len(data)
    text = np.zeros(n + PADDING, np.uint8)
    text[:n] = np.frombuffer(data, np.uint8)
    classes, scratch = class_table(PATTERN_KINDS[pattern]), np.empty(scratch_bytes(n), np.uint8)
    starts = np.empty(starts_entries(n), np.int32)
    count = split(PATTERN_KINDS[pattern], _address(text), n, _address(classes), _address(scratch), _address(starts))
    return starts[:count].astype(np.int64)


def exercise() -> None:
    """Run every kernel once, which compiles it or takes it from the cache."""
    word_starts("gpt2", b"it's")
    scratch_bytes(1)
    starts_entries(1)
    text = np.zeros(PADDING, np.uint8)
    find_cut(0, _address(text), 0, 4)
    first_invalid_utf8(_address(text), 4)


def _address(array: np.ndarray) -> np.uint64:
    return np.uint64(array.ctypes.data)

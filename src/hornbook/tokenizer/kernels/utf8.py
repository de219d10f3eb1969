r"""UTF-8 read by address: one character at a time, its class, and where a text is malformed.

A byte that belongs to no well-formed character counts as a character of its own. Like Python's "surrogateescape" it
gets a code point from U+DC80 to U+DCFF, which is neither letter nor number nor white space. So the definition of
splitting malformed text is `data.decode("utf-8", "surrogateescape")` split by a pattern.
"""

import numpy as np
from numba import njit

from hornbook.tokenizer.kernels.machine import inlined, inner, load_u8, load_u32, range_mask
from hornbook.tokenizer.patterns import code_point_ranges

LETTER, NUMBER, WHITE = np.uint64(1), np.uint64(2), np.uint64(3)
"""Bits 0 and 1 of an entry of `class_table`; 0 is every other character."""
KIND = np.uint64(3)
UPPER, LOWER = np.uint64(4), np.uint64(8)
"""Bits of what o200k allows in the first, capital part of a word and in its second part; marks have only these."""

_WHITE_SPACE = (
    *((0x9, 0xD), (0x20, 0x20), (0x85, 0x85), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A)),
    *((0x2028, 0x2029), (0x202F, 0x202F), (0x205F, 0x205F), (0x3000, 0x3000)),
)

_ONE = np.uint64(1)
_NONE = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_S, _T, _M, _D, _R, _V, _E, _L = (np.uint64(ord(c)) for c in "stmdrvel")
_LONG_S = np.uint64(0xBFC5)
"""The bytes C5 BF, the first lowest."""


def class_table() -> np.ndarray:
    """uint8[0x110000]: the class of every code point, from the frozen ranges of `unicode_table`."""
    table = np.zeros(0x110000, np.uint8)
    for category, bits in {
        "Lu": LETTER | UPPER,
        "Lt": LETTER | UPPER,
        "Ll": LETTER | LOWER,
        "Lm": LETTER | UPPER | LOWER,
        "Lo": LETTER | UPPER | LOWER,
        "M": UPPER | LOWER,
        "N": NUMBER,
    }.items():
        for first, last in code_point_ranges(category):
            table[first : last + 1] = bits
    for first, last in _WHITE_SPACE:
        table[first : last + 1] = WHITE
    return table


@inner
def character_at(text, at, n):
    """(code point, length in bytes) of the character at byte `at` < n; reads 4 bytes, but takes none behind n.

        2 bytes   110xxxxx 10xxxxxx                      at least U+0080
        3 bytes   1110xxxx 10xxxxxx 10xxxxxx             at least U+0800, no surrogate
        4 bytes   11110xxx 10xxxxxx 10xxxxxx 10xxxxxx    U+10000 to U+10FFFF

    The four bytes are one number, the first byte lowest, so that one comparison sees all the 10s of a form.
    """
    four = load_u32(text + np.uint64(at))
    if at + 4 > n:
        four &= (_ONE << np.uint64(8 * (n - at))) - _ONE
    lead = four & np.uint64(0xFF)
    if lead < np.uint64(0x80):
        return lead, _ONE
    b, c, d = (four >> np.uint64(8)) & np.uint64(63), (four >> np.uint64(16)) & np.uint64(63), four >> np.uint64(24)
    if lead >= np.uint64(0xE0) and lead < np.uint64(0xF0) and four & np.uint64(0xC0C000) == np.uint64(0x808000):
        point = ((lead & np.uint64(15)) << np.uint64(12)) | (b << np.uint64(6)) | c
        if point >= np.uint64(0x800) and point >> np.uint64(11) != np.uint64(0xD800 >> 11):
            return point, np.uint64(3)
    elif lead >= np.uint64(0xC2) and lead < np.uint64(0xE0) and four & np.uint64(0xC000) == np.uint64(0x8000):
        return ((lead & np.uint64(31)) << np.uint64(6)) | b, np.uint64(2)
    elif lead >= np.uint64(0xF0) and four & np.uint64(0xC0C0C000) == np.uint64(0x80808000):
        point = (lead & np.uint64(15)) << np.uint64(18)
        point |= (b << np.uint64(12)) | (c << np.uint64(6)) | (d & np.uint64(63))
        if point >= np.uint64(0x10000) and point < np.uint64(0x110000):
            return point, np.uint64(4)
    return np.uint64(0xDC00) | lead, _ONE


@inlined
def class_at(text, at, n, classes):
    """(entry of the class table at address `classes`, length in bytes) of the character at byte `at`.

    From n on there is white space of no length.
    """
    if at >= n:
        return WHITE, 0
    byte = load_u8(text + np.uint64(at))
    if byte < np.uint64(0x80):
        return load_u8(classes + byte), 1
    return _class_beyond_ascii(text, at, n, classes)


@inner
def _class_beyond_ascii(text, at, n, classes):
    """The rest of `class_at`, apart so that there is little to copy."""
    point, length = character_at(text, at, n)
    return load_u8(classes + point), np.int64(length)


@inner
def ending_length(apostrophe, case_bit):
    """Bytes of an apostrophe and the ending s, t, m, d, re, ve or ll behind it; 0 without one. Reads 4 bytes.

    Args:
        apostrophe: its address.
        case_bit: 0x20, by which the cases differ, to allow capitals and also U+017F, the long s; 0 for neither.
    """
    behind = load_u32(apostrophe) >> np.uint64(8)
    if behind & np.uint64(0xFFFF) == _LONG_S and case_bit:
        return np.uint64(3)
    a = (behind & np.uint64(0xFF)) | case_bit
    b = ((behind >> np.uint64(8)) & np.uint64(0xFF)) | case_bit
    if a in (_S, _T, _M, _D):
        return np.uint64(2)
    if (b == _E and a in (_R, _V)) or (b == _L and a == _L):
        return np.uint64(3)
    return _NONE


@njit(nogil=True, cache=True)
def first_invalid_utf8(text, n):
    """Byte offset of the first malformed sequence, as Python's decoder counts it; -1 if there is none.

    64 bytes at once, a bit for each: the bytes that must be continuation bytes, because of a lead one, two or three
    bytes before, have to be exactly those that are.

        text        a  E2 82 AC  C3 A9  b
        leads       .  3  .  .   2  .   .
        expected    .  .  1  1   .  1   .
        continues   .  .  1  1   .  1   .     10xxxxxx

    Four leads allow only half of the bytes behind them: E0 and F0 (lower ones have a shorter form), ED (higher ones are
    surrogates) and F4 (higher ones are no code points). Where something is wrong, the block is read again one
    character at a time. Reads 65 bytes from the last multiple of 64 before n on.
    """
    spilled = _NONE  # expected in this block because of a lead in the one before
    for start in range(0, n, 64):
        here, behind = text + np.uint64(start), text + np.uint64(start + 1)
        inside = _ALL if n - start >= 64 else (_ONE << np.uint64(n - start)) - _ONE
        beyond_ascii = range_mask(here, 0, 0x80, 0x7F) & inside
        if beyond_ascii | spilled == _NONE:
            continue
        continues = range_mask(here, 0, 0x80, 0x3F) & inside
        two = range_mask(here, 0, 0xC2, 0x1D) & inside
        three = range_mask(here, 0, 0xE0, 0x0F) & inside
        four = range_mask(here, 0, 0xF0, 0x04) & inside
        one_more, two_more = two | three | four, three | four
        expected = spilled | (one_more << _ONE) | (two_more << np.uint64(2)) | (four << np.uint64(3))
        spilled = (one_more >> np.uint64(63)) | (two_more >> np.uint64(62)) | (four >> np.uint64(61))
        wrong = (expected ^ continues) | (beyond_ascii & ~(continues | one_more))
        if two_more:
            next_below_90 = range_mask(behind, 0, 0x80, 0x0F)
            next_below_a0 = range_mask(behind, 0, 0x80, 0x1F)
            wrong |= three & next_below_a0 & range_mask(here, 0, 0xE0, 0)
            wrong |= three & ~next_below_a0 & range_mask(here, 0, 0xED, 0)
            wrong |= four & next_below_90 & range_mask(here, 0, 0xF0, 0)
            wrong |= four & ~next_below_90 & range_mask(here, 0, 0xF4, 0)
        if wrong:
            return _first_malformed(text, n, start)
    if spilled:
        return _first_malformed(text, n, (n - 1) & ~63)
    return -1


@inner
def _first_malformed(text, n, start):
    """The same from byte `start` on, before which all is well but for a character that may reach into what follows."""
    at = max(0, start - 3)
    while at < start and load_u8(text + np.uint64(at)) & np.uint64(0xC0) == np.uint64(0x80):
        at += 1  # the end of a character that is well
    while at < n:
        point, length = character_at(text, at, n)
        if point & ~np.uint64(0x7F) == np.uint64(0xDC80):
            return at
        at += np.int64(length)
    return -1

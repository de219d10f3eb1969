"""A text as masks: one uint64 for each class of characters and each block of 64 bytes.

Bit k of a mask stands for byte k of its block (drawn from left to right), so `mask << 1` moves everything one byte
towards the end of the text. All bytes of a character beyond ASCII have the bit of its class; those but the first are
its tails.

    bytes      C3 A9  '  s  .  C2 A0  4  2  E2 82 AC     e with an accent, 's, a blank, no-break space, 42, euro sign
    letters    1  1   .  1  .  .  .   .  .  .  .  .
    digits     .  .   .  .  .  .  .   1  1  .  .  .
    white      .  .   .  .  1  1  1   .  .  .  .  .
    tails      .  1   .  .  .  .  1   .  .  .  1  1
    others     .  .   1  .  .  .  .   .  .  1  1  1      whatever has none of the first three

The splitters work through a text block by block with the masks of this block and the next. What crosses the edge to the
block before is in the top bits of its masks, which `preceding` shifts in.
"""

import numpy as np

from hornbook.tokenizer.kernels.machine import (
    inner,
    load_u8,
    load_u16,
    load_u32,
    ones,
    range_mask,
    store_u32,
    trailing_zeros,
)
from hornbook.tokenizer.kernels.utf8 import character_at

NONE = np.uint64(0)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
ONE = np.uint64(1)
TWO = np.uint64(2)
THREE = np.uint64(3)
TOP = np.uint64(63)
_6, _8, _12, _15, _16, _31, _63 = (np.uint64(number) for number in (6, 8, 12, 15, 16, 31, 63))

NOTHING_BEFORE = (NONE,) * 7
"""What `block_masks` takes for the block before the first."""


@inner
def preceding(mask, before):
    """A bit for every byte behind one that has a bit in `mask`; `before` is the mask of the block before."""
    return (mask << ONE) | (before >> TOP)


@inner
def block_masks(text, at, n, classes, before):
    """The masks of the 64 bytes from `at` on; all is white behind the text.

    Args:
        text: address of n bytes, and PADDING more.
        at: offset of the block.
        n: how many bytes the text has.
        classes: address of `class_table`.
        before: what this returned for the block before; NOTHING_BEFORE for the first.

    Returns:
        letters, digits, white, blanks, apostrophes, tails; and spilled, the bytes in the next block of a character that
        begins in this one.
    """
    if at >= n:
        return NONE, NONE, ALL, NONE, NONE, NONE, NONE
    here = text + np.uint64(at)
    inside = lowest_bits(n - at)
    letters = range_mask(here, 0x20, 0x61, 25) & inside  # with bit 0x20, A to Z are a to z
    digits = range_mask(here, 0, 0x30, 9) & inside
    blanks = range_mask(here, 0, 0x20, 0) & inside
    white = blanks | range_mask(here, 0, 0x09, 4) | ~inside
    apostrophes = range_mask(here, 0, 0x27, 0) & inside
    beyond_ascii = range_mask(here, 0, 0x80, 0x7F) & inside
    tails = spilled = NONE
    if beyond_ascii:
        more_letters, more_digits, more_white, tails, spilled = _beyond_ascii(here, n - at, classes)
        from_before = before[6]
        letters |= more_letters | (from_before if before[0] >> TOP else NONE)
        digits |= more_digits | (from_before if before[1] >> TOP else NONE)
        white |= more_white | (from_before if before[2] >> TOP else NONE)
        tails |= from_before
    return letters, digits, white, blanks, apostrophes, tails, spilled


@inner
def _beyond_ascii(here, left, classes):
    """Masks of the characters beyond ASCII that begin in a block with `left` bytes of text from its first on.

    How many bytes they have and whether they are well-formed is seen for all at once, from masks of the bytes one, two
    and three places further on. Only the class is looked up for each, and nothing there waits for the character before.

        text      a  D0 B6  .  E4 BD A0  .  E2 82  b      the last is cut short
        two       .  1  .   .  .  .  .   .  .  .   .
        three     .  .  .   .  1  .  .   .  .  .   .
        tails     .  .  1   .  .  1  1   .  .  .   .

    Returns:
        letters, digits, white, tails, and the tails that lie in the next block.
    """
    tail_1 = range_mask(here + ONE, 0, 0x80, 0x3F) & lowest_bits(left - 1)
    tail_2 = range_mask(here + TWO, 0, 0x80, 0x3F) & lowest_bits(left - 2)
    tail_3 = range_mask(here + THREE, 0, 0x80, 0x3F) & lowest_bits(left - 3)
    two = range_mask(here, 0, 0xC2, 0x1D) & tail_1
    three = range_mask(here, 0, 0xE0, 0x0F) & tail_1 & tail_2
    four = range_mask(here, 0, 0xF0, 0x04) & tail_1 & tail_2 & tail_3
    if three | four:  # without the forms that are too long, surrogates, and what is beyond U+10FFFF
        below_90 = range_mask(here + ONE, 0, 0x80, 0x0F)
        below_a0 = range_mask(here + ONE, 0, 0x80, 0x1F)
        three &= ~(range_mask(here, 0, 0xE0, 0) & below_a0 | range_mask(here, 0, 0xED, 0) & ~below_a0)
        four &= ~(range_mask(here, 0, 0xF0, 0) & below_90 | range_mask(here, 0, 0xF4, 0) & ~below_90)

    low = high = NONE  # the two bits of each character's class, at its first byte
    remaining = two
    while remaining:
        k = trailing_zeros(remaining)
        remaining &= remaining - ONE
        bytes_2 = load_u16(here + k)
        kind = load_u8(classes + (((bytes_2 & _31) << _6) | ((bytes_2 >> _8) & _63)))
        low |= (kind & ONE) << k
        high |= ((kind >> ONE) & ONE) << k
    remaining = three
    while remaining:
        k = trailing_zeros(remaining)
        remaining &= remaining - ONE
        bytes_3 = load_u32(here + k)
        point = ((bytes_3 & _15) << _12) | (((bytes_3 >> _8) & _63) << _6) | ((bytes_3 >> _16) & _63)
        kind = load_u8(classes + point)
        low |= (kind & ONE) << k
        high |= ((kind >> ONE) & ONE) << k
    remaining = four
    while remaining:
        k = trailing_zeros(remaining)
        remaining &= remaining - ONE
        point, _ = character_at(here, np.int64(k), left)
        kind = load_u8(classes + point)
        low |= (kind & ONE) << k
        high |= ((kind >> ONE) & ONE) << k

    longer = three | four
    letters = _whole(low & ~high, longer, four)
    digits = _whole(high & ~low, longer, four)
    white = _whole(low & high, longer, four)
    begun = two | longer
    tails = _whole(begun, longer, four) ^ begun
    spilled = (begun >> TOP) | (longer >> np.uint64(62)) | (four >> np.uint64(61))
    return letters, digits, white, tails, spilled


@inner
def _whole(first, longer, four):
    """All bytes of the characters that have their first byte in a mask; each has two, `longer` ones three or `four`."""
    return first | (first << ONE) | ((first & longer) << TWO) | ((first & four) << THREE)


@inner
def lowest_bits(n):
    """A mask of the first n bytes of a block; n may be negative or more than 64."""
    if n >= 64:
        return ALL
    return (ONE << np.uint64(n)) - ONE if n > 0 else NONE


@inner
def first_bytes(last, tails, next_last, next_tails):
    """Bits on the last byte of a white character, moved to its first; a character has at most two tail bytes."""
    for _ in range(2):
        from_next = next_last & next_tails & ONE
        last = (last & ~tails) | ((last & tails) >> ONE) | (from_next << TOP)
        next_last = (next_last & ~next_tails) | ((next_last & next_tails) >> ONE)
    return last


@inner
def write_offsets(found, at, starts, count):
    """Append the offset at + k for every set bit k; returns the new count.

    Eight are always written, whether there are as many or not, because a loop of unknown length costs a mispredicted
    branch for each block. Those too many are overwritten by the next, so 16 entries more than offsets are needed.
    """
    end = starts + np.uint64(4 * count)
    n_found = ones(found)
    first = np.uint64(at)
    for j in range(8):
        store_u32(end + np.uint64(4 * j), first + trailing_zeros(found))
        found &= found - ONE
    if n_found > np.uint64(8):
        for j in range(8, 16):
            store_u32(end + np.uint64(4 * j), first + trailing_zeros(found))
            found &= found - ONE
        for j in range(16, np.int64(n_found)):
            store_u32(end + np.uint64(4 * j), first + trailing_zeros(found))
            found &= found - ONE
    return count + np.int64(n_found)

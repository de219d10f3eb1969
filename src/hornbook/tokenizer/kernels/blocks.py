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

from hornbook.tokenizer.kernels.machine import inner, load_u8, ones, range_mask, store_u32, trailing_zeros
from hornbook.tokenizer.kernels.utf8 import KIND, LETTER, NUMBER, WHITE, character_at

NONE = np.uint64(0)
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
ONE = np.uint64(1)
TWO = np.uint64(2)
TOP = np.uint64(63)


@inner
def preceding(mask, before):
    """A bit for every byte behind one that has a bit in `mask`; `before` is the mask of the block before."""
    return (mask << ONE) | (before >> TOP)


@inner
def block_masks(text, at, n, classes, spilled_kind, spilled_bytes):
    """The masks of the 64 bytes from `at` on; white behind the text.

    Args:
        text, at, n, classes: as in `split_gpt2`.
        spilled_kind, spilled_bytes: class and mask of the bytes here of a character that began in the block before.

    Returns:
        letters, digits, white, blanks, apostrophes, tails (bytes of characters but their first), spilled_kind and
        spilled_bytes for the next block.
    """
    if at >= n:
        return NONE, NONE, ALL, NONE, NONE, NONE, NONE, NONE
    here = text + np.uint64(at)
    letters = range_mask(here, 0x20, 0x61, 25)  # with bit 0x20, A to Z are a to z
    digits = range_mask(here, 0, 0x30, 9)
    blanks = range_mask(here, 0, 0x20, 0)
    white = blanks | range_mask(here, 0, 0x09, 4)
    apostrophes = range_mask(here, 0, 0x27, 0)
    beyond_ascii = range_mask(here, 0, 0x80, 0x7F)
    if n - at < 64:
        inside = (ONE << np.uint64(n - at)) - ONE
        letters &= inside
        digits &= inside
        blanks &= inside
        white |= ~inside
        apostrophes &= inside
        beyond_ascii &= inside
    tails = NONE
    if beyond_ascii:
        more = _beyond_ascii(text, at, n, classes, beyond_ascii, spilled_kind, spilled_bytes)
        letters |= more[0]
        digits |= more[1]
        white |= more[2]
        tails, spilled_kind, spilled_bytes = more[3], more[4], more[5]
    return letters, digits, white, blanks, apostrophes, tails, spilled_kind, spilled_bytes


@inner
def _beyond_ascii(text, at, n, classes, beyond_ascii, spilled_kind, spilled_bytes):
    """Masks of the characters beyond ASCII of a block, a bit for each of their bytes.

    Returns:
        letters, digits, white, tails (bytes of characters but their first), and the class and the bytes in the next
        block of a character that reaches into it.
    """
    letters = spilled_bytes if spilled_kind == LETTER else NONE
    digits = spilled_bytes if spilled_kind == NUMBER else NONE
    white = spilled_bytes if spilled_kind == WHITE else NONE
    tails = spilled_bytes
    spilled_kind = spilled_bytes = NONE
    remaining = beyond_ascii & ~tails
    while remaining:
        k = trailing_zeros(remaining)
        point, length = character_at(text, at + np.int64(k), n)
        kind = load_u8(classes + point) & KIND
        whole = (ONE << length) - ONE
        bits = whole << k
        remaining &= ~bits
        tails |= bits ^ (ONE << k)
        letters |= bits if kind == LETTER else NONE
        digits |= bits if kind == NUMBER else NONE
        white |= bits if kind == WHITE else NONE
        if k + length > np.uint64(64):
            spilled_kind, spilled_bytes = kind, whole >> (np.uint64(64) - k)
    return letters, digits, white, tails, spilled_kind, spilled_bytes


@inner
def leads(last, tails, next_last, next_tails):
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

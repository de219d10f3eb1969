r"""GPT-2's pattern as bit logic on 64 bytes at once, and smollm's, which differs in its digits.

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

No expression is matched. Each class of characters becomes a mask, a uint64 with a bit for every byte of a block (drawn
here from left to right; bit 0 is the first byte, `mask << 1` moves everything one byte later):

    text       I t ' s . . t w o . . 4 2 !        . is a blank
    letters    1 1 . 1 . . 1 1 1 . . . . .
    digits     . . . . . . . . . . . 1 1 .
    white      . . . . 1 1 . . . 1 1 . . .
    other      . . 1 . . . . . . . . . . 1        none of these
    starts     1 . 1 . 1 1 . . . 1 1 . . 1        the result: It|'s|.|.two|.|.42|!

A word starts at
  * a byte that is not white, where the class changes, unless a blank precedes it (the word took the blank along);
  * the first white byte of a run;
  * the last white character of a run, if something follows: `\s+(?!\S)` leaves it to the next word;
and after an apostrophe that starts a word the endings s, t, re, ... join it, and what follows them starts anew.

Characters beyond ASCII are decoded one by one and their bits, one for each byte, are added to the masks of their class.
Blocks are worked through in order; what crosses an edge between two is carried in a few variables.
"""

import numpy as np
from numba import njit

from hornbook.tokenizer.kernels.machine import load_u8, load_u32, ones, range_mask, store_u32, trailing_zeros
from hornbook.tokenizer.kernels.utf8 import KIND, LETTER, NUMBER, WHITE, character_at

_ONE = np.uint64(1)
_TWO = np.uint64(2)
_TOP = np.uint64(63)
_NONE = np.uint64(0)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@njit(nogil=True, cache=True)
def split_gpt2(text, n, classes, starts, digits_alone):
    """Write the offset of every word to the int32 at `starts`, then n; returns how many words there are.

    Args:
        text: address of n bytes; 64 more are readable.
        n: how many bytes.
        classes: address of `class_table`.
        starts: address of n + 17 int32; all may be written.
        digits_alone: all ones for smollm, where each digit is a word and white space before one stays whole; else 0.
    """
    count = 0
    letters_before = digits_before = white_before = blanks_before = _NONE
    no_start = also_start = _NONE  # what an apostrophe near the end of the block before says of starts in this one
    following = _block_masks(text, 0, n, classes, _NONE, _NONE)
    for at in range(0, n, 64):
        letters, digits, white, blanks, apostrophes, tails, spilled_kind, spilled_bytes = following
        following = _block_masks(text, at + 64, n, classes, spilled_kind, spilled_bytes)
        next_digits, next_white, next_tails = following[1], following[2], following[5]

        # A change of class. `x << 1` is what precedes each byte; the top bit of the block before precedes the first.
        other = ~(letters | digits | white)
        other_before = ~(letters_before | digits_before | white_before)
        same = letters & ((letters << _ONE) | (letters_before >> _TOP))
        same |= digits & ((digits << _ONE) | (digits_before >> _TOP))
        same |= other & ((other << _ONE) | (other_before >> _TOP))
        after_blank = (blanks << _ONE) | (blanks_before >> _TOP)
        found = ~(white | same | after_blank) | (digits & ~tails & digits_alone)

        # The first of each run of white space, and the last unless the text ends there (behind the text all is white).
        found |= white & ~((white << _ONE) | (white_before >> _TOP))
        keeps_run = white | (digits & digits_alone)
        next_keeps_run = next_white | (next_digits & digits_alone)
        last = white & ~((keeps_run >> _ONE) | (next_keeps_run << _TOP))
        if (white & tails) | (next_white & next_tails):
            last = _leads(last, tails, next_white & ~(next_keeps_run >> _ONE), next_tails)
        found |= last
        if at == 0:
            found |= _ONE

        # An apostrophe that starts a word: an ending joins it, and what follows the ending starts a word.
        found = (found & ~no_start) | also_start
        no_start = also_start = _NONE
        candidates = apostrophes & found
        while candidates:
            k = trailing_zeros(candidates)
            candidates &= candidates - _ONE
            end = k + _ending_length(text + np.uint64(at) + k)
            if end > k and np.int64(end) <= n - at:
                found &= ~(_TWO << k)  # nothing for k = 63
                no_start = _ONE if k == _TOP else _NONE
                if end < np.uint64(64):
                    found |= _ONE << end
                else:
                    also_start |= _ONE << (end - np.uint64(64))

        if n - at < 64:
            found &= (_ONE << np.uint64(n - at)) - _ONE
        count = write_offsets(found, at, starts, count)
        letters_before, digits_before, white_before, blanks_before = letters, digits, white, blanks
    store_u32(starts + np.uint64(4 * count), np.uint64(n))
    return count


@njit(nogil=True, cache=True)
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
        found &= found - _ONE
    if n_found > np.uint64(8):
        for j in range(8, 16):
            store_u32(end + np.uint64(4 * j), first + trailing_zeros(found))
            found &= found - _ONE
        for j in range(16, np.int64(n_found)):
            store_u32(end + np.uint64(4 * j), first + trailing_zeros(found))
            found &= found - _ONE
    return count + np.int64(n_found)


@njit(nogil=True, cache=True)
def _ending_length(apostrophe):
    """Bytes of an apostrophe and the ending s, t, m, d, re, ve or ll behind it; 0 without one. Reads 4 bytes."""
    four = load_u32(apostrophe) >> np.uint64(8)
    a, b = four & np.uint64(0xFF), (four >> np.uint64(8)) & np.uint64(0xFF)
    if a == np.uint64(ord("s")) or a == np.uint64(ord("t")) or a == np.uint64(ord("m")) or a == np.uint64(ord("d")):
        return _TWO
    if b == np.uint64(ord("e")) and (a == np.uint64(ord("r")) or a == np.uint64(ord("v"))):
        return np.uint64(3)
    if a == np.uint64(ord("l")) and b == a:
        return np.uint64(3)
    return _NONE


@njit(nogil=True, cache=True)
def _leads(last, tails, next_last, next_tails):
    """Bits on the last byte of a white character, moved to its first; a character has at most two tail bytes."""
    for _ in range(2):
        from_next = next_last & next_tails & _ONE
        last = (last & ~tails) | ((last & tails) >> _ONE) | (from_next << _TOP)
        next_last = (next_last & ~next_tails) | ((next_last & next_tails) >> _ONE)
    return last


@njit(nogil=True, cache=True)
def _block_masks(text, at, n, classes, spilled_kind, spilled_bytes):
    """The masks of the 64 bytes from `at` on; white behind the text.

    Args:
        text, at, n, classes: as in `split_gpt2`.
        spilled_kind, spilled_bytes: class and mask of the bytes here of a character that began in the block before.

    Returns:
        letters, digits, white, blanks, apostrophes, tails (bytes of characters but their first), spilled_kind and
        spilled_bytes for the next block.
    """
    if at >= n:
        return _NONE, _NONE, _ALL, _NONE, _NONE, _NONE, _NONE, _NONE
    here = text + np.uint64(at)
    letters = range_mask(here, np.uint8(0x20), np.uint8(0x61), np.uint8(25))  # with bit 0x20, A to Z are a to z
    digits = range_mask(here, np.uint8(0), np.uint8(0x30), np.uint8(9))
    blanks = range_mask(here, np.uint8(0), np.uint8(0x20), np.uint8(0))
    white = blanks | range_mask(here, np.uint8(0), np.uint8(0x09), np.uint8(4))
    apostrophes = range_mask(here, np.uint8(0), np.uint8(0x27), np.uint8(0))
    beyond_ascii = range_mask(here, np.uint8(0), np.uint8(0x80), np.uint8(0x7F))
    if n - at < 64:
        inside = (_ONE << np.uint64(n - at)) - _ONE
        letters &= inside
        digits &= inside
        blanks &= inside
        white |= ~inside
        apostrophes &= inside
        beyond_ascii &= inside
    tails = _NONE
    if beyond_ascii:
        more = characters_beyond_ascii(text, at, n, classes, beyond_ascii, spilled_kind, spilled_bytes)
        letters |= more[0]
        digits |= more[1]
        white |= more[2]
        tails, spilled_kind, spilled_bytes = more[3], more[4], more[5]
    return letters, digits, white, blanks, apostrophes, tails, spilled_kind, spilled_bytes


@njit(nogil=True, cache=True)
def characters_beyond_ascii(text, at, n, classes, beyond_ascii, spilled_kind, spilled_bytes):
    """Masks of the characters beyond ASCII of a block, a bit for each of their bytes.

    Returns:
        letters, digits, white, tails (bytes of characters but their first), and the class and the bytes in the next
        block of a character that reaches into it.
    """
    letters = spilled_bytes if spilled_kind == LETTER else _NONE
    digits = spilled_bytes if spilled_kind == NUMBER else _NONE
    white = spilled_bytes if spilled_kind == WHITE else _NONE
    tails = spilled_bytes
    spilled_kind = spilled_bytes = _NONE
    remaining = beyond_ascii & ~tails
    while remaining:
        k = trailing_zeros(remaining)
        point, length = character_at(text, at + np.int64(k), n)
        kind = load_u8(classes + point) & KIND
        whole = (_ONE << length) - _ONE
        bits = whole << k
        remaining &= ~bits
        tails |= bits ^ (_ONE << k)
        letters |= bits if kind == LETTER else _NONE
        digits |= bits if kind == NUMBER else _NONE
        white |= bits if kind == WHITE else _NONE
        if k + length > np.uint64(64):
            spilled_kind, spilled_bytes = kind, whole >> (np.uint64(64) - k)
    return letters, digits, white, tails, spilled_kind, spilled_bytes

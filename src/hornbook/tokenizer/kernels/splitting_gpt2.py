r"""GPT-2's pattern as bit logic on 64 bytes at once, and smollm's, which differs in its digits.

    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+

No expression is matched. Each class of characters is a mask (see `blocks`), and so are the places where words start:

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
"""

import numpy as np

from hornbook.tokenizer.kernels.blocks import (
    NONE,
    NOTHING_BEFORE,
    ONE,
    TOP,
    TWO,
    block_masks,
    first_bytes,
    lowest_bits,
    preceding,
    write_offsets,
)
from hornbook.tokenizer.kernels.machine import inner, store_u32, trailing_zeros
from hornbook.tokenizer.kernels.utf8 import ending_length


@inner
def split_gpt2(text, n, classes, starts, digits_alone):
    """Write the offset of every word to the int32 at `starts`, then n; returns how many words there are.

    Args:
        text: address of n bytes, and PADDING more that are readable.
        n: how many bytes.
        classes: address of `class_table`.
        starts: address of n + 17 int32; all may be written.
        digits_alone: all ones for smollm, where each digit is a word and white space before one stays whole; else 0.
    """
    count = np.int64(0)
    letters_before = digits_before = white_before = blanks_before = other_before = NONE
    no_start = also_start = NONE  # what an apostrophe near the end of the block before says of starts in this one
    following = block_masks(text, np.int64(0), n, classes, NOTHING_BEFORE)
    for at in range(0, n, 64):
        letters, digits, white, blanks, apostrophes, tails, _ = following
        following = block_masks(text, at + 64, n, classes, following)
        next_digits, next_white, next_tails = following[1], following[2], following[5]

        # A change of class, unless a blank precedes.
        other = ~(letters | digits | white)
        same = letters & preceding(letters, letters_before)
        same |= digits & preceding(digits, digits_before)
        same |= other & preceding(other, other_before)
        found = ~(white | same | preceding(blanks, blanks_before)) | (digits & ~tails & digits_alone)

        # The first of each run of white space, and the last unless the text ends there (behind the text all is white).
        found |= white & ~preceding(white, white_before)
        keeps_run = white | (digits & digits_alone)
        next_keeps_run = next_white | (next_digits & digits_alone)
        last = white & ~((keeps_run >> ONE) | (next_keeps_run << TOP))
        if (white & tails) | (next_white & next_tails):
            last = first_bytes(last, tails, next_white & ~(next_keeps_run >> ONE), next_tails)
        found |= last

        # An apostrophe that starts a word: an ending joins it, and what follows the ending starts a word.
        found = (found & ~no_start) | also_start
        no_start = also_start = NONE
        candidates = apostrophes & found
        while candidates:
            k = trailing_zeros(candidates)
            candidates &= candidates - ONE
            end = k + ending_length(text + np.uint64(at) + k, NONE)
            if end > k and np.int64(end) <= n - at:
                found &= ~(TWO << k)  # nothing for k = 63
                no_start = ONE if k == TOP else NONE
                if end < np.uint64(64):
                    found |= ONE << end
                else:
                    also_start |= ONE << (end - np.uint64(64))

        count = write_offsets(found & lowest_bits(n - at), at, starts, count)
        letters_before, digits_before, white_before = letters, digits, white
        blanks_before, other_before = blanks, other
    store_u32(starts + np.uint64(4 * count), np.uint64(n))
    return count

r"""cl100k's pattern as bit logic on 64 bytes at once, and its relatives llama3 and qwen2.

    '(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*
    |\s+(?![\s\S])|\s*[\r\n]|\s+(?!\S)|\s

Masks are those of `blocks`; "sign" is what is neither letter nor digit nor white, and "space" any white space but the
line ends \r and \n. Whatever the expression would try first, these are the places where a word starts (. is a blank):

  letters   the first of a run, unless the character before goes with it: a space, or a sign alone,
            which is one that starts a word itself                                                    .two|(a|.b|)
  digits    the first of a run and every third after it (qwen2: each)                                 123|45
  signs     the first of a run, unless a blank precedes it                                            a|,!?|.b|.!
  white     the first of a run, after the line ends that belong to the signs before it                !\n|..\n
            the space behind the last line end of a run                                               .\n|..|.a
            the last space of a run, if something follows: it goes with that, or alone                ..|.a  ..|\t|1

    text       s a y : . \n . . . ' H i ' \n 1 2 3 4 . ' s
    starts     1 . . 1 1  . 1 . 1 . 1 . 1  . 1 . . 1 1 . 1       say|:|.\n|..|.'|Hi|'\n|123|4|.'|s

And an apostrophe that is a sign alone takes one of the endings s, t, re, ... in capitals too; a word starts after it.

The space behind the last line end is the one place that depends on what comes later, as far away as the white space is
long: a line end further on takes it back. It is then the last start that was found, so it is taken back by dropping it.
"""

import numpy as np

from hornbook.tokenizer.kernels.blocks import (
    ALL,
    NONE,
    NOTHING_BEFORE,
    ONE,
    TOP,
    block_masks,
    first_bytes,
    lowest_bits,
    preceding,
    write_offsets,
)
from hornbook.tokenizer.kernels.machine import inner, leading_zeros, range_mask, store_u32, trailing_zeros
from hornbook.tokenizer.kernels.utf8 import ending_length

_CASE_BIT = np.uint64(0x20)


@inner
def split_cl100k(text, n, classes, starts, digits_alone, line_end_behind):
    """Write the offset of every word to the int32 at `starts`, then n; returns how many words there are.

    Args:
        text: address of n bytes, and PADDING more that are readable.
        n: how many bytes.
        classes: address of `class_table`.
        starts: address of n + 17 int32; all may be written.
        digits_alone: all ones for qwen2, where each digit is a word; else 0.
        line_end_behind: all ones for cl100k, where white space at the end of a text is one word, just as if a line end
            stood behind it (`\\s+(?![\\s\\S])`); 0 for llama3 and qwen2, where it ends with its last line end.
    """
    count = np.int64(0)
    letters_before = digits_before = signs_before = white_before = blanks_before = spaces_before = NONE
    free_ends_before = taken_before = NONE  # line ends, without and with signs before them
    passed = NONE  # 1 if this block begins behind a sign that stood alone
    n_digits = np.int64(0)  # in the last word, if that is digits and reaches into this block
    open_start = NONE  # 1 if the last start found is a space behind a line end, and only spaces have followed
    also_start = NONE  # behind the ending of an apostrophe near the end of the block before
    following = block_masks(text, np.int64(0), n, classes, NOTHING_BEFORE)
    for at in range(0, n + 1, 64):
        letters, digits, white, blanks, apostrophes, tails, _ = following
        following = block_masks(text, at + 64, n, classes, following)
        next_white, next_tails = following[2], following[5]
        inside = lowest_bits(n - at)
        line_ends = ~inside & line_end_behind
        if at < n:
            here = text + np.uint64(at)
            is_end = range_mask(here, 0, 0x0A, 0)
            is_end |= range_mask(here, 0, 0x0D, 0)
            line_ends |= is_end & inside
        signs = ~(letters | digits | white)
        spaces = white & ~line_ends

        # Signs: the first of a run, unless a blank precedes. Such a one alone goes with letters behind it; adding its
        # tails to the bit behind its first byte carries that bit over them, to the next character.
        first_sign = signs & ~preceding(signs, signs_before) & ~preceding(blanks, blanks_before)
        behind_first = (first_sign << ONE) | passed
        carried = tails + behind_first
        passed = (first_sign >> TOP) | (ONE if carried < tails else NONE)
        found = first_sign
        found |= letters & ~(preceding(letters, letters_before) | preceding(spaces, spaces_before) | (carried & ~tails))
        found |= also_start

        # Digits: by threes from the first of a run on.
        found |= digits & ~tails & digits_alone
        if digits & ~digits_alone:
            first_digit = digits & ~preceding(digits, digits_before)
            n_digits, thirds = _every_third(digits & ~tails, first_digit, n_digits)
            found |= thirds

        # White: the first of a run. Adding the first of the line ends behind a sign to them all carries a bit over its
        # run, which clears the run; they belong to the sign's word, so the run starts behind them.
        first_taken = line_ends & (preceding(signs, signs_before) | (taken_before >> TOP))
        taken = line_ends & ~(line_ends + first_taken)
        found |= white & ~taken & (preceding(taken, taken_before) | ~preceding(white, white_before))

        # The last space of a run, if something follows (behind the text all is white).
        last = spaces & ~((white >> ONE) | (next_white << TOP))
        if (spaces & tails) | (next_white & next_tails):
            last = first_bytes(last, tails, next_white & ~(next_white >> ONE), next_tails)
        found |= last

        # The space behind a line end, unless another line end is behind this and more spaces.
        free_ends = line_ends & ~taken
        behind_end = spaces & preceding(free_ends, free_ends_before)
        found |= behind_end
        if behind_end | open_start:
            ended = line_ends & preceding(spaces, spaces_before)
            while ended:
                below = (ended & (NONE - ended)) - ONE
                ended &= ended - ONE
                others = below & ~spaces
                found &= ~(behind_end & (ONE << _first_behind(others)))
                if open_start and not others:
                    count -= 1
            first_of_last_run = _first_behind(~spaces)
            if spaces != ALL:
                open_start = NONE
            if first_of_last_run < np.uint64(64):
                open_start |= (behind_end >> first_of_last_run) & ONE

        # Apostrophes: what follows an ending starts a word.
        also_start = NONE
        candidates = apostrophes & first_sign
        while candidates:
            k = trailing_zeros(candidates)
            candidates &= candidates - ONE
            length = ending_length(text + np.uint64(at) + k, _CASE_BIT)
            if length:
                end = k + length
                if end < np.uint64(64):
                    found |= ONE << end
                else:
                    also_start |= ONE << (end - np.uint64(64))

        count = write_offsets(found & inside, at, starts, count)
        letters_before, digits_before, signs_before = letters, digits, signs
        white_before, blanks_before, spaces_before = white, blanks, spaces
        free_ends_before, taken_before = free_ends, taken
    store_u32(starts + np.uint64(4 * count), np.uint64(n))
    return count


@inner
def _first_behind(mask):
    """The number of the bit above the highest one bit; 0 for an empty mask."""
    return np.uint64(64) - leading_zeros(mask)


@inner
def _every_third(digits, first, n_digits):
    """Starts of words among digits.

    Args:
        digits: their first bytes.
        first: those that begin a run.
        n_digits: how many digits the word has that may reach into this block.

    Returns:
        (how many digits the last word has, the starts).
    """
    found = NONE
    while digits:
        lowest = digits & (NONE - digits)
        digits ^= lowest
        if n_digits == 3 or lowest & first:
            n_digits = 0
            found |= lowest
        n_digits += 1
    return n_digits, found

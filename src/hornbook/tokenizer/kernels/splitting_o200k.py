r"""o200k's pattern, character by character.

    [^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    |[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
    |\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+

A word has an upper part and a lower part. Letters without case and marks may stand in either, so where one part ends
can depend on all that follows, and marks are signs besides. That is no work for masks, so this splitter is only a
sixth as fast as the others.

    text      . H T T P S e r v e r ' s . P D F s ! / \n / 1 2 3 4        . is a blank
    words    |. H T T P S e r v e r ' s|. P D F s|! / \n /|1 2 3|4|
"""

import numpy as np

from hornbook.tokenizer.kernels.machine import inner, load_u8, range_mask, store_u32, trailing_zeros
from hornbook.tokenizer.kernels.utf8 import KIND, LETTER, LOWER, NUMBER, UPPER, WHITE, class_at, ending_length

_OTHER = np.uint64(0)
_CASE_BIT = np.uint64(0x20)
_BLANK, _LF, _CR, _SLASH, _APOSTROPHE = (np.uint64(ord(c)) for c in " \n\r/'")


@inner
def split_o200k(text, n, classes, starts):
    """Write the offset of every word to the int32 at `starts`, then n; returns how many words there are.

    Args:
        text: address of n bytes, and PADDING more that are readable.
        n: how many bytes.
        classes: address of `class_table`.
        starts: address of n + 1 int32.
    """
    count = at = np.int64(0)
    while at < n:
        store_u32(starts + np.uint64(4 * count), np.uint64(at))
        count += 1
        byte = load_u8(text + np.uint64(at))
        entry, length = class_at(text, at, n, classes)
        if entry & KIND == NUMBER:
            at = _digits_end(text, at + length, n, classes)
            continue
        if entry & KIND == LETTER:
            end, _ = _word_end(text, at, n, classes)
            at = _ending_end(text, end, n)
            continue
        line_end = byte in (_LF, _CR)
        next_entry, _ = class_at(text, at + length, n, classes)
        if next_entry & (UPPER | LOWER) and not line_end:
            end, only_upper = _word_end(text, at + length, n, classes)
            if only_upper and entry & LOWER:  # a mark before capitals is the lower part of a word of its own
                end = at + length
            at = _ending_end(text, end, n)
        elif entry & LOWER:  # a mark with nothing of a word behind it
            at = _ending_end(text, at + length, n)
        elif entry & KIND == _OTHER or (byte == _BLANK and next_entry & KIND == _OTHER):
            at = _signs_end(text, at + length, n, classes)
        else:
            at = _white_end(text, at, n, classes)
    store_u32(starts + np.uint64(4 * count), np.uint64(n))
    return count


@inner
def _word_end(text, at, n, classes):
    """(end of the word whose letters and marks begin at `at`, whether it has an upper part only).

    The longest upper part is tried, with the lower part behind it. If there is none, the upper part gives characters
    back until the last can stand in a lower part too. If none can, the upper part is the word.
    """
    last_lower_end = np.int64(0)
    entry, length = class_at(text, at, n, classes)
    while entry & UPPER:
        at += length
        if entry & LOWER:
            last_lower_end = at
        entry, length = class_at(text, at, n, classes)
    if entry & LOWER:
        while entry & LOWER:
            # a to z are passed 64 at once: a loop of unknown length costs a mispredicted branch for each word
            a_to_z = range_mask(text + np.uint64(at + length), 0, 0x61, 25)
            at = min(n, at + length + np.int64(trailing_zeros(~a_to_z)))
            entry, length = class_at(text, at, n, classes)
        return at, False
    if last_lower_end:
        return last_lower_end, False
    return at, True


@inner
def _ending_end(text, at, n):
    """The end of 's, 't, 're, ... if that stands at `at`, else `at`."""
    if at < n and load_u8(text + np.uint64(at)) == _APOSTROPHE:
        end = at + np.int64(ending_length(text + np.uint64(at), _CASE_BIT))
        if end <= n:
            return end
    return at


@inner
def _digits_end(text, at, n, classes):
    """The end of up to two more digits from `at` on."""
    for _ in range(2):
        entry, length = class_at(text, at, n, classes)
        if entry & KIND != NUMBER:
            break
        at += length
    return at


@inner
def _signs_end(text, at, n, classes):
    """The end of the signs from `at` on, and of line ends and slashes behind them."""
    entry, length = class_at(text, at, n, classes)
    while entry & KIND == _OTHER:
        at += length
        entry, length = class_at(text, at, n, classes)
    while at < n:
        byte = load_u8(text + np.uint64(at))
        if byte not in (_LF, _CR, _SLASH):
            break
        at += 1
    return at


@inner
def _white_end(text, at, n, classes):
    """The end of the word that white space at `at` is: its last line end, or all but its last character."""
    start = last = at
    after_line_end = np.int64(0)
    while at < n:
        entry, length = class_at(text, at, n, classes)
        if entry & KIND != WHITE:
            break
        byte = load_u8(text + np.uint64(at))
        last = at
        at += length
        if byte in (_LF, _CR):
            after_line_end = at
    if after_line_end:
        return after_line_end
    if at == n or last == start:
        return at
    return last

"""What the encoder's kernels share: the tables of a vocabulary, and the memory of one thread, each as one record.

A record is a numpy structured scalar, which a kernel gets by address and reads as `tables.kind`. It holds addresses;
who makes a record keeps the arrays alive.
"""

import numpy as np

SHORTEST_MEDIUM, SHORTEST_LONG = 16, 32
"""Bytes from which a word is medium or long; each kind has a cache of its own."""
LONGEST_KEPT = 256
"""Bytes of the longest word that a cache keeps, and that is merged without a heap."""

BATCH = 256
"""Words whose cache lines are asked for before the first of them is read."""
SEGMENT = 1 << 16
"""Bytes of text that are split at once: what splitting writes stays in the second-level cache."""

NEIGHBOURS = 8
"""Buckets, counted from its home, in which a word is looked for."""

TABLES = np.dtype(
    [
        ("kind", np.int64),  # of the splitting pattern, see `splitting.PATTERN_KINDS`
        ("classes", np.uint64),  # uint8[0x110000], `splitting.class_table`
        ("byte_ids", np.uint64),  # uint32[256]: the id of each single byte
        ("byte_pairs", np.uint64),  # uint32[256 * 256]: the merge of two bytes, NONE if they do not merge
        ("pairs", np.uint64),  # uint64[2**k]: open addressing, left id 21 bits | right id 21 bits | merge 22 bits
        ("pairs_shift", np.uint64),  # 64 - k
        ("joined", np.uint64),  # uint32[n_merges]: the id that a merge makes
        ("whole_words", np.uint64),  # uint64[2**k, 2] (hash, id): tokens that merging does not reach; id ALL is empty
        ("whole_words_mask", np.uint64),  # 2**k - 1; k = 0 if there are none
        ("token_places", np.uint64),  # uint64[n_ids]: offset << 32 | length of a token in `token_bytes`
        ("token_bytes", np.uint64),  # all tokens in a row
    ]
)
"""Read-only, for all threads."""

STATE = np.dtype(
    [
        ("shift", np.uint64),  # 1: ids are written as uint16; 2: as uint32
        ("short", np.uint64),  # uint64[2**k + NEIGHBOURS, 8]: buckets of short words, see `word_cache`
        ("short_shift", np.uint64),  # 64 - k
        ("medium", np.uint64),  # uint64[2**k + NEIGHBOURS, 8]: one medium word each
        ("medium_shift", np.uint64),
        ("long", np.uint64),  # uint64[2**k + NEIGHBOURS, 4]: (hash, place in the ring, bytes, ids) of a long word
        ("long_shift", np.uint64),
        ("ring", np.uint64),  # uint64[2**k]: what has no room in the caches; the newest overwrites the oldest
        ("ring_words", np.uint64),  # 2**k
        ("ring_head", np.uint64),  # words ever written
        ("batch", np.uint64),  # uint64[BATCH, 3]: keys and bucket of each word of a batch
        ("ranks", np.uint64),  # uint32[LONGEST_KEPT]: rank << 8 | place of the pair that starts at a place
        ("following", np.uint64),  # uint16[LONGEST_KEPT + 1]: the next place that is in use
        ("preceding", np.uint64),  # uint16[LONGEST_KEPT + 1]: the one before
        ("symbols", np.uint64),  # uint32[capacity + 1]: the ids of the word being merged
        ("links", np.uint64),  # int32[capacity + 1, 2]: (next, previous) place in a word with a heap
        ("heap", np.uint64),  # uint64[3 * capacity]: rank << 32 | place
        ("splitting", np.uint64),  # scratch memory of `split`
        ("starts", np.uint64),  # int32[starts_entries(capacity)]: what `split` writes
        ("capacity", np.int64),  # bytes of the longest segment for which there is memory
        ("span", np.int64),  # the span that is being encoded
        ("position", np.int64),  # where in the text it goes on; -1: the span has not begun
        ("n_ids", np.int64),  # ids written so far
    ]
)
"""For one thread at a time."""

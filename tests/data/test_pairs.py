"""Pairs are documents 2i and 2i + 1, filled up to one length."""

import pytest

from data.conversations import Conversations
from hornbook.data.batch import PADDING_DOCUMENT
from hornbook.data.pairs import Pairs
from hornbook.errors import DataError

STREAM = Conversations([[1, 2, 3, 4], [1, 2, 5], [6, 7, 8], [6, 9, 9, 9, 9, 9, 9, 9, 9]], [2, 1, 1, 8])


def test_rows_of_a_pair_have_one_length():
    batch = Pairs(STREAM, context_length=12, lookahead=1, pad_id=0).batch([0, 1], [4, 5])
    assert batch.n_rows == 2
    assert batch.chosen.tokens.tolist() == [[1, 2, 3, 4, 0, 0, 0, 0, 0, 0], [6, 7, 8, 0, 0, 0, 0, 0, 0, 0]]
    assert batch.rejected.tokens.tolist() == [[1, 2, 5, 0, 0, 0, 0, 0, 0, 0], [6, 9, 9, 9, 9, 9, 9, 9, 9, 0]]
    assert batch.rejected.loss_mask.int().tolist() == [[0, 0, 1] + [0] * 7, [0] + [1] * 8 + [0]]
    assert batch.chosen.sample_ids.tolist() == batch.rejected.sample_ids.tolist() == [4, 5]
    assert batch.chosen.document_ids.tolist()[0] == [0] * 4 + [PADDING_DOCUMENT] * 6
    assert batch.chosen.positions.tolist()[1] == [0, 1, 2, *range(7)]
    assert batch.counted_rows() == 2
    assert batch.tokens_read(lookahead=1) == 3 + 2 + 2 + 8
    assert batch.blank().counted_rows() == 0


def test_a_short_micro_batch_has_short_rows():
    pairs = Pairs(STREAM, context_length=12, lookahead=1, pad_id=0)
    assert pairs.batch([0], [0]).chosen.tokens.shape == (1, 4)
    assert [piece.n_rows for piece in pairs.batch([0, 1], [0, 1]).cut(1)] == [1, 1]
    assert len(pairs) == 2
    assert pairs.place(1).document == 2


def test_what_are_no_pairs_or_do_not_fit():
    with pytest.raises(DataError, match="3 documents are not pairs"):
        Pairs(Conversations([[1], [2], [3]], 1), context_length=4, lookahead=0, pad_id=0)
    with pytest.raises(DataError, match=r"1 of 4 .* row of 8"):
        Pairs(STREAM, context_length=8, lookahead=0, pad_id=0)

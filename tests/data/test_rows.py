"""Rows hold whole conversations, each once; what fills them up counts only where it is asked for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.conversations import Conversations, drawn
from hornbook.data.batch import PADDING_DOCUMENT
from hornbook.data.loader import StepBatches, fixed_batches
from hornbook.data.order import SampleOrder
from hornbook.data.rows import Rows, best_fit, cut_length
from hornbook.errors import DataError

PAD, END = 50, 51


def rows_of(stream, **changes) -> Rows:
    given = {"context_length": 12, "lookahead": 0, "packing": True, "pad_id": PAD, "end_of_text_id": END}
    return Rows(stream, **(given | changes))


@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 30))
def test_best_fit_places_each_once_and_overfills_nothing(sizes, length):
    rows = best_fit(np.array(sizes, dtype=np.int64), length)
    assert sorted(item for row in rows for item in row) == list(range(len(sizes)))
    assert all(sum(sizes[item] for item in row) <= length for row in rows)
    assert rows == sorted(rows)
    # Whoever opens a row fits into none of those that are open, so no two rows are both at most half full.
    assert sum(2 * sum(sizes[item] for item in row) <= length for row in rows) <= 1


def test_rows_are_full():
    sizes = np.random.default_rng(0).integers(20, 200, 2000)
    rows = best_fit(sizes, 256)
    assert sizes.sum() / (256 * len(rows)) > 0.985  # next-fit in file order: 0.75


def test_the_picture():
    """That of the module's docstring."""
    rows = rows_of(Conversations([[1, 2, 3, 4, 5], [6, 7, 8, 9]]))
    batch = rows.batch([0], [17])
    _ = PADDING_DOCUMENT
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, PAD, PAD, PAD]]
    assert batch.document_ids.tolist() == [[0] * 5 + [1] * 4 + [_] * 3]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]]
    assert batch.loss_mask.int().tolist() == [[0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0]]
    assert batch.sample_ids.tolist() == [17]
    assert batch.tokens_read(lookahead=0) == 9
    assert rows.place(0).document == 0


def test_a_first_token_has_nothing_to_be_predicted_from():
    stream = Conversations([[1, 2, 3], [4, 5, 6]], trained=3)
    assert rows_of(stream, lookahead=1).batch([0], [0]).loss_mask.int().tolist() == [[0, 1, 1, 0, 1, 1] + [0] * 7]
    assert rows_of(stream).batch([0], [0]).loss_mask.int().tolist() == [[1] * 6 + [0] * 6]


def test_one_a_row_is_as_long_as_a_micro_batch_needs():
    stream = Conversations([[1] * 3, [2] * 4, [3] * 7, [4] * 12])
    rows = rows_of(stream, packing=False)
    assert [rows.batch([number], [0]).tokens.shape[1] for number in range(4)] == [3, 6, 9, 12]
    assert rows.batch([0, 2], [0, 1]).tokens.shape == (2, 9)
    assert rows_of(stream, packing=False, block_length=4).batch([0], [0]).tokens.shape[1] == 4
    ahead = rows_of(Conversations([[1] * 4, [2] * 5, [4] * 13]), packing=False, lookahead=1)
    assert [ahead.batch([number], [0]).tokens.shape[1] for number in range(3)] == [4, 7, 13]
    assert cut_length(1, 3, 13, 1) == 4


def test_answers_are_padded_and_the_padding_counts():
    stream = Conversations([[1, 2, 3, 4, 5], [6, 7, 8]])
    batch = rows_of(stream, answer_padding=2).batch([0], [0])
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5, END, END, 6, 7, 8, END, END]]
    assert batch.document_ids.tolist() == [[0] * 7 + [1] * 5]
    assert batch.positions.tolist() == [[*range(7), *range(5)]]
    assert batch.loss_mask.int().tolist() == [[0, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1]]
    whole = rows_of(stream, answer_padding="row", packing=False).batch([1], [0])
    assert whole.tokens.tolist() == [[6, 7, 8] + [END] * 9]
    assert whole.loss_mask.int().tolist() == [[0] + [1] * 11]
    long = rows_of(Conversations([[1] * 11]), answer_padding=5).batch([0], [0])  # as far as there is room
    assert long.tokens.tolist() == [[1] * 11 + [END]]
    with pytest.raises(DataError, match=r"answer_padding = 2 needs an end-of-text token"):
        rows_of(stream, answer_padding=2, end_of_text_id=None)


def test_nothing_behind_an_answer_that_is_padded_is_left_out():
    """A template may put a line break behind the stop token."""
    stream = Conversations([[1, 2, 3, 9], [4, 5, 6, 9]])
    stream._mask = np.array([False, True, True, False] * 2)
    assert rows_of(stream).batch([0], [0]).loss_mask.int().tolist() == [[0, 1, 1, 0] * 2 + [0] * 4]
    batch = rows_of(stream, answer_padding=2).batch([0], [0])
    assert batch.tokens.tolist() == [[1, 2, 3, 9, END, END, 4, 5, 6, 9, END, END]]
    assert batch.loss_mask.int().tolist() == [[0, 1, 1, 1, 1, 1] * 2]


def test_what_does_not_fit_is_told():
    stream = Conversations([[1] * 13, [2] * 5, [3] * 20])
    with pytest.raises(DataError, match=r"made up \[train\]: 2 of 3 conversations .* row of 12 .* longest has 20"):
        rows_of(stream)
    assert len(rows_of(Conversations([[1] * 13]), lookahead=1)) == 1


@pytest.mark.parametrize("packing", [True, False])
def test_every_conversation_is_read_once_an_epoch(packing):
    stream = drawn(101, most=12, vocabulary=40)
    rows = rows_of(stream, packing=packing)
    order = SampleOrder(len(rows), seed=3)
    batches = StepBatches(rows, order, samples_per_step=1, micro_batch_size=1)
    found = []
    for step in range(len(rows)):
        (batch,) = batches.step(step)
        documents = range(int(batch.document_ids.max()) + 1)
        found += [batch.tokens[batch.document_ids == document].tolist() for document in documents]
        (origin,) = batches.rows(step)
        assert origin.document == rows.rows[order.window(step)][0]
    assert sorted(found) == sorted(stream.documents)


def test_held_out_rows_are_shared_out():
    rows = rows_of(drawn(40, most=12, vocabulary=40))
    shares = [fixed_batches(rows, n_samples=99, batch_size=3, rank=rank, world_size=2) for rank in range(2)]
    samples = [sample for share in shares for batch in share for sample in batch.sample_ids.tolist()]
    assert samples == list(range(len(rows)))
    assert sum(batch.tokens_read(lookahead=0) for share in shares for batch in share) == rows.stream.n_tokens
    assert not torch.cat([batch.blank().loss_mask for batch in shares[0]]).any()


@pytest.mark.parametrize("packing", [True, False])
def test_the_end_of_a_row_can_be_kept_free(packing):
    """What reads a row without its last place finds every conversation whole, however its batch is cut."""
    sizes = [12, 6, 6, 4, 3, 2]
    given = {"lookahead": 1, "packing": packing, "keeps_end_free": True}
    rows = rows_of(Conversations([[7] * size for size in sizes]), **given)
    for number in range(len(rows)):
        batch = rows.batch([number], [0])
        assert int(batch.document_ids[0, -1]) == PADDING_DOCUMENT
        assert int((batch.document_ids >= 0).sum()) == sum(sizes[document] for document in rows.rows[number])
    with pytest.raises(DataError, match="longer than a row of 12"):
        rows_of(Conversations([[7] * 13]), **given)

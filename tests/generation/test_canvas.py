"""How rows are cut into blocks and blocks into steps, what is decided, and what does not fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbook.errors import GenerationError
from hornbook.generation.canvas import Layout, step_shares
from hornbook.generation.remasking import transfer_counts

MASK = 9


def layout(**changes) -> Layout:
    return Layout(
        **{
            "block_length": 4,
            "denoise_steps": None,
            "context_length": 16,
            "vocab_size": 10,
            "mask_id": MASK,
            "is_block_causal": False,
            "with_unprompted": False,
            **changes,
        }
    )


def canvas(prompt, *, new=6, **changes):
    return layout(**changes).of_prompt(prompt, 0, number=0, max_new_tokens=new)


def test_blocks_of_full_attention_begin_where_the_prompt_ends():
    row = canvas([1, 2, 3])
    assert [(block.start, block.end) for block in row.blocks] == [(3, 7), (7, 9)]
    assert [block.holes for block in row.blocks] == [(3, 4, 5, 6), (7, 8)]
    assert row.tokens == [1, 2, 3] + [MASK] * 6


def test_causal_blocks_lie_where_training_had_them():
    row = canvas([1, 2, 3], is_block_causal=True)
    assert [(block.start, block.end) for block in row.blocks] == [(0, 4), (4, 8), (8, 12)]
    assert [block.holes for block in row.blocks] == [(3,), (4, 5, 6, 7), (8, 9, 10, 11)]
    assert (len(row.tokens), row.end) == (12, 9)
    for position in (3, 4, 5, 6, 7, 8):
        row.decide(position, 1, 0.0)
    assert row.is_settled(2, ())  # what was not asked for may stay masked
    assert row.finish_block(2, ()) == [8]


def test_a_causal_block_ends_with_the_context():
    row = canvas([1, 2, 3], new=7, is_block_causal=True, context_length=10)
    assert (row.blocks[-1].start, row.blocks[-1].end) == (8, 10)


def test_holes_of_a_template():
    template = [1, None, None, 2, None, 3, None, None]
    row = layout().of_template(template, 0, number=0)
    assert [block.holes for block in row.blocks] == [(1, 2, 4, 6), (7,)]
    assert [(block.start, block.end) for block in row.blocks] == [(1, 7), (7, 8)]
    assert row.decided == [token is not None for token in template]


def test_a_mask_token_in_the_prompt_is_a_token():
    row = canvas([MASK, 1])
    assert row.open(0) == [2, 3, 4, 5]
    row.decide(3, MASK, 0.0)  # and one that is filled in is decided
    assert row.open(0) == [2, 4, 5]


def test_a_stop_token_settles_a_block_once_all_before_it_is_decided():
    row = canvas([1])
    row.decide(2, 5, 0.0)
    assert not row.is_settled(0, {5})
    row.decide(1, 2, 0.0)
    assert row.is_settled(0, {5})
    assert row.finish_block(0, {5}) == [1, 2]
    assert row.reason == "stop"


def test_without_its_prompt_a_row_has_masks_there_and_the_same_answers():
    row = canvas([1, 2], with_unprompted=True)
    row.decide(3, 7, 0.0)
    assert row.unprompted.tokens[:4] == [MASK, MASK, MASK, 7]
    assert row.tokens[:4] == [1, 2, MASK, 7]


@pytest.mark.parametrize(
    ("n", "steps", "counts"), [(5, 2, (3, 2)), (4, 2, (2, 2)), (128, 100, (2,) * 28 + (1,) * 72), (3, 3, (1, 1, 1))]
)
def test_steps_that_do_not_divide_give_the_first_ones_more(n, steps, counts):
    assert transfer_counts(n, steps) == counts


def test_equal_blocks_share_steps_equally():
    assert step_shares([32] * 4, 64) == [16] * 4
    assert step_shares([4, 4, 2], None) == [4, 4, 2]
    assert step_shares([4, 4, 4], 7) == [2, 2, 3]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.data())
def test_every_block_has_a_step_and_no_step_is_idle(sizes, data):
    steps = data.draw(st.integers(len(sizes), sum(sizes)))
    shares = step_shares(sizes, steps)
    assert all(1 <= share <= size for share, size in zip(shares, sizes, strict=True))
    assert all(min(transfer_counts(size, share)) >= 1 for share, size in zip(shares, sizes, strict=True))
    assert sum(shares) == steps
    if len(set(sizes)) == 1:
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: canvas([1] * 12, new=5), r"the largest that fits is 4"),
        (lambda: canvas([1] * 16), r"no room in the model's context_length = 16"),
        (lambda: canvas([1, 10]), r"ids 1 to 10, expected 0 to 9"),
        (lambda: canvas([1], denoise_steps=1), r"denoise_steps = 1 does not fit 6 tokens in 2 blocks .*choose 2 to 6"),
        (lambda: canvas([1], denoise_steps=7), r"choose 2 to 6, or another block_length$"),
        (lambda: canvas([1], denoise_steps=7, is_block_causal=True), r"choose 2 to 6$"),
        (lambda: layout().of_template([1, 2], 0, number=3), r"template 3 has no hole"),
        (lambda: layout().of_template([None] * 17, 0, number=0), r"0 tokens of text and 17 in holes.* fits is 16"),
        (lambda: layout().of_template([1] * 9 + [None] * 8, 0, number=0), r"9 tokens of text .* fits is 7"),
    ],
)
def test_what_does_not_fit_is_refused(ask, message):
    with pytest.raises(GenerationError, match=message):
        ask()

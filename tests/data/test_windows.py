"""Windows cover the stream, end exactly at its end, and with stride = context_length score every token once."""

import numpy as np
import pytest

from hornbook.data.windows import Windows
from hornbook.errors import DataError


@pytest.mark.parametrize("n_tokens", [5, 6, 8, 9, 13, 14, 30])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 7])
def test_count_and_cover(stream_of, n_tokens, stride):
    """(N - W) // stride + 1 windows, and one more that ends at N if they leave a remainder."""
    windows = Windows(stream_of([range(n_tokens)]), context_length=4, stride=stride, lookahead=1)
    regular, remainder = divmod(n_tokens - 5, stride)
    assert len(windows) == regular + 1 + (remainder != 0)
    starts = [windows.start(i) for i in range(len(windows))]
    assert starts[: regular + 1] == [i * stride for i in range(regular + 1)]
    assert starts[-1] == n_tokens - 5
    for i, start in enumerate(starts):
        assert windows[i].dtype == np.int64
        assert windows[i].tolist() == list(range(start, start + 5))


@pytest.mark.parametrize("n_tokens", [9, 17, 41])
def test_every_token_but_the_first_is_a_target_once(stream_of, n_tokens):
    windows = Windows(stream_of([range(n_tokens)]), context_length=8, stride=8, lookahead=1)
    targets = [token for i in range(len(windows)) for token in windows[i][1:].tolist()]
    assert targets == list(range(1, n_tokens))


def test_a_stream_of_exactly_one_window(stream_of):
    assert len(Windows(stream_of([range(4)]), context_length=4, stride=4, lookahead=0)) == 1


def test_a_stream_that_is_too_short(stream_of):
    with pytest.raises(DataError, match=r"\[train\]: 8 tokens, but one window needs 9 \(context_length 8 \+ 1\)"):
        Windows(stream_of([range(8)]), context_length=8, stride=8, lookahead=1)


@pytest.mark.parametrize("index", [-1, 2])
def test_index_outside(stream_of, index):
    windows = Windows(stream_of([range(9)]), context_length=4, stride=4, lookahead=1)
    with pytest.raises(IndexError, match=r"outside 0\.\.1"):
        windows[index]

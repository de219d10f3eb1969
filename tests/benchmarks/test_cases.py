"""The benchmark's own promise: both sides compute the same thing. Speed is never a test."""

import pytest

from hornbook.benchmarks.cases import decode_rows, tokenizer_rows, train_rows

pytestmark = pytest.mark.medium


def test_each_case_runs_and_both_sides_agree():
    for rows in (tokenizer_rows(n_documents=20, blocks=1), train_rows(d_model=64, blocks=1)):
        assert all(row.ratio.median > 0 and row.amount > 0 for row in rows)
    (row,) = decode_rows(d_model=64, new_tokens=8, blocks=1)
    assert row.unit == "tokens"

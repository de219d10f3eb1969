"""Bits go to a file in pieces of any length and come back from any place."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hornbook.data.loss_mask import LossMask, LossMaskWriter
from hornbook.errors import DataError
from hornbook.storage.digest import file_sha256


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.booleans(), max_size=20), max_size=8), st.data())
def test_what_is_written_is_read(tmp_path, pieces, data):
    writer = LossMaskWriter(tmp_path, "valid")
    for piece in pieces:
        writer.append(np.array(piece, dtype=bool))
    digest = writer.finish()
    bits = [bit for piece in pieces for bit in piece]
    path = tmp_path / "valid-loss-mask.bin"
    assert path.read_bytes() == np.packbits(np.array(bits, dtype=bool)).tobytes()
    assert (digest, writer.n_trained) == (file_sha256(path), sum(bits))
    start = data.draw(st.integers(0, len(bits)))
    count = data.draw(st.integers(0, len(bits) - start))
    read = LossMask(tmp_path, "valid", len(bits)).read(start, count)
    assert (read.dtype, read.tolist()) == (bool, bits[start : start + count])


def test_the_first_token_is_in_the_highest_bit(tmp_path):
    writer = LossMaskWriter(tmp_path, "train")
    writer.append(np.array([True, False, False, True, False, False, False, False, True]))
    writer.finish()
    assert (tmp_path / "train-loss-mask.bin").read_bytes() == bytes([0b10010000, 0b10000000])


def test_a_file_of_another_length_is_damage(tmp_path):
    (tmp_path / "train-loss-mask.bin").write_bytes(b"ab")
    for n_tokens in (8, 17):
        with pytest.raises(DataError, match=r"train-loss-mask\.bin: 2 bytes, but the index says"):
            LossMask(tmp_path, "train", n_tokens)


def test_text_has_no_mask_and_counts_whole(stream_of):
    stream = stream_of([[1, 2, 3], [4, 5]])
    assert stream.loss_mask(1, 3).tolist() == [True] * 3
    assert [stream.document_span(i) for i in range(2)] == [(0, 3), (3, 5)]
    for start, count in ((-1, 1), (3, 3)):
        with pytest.raises(IndexError, match=r"are outside 0\.\.5"):
            stream.loss_mask(start, count)
    with pytest.raises(IndexError, match=r"document 2 is outside 0\.\.1"):
        stream.document_span(2)

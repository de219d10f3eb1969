"""A token stream reads what was appended, wherever the shard files end, and a writer goes on from its last commit."""

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hornbook.data.shards import ShardWriter, TokenStream
from hornbook.errors import DataError
from hornbook.storage.disk import StorageError

documents_of_ids = st.lists(st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=20), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=documents_of_ids, shard_tokens=st.integers(1, 30), data=st.data())
def test_reads_what_was_written(stream_of, documents, shard_tokens, data):
    joined = [token for document in documents for token in document]
    stream = stream_of(documents, shard_tokens=shard_tokens)
    assert stream.n_tokens == len(joined)
    start = data.draw(st.integers(0, len(joined)))
    count = data.draw(st.integers(0, len(joined) - start))
    piece = stream.read(start, count)
    assert piece.dtype == np.int64
    assert piece.tolist() == joined[start : start + count]
    assert [stream.document(i).tolist() for i in range(stream.n_documents)] == documents
    assert stream.document_starts.tolist() == np.cumsum([0, *map(len, documents[:-1])]).tolist()


def test_uint32_keeps_large_ids(stream_of):
    assert stream_of([[0, 2**32 - 1]], dtype="uint32").read(0, 2).tolist() == [0, 2**32 - 1]


def test_shard_files_are_full_but_for_the_last(stream_of, tmp_path):
    stream_of([list(range(10))], shard_tokens=4)
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("train-0*.bin"))]
    assert sizes == [8, 8, 4]


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, 11), (10, 1), (3, -1)])
def test_reading_outside_is_an_error(stream_of, start, count):
    with pytest.raises(IndexError, match=r"outside 0\.\.10"):
        stream_of([list(range(10))]).read(start, count)


def test_a_place_is_a_file_a_token_and_a_document(stream_of, tmp_path):
    stream = stream_of([[1, 2, 3], [4], [5, 6, 7, 8]], shard_tokens=3)
    places = [stream.place(position) for position in range(8)]
    assert [place.document for place in places] == [0, 0, 0, 1, 2, 2, 2, 2]
    assert [place.token for place in places] == [0, 1, 2, 0, 1, 2, 0, 1]
    files = [tmp_path / f"train-{number:05d}.bin" for number in (0, 0, 0, 1, 1, 1, 2, 2)]
    assert [place.shard for place in places] == [str(path) for path in files]


@pytest.mark.parametrize("bad", [8, 2**15])
def test_a_token_that_is_nobody_s_is_damage(stream_of, tmp_path, bad):
    stream = stream_of([[1, 2], [3, bad, 7]], shard_tokens=3)
    checked = TokenStream(tmp_path, "train", stream.index, vocab_size=8)
    assert checked.read(0, 3).tolist() == [1, 2, 3]
    with pytest.raises(DataError, match=rf"train-00001\.bin: id {bad} at position 0, but the ids end at 7"):
        checked.read(2, 3)


def test_a_negative_token_is_damage(stream_of, tmp_path):
    stream = stream_of([[1, -2]], dtype="int32")
    with pytest.raises(DataError, match="id -2 at position 1"):
        TokenStream(tmp_path, "train", stream.index, vocab_size=8).read(0, 2)


@pytest.mark.skipif(os.name == "nt", reason="a mapped file cannot be changed there")
def test_a_file_that_shrinks_or_vanishes_is_an_error_and_not_the_end_of_the_process(stream_of, tmp_path):
    stream = stream_of([list(range(10))], shard_tokens=4)
    os.truncate(tmp_path / "train-00001.bin", 6)
    (tmp_path / "train-00002.bin").unlink()
    assert stream.read(0, 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match="6 bytes, but the index says 8"):
        stream.read(0, 10)
    with pytest.raises(DataError, match="No such file"):
        stream.read(8, 2)


def test_unknown_document(stream_of):
    with pytest.raises(IndexError, match=r"document 1 is outside 0\.\.0"):
        stream_of([[1, 2]]).document(1)


def append(writer, document):
    writer.append(np.array(document, dtype=np.uint16), np.array([len(document)]), text_bytes=len(document))


@pytest.mark.parametrize("committed_after", [0, 1, 3, 5])
@pytest.mark.parametrize("shard_tokens", [1, 4, 100])
def test_goes_on_from_a_commit(tmp_path, committed_after, shard_tokens):
    """Whatever was appended after the commit is cut off: the files end up the same as without the interruption."""
    documents = [list(range(i, i + 3 + i)) for i in range(6)]
    form = {"dtype": "uint16", "shard_tokens": shard_tokens}
    (unbroken := tmp_path / "unbroken").mkdir()
    with ShardWriter(unbroken, "train", **form) as writer:
        for document in documents:
            append(writer, document)
        expected = writer.finish()
    (broken := tmp_path / "broken").mkdir()
    with ShardWriter(broken, "train", **form) as writer:
        for document in documents[:committed_after]:
            append(writer, document)
        committed = writer.commit()
        for junk in ([60_000] * 9, [60_001] * 20):  # reaches shards that the right content does not fill in that way
            append(writer, junk)
        writer.commit()
    with ShardWriter(broken, "train", **form, committed=committed) as writer:
        for document in documents[committed_after:]:
            append(writer, document)
        assert writer.finish() == expected
    assert {path.name: path.read_bytes() for path in broken.iterdir()} == {
        path.name: path.read_bytes() for path in unbroken.iterdir()
    }


def test_committed_bytes_that_are_gone_are_an_error(tmp_path):
    form = {"dtype": "uint16", "shard_tokens": 100}
    with ShardWriter(tmp_path, "train", **form) as writer:
        append(writer, [1, 2, 3])
        committed = writer.commit()
    (tmp_path / "train-00000.bin").write_bytes(b"")
    (tmp_path / "train-offsets.bin").write_bytes(b"")
    with pytest.raises(DataError, match="8 were committed"):
        ShardWriter(tmp_path, "train", **form, committed=committed)


def test_an_empty_split_has_no_shards(tmp_path):
    with ShardWriter(tmp_path, "valid", dtype="uint16", shard_tokens=4) as writer:
        index = writer.finish()
    stream = TokenStream(tmp_path, "valid", index)
    assert (index.shards, stream.n_tokens, stream.n_documents, stream.read(0, 0).tolist()) == ((), 0, 0, [])


@pytest.mark.parametrize("change", ["truncate", "grow", "remove"])
def test_a_file_of_another_size_is_refused(stream_of, tmp_path, change):
    stream_of([list(range(10))], shard_tokens=100)
    with ShardWriter(tmp_path, "train", dtype="uint16", shard_tokens=100) as writer:
        append(writer, list(range(10)))
        index = writer.finish()
    path = tmp_path / "train-00000.bin"
    match change:
        case "truncate":
            path.write_bytes(path.read_bytes()[:-2])
        case "grow":
            path.write_bytes(path.read_bytes() + b"xx")
        case "remove":
            path.unlink()
    with pytest.raises(DataError, match=r"train-00000\.bin.*prepare"):
        TokenStream(tmp_path, "train", index)


def test_a_full_disk_is_a_storage_error(tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    with ShardWriter(tmp_path, "train", dtype="uint16", shard_tokens=100) as writer:
        append(writer, [1])
        monkeypatch.setattr("hornbook.data.shards.sync_file", full)
        with pytest.raises(StorageError, match=r"train-00000\.bin: cannot be written .*the disk is full"):
            writer.commit()

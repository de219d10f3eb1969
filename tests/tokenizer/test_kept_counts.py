import pytest

from hornbook.tokenizer.kept_counts import KeptCounts, read_counts, write_counts
from hornbook.tokenizer.word_counts import WordCounts


@pytest.fixture
def kept():
    return KeptCounts(WordCounts.of({b"the": 7, b" cat": 2**40}), 2, 1, b"the cat")


def same(one, other):
    return one.words.mapping() == other.words.mapping() and one[1:] == other[1:]


def test_what_is_kept_is_read(tmp_path, kept):
    write_counts(tmp_path / "new" / "x.counts", kept, "digest")
    assert same(read_counts(tmp_path / "new" / "x.counts", "digest"), kept)
    assert read_counts(tmp_path / "new" / "x.counts", "other") is None
    assert read_counts(tmp_path / "absent.counts", "digest") is None


@pytest.mark.medium
@pytest.mark.parametrize("damage", [1, 0x80, 0xFF])
def test_a_damaged_file_is_as_good_as_none(tmp_path, kept, damage):
    path = tmp_path / "x.counts"
    write_counts(path, kept, "digest")
    data = path.read_bytes()
    unreadable = 0
    for i in range(len(data)):
        path.write_bytes(data[:i] + bytes([data[i] ^ damage]) + data[i + 1 :])
        found = read_counts(path, "digest")
        unreadable += found is None
        assert found is None or same(found, kept)  # a bit that tells nothing, as the time of writing
    assert unreadable > len(data) // 2


def test_a_file_that_was_cut_short_is_as_good_as_none(tmp_path, kept):
    path = tmp_path / "x.counts"
    write_counts(path, kept, "digest")
    data = path.read_bytes()
    for n in range(len(data)):
        path.write_bytes(data[:n])
        assert read_counts(path, "digest") is None

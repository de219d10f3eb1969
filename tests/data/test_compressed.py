"""Whatever is good before a damage comes out of a compressed file, and reading ahead changes nothing else."""

import gzip
import io
import threading
import tracemalloc
import zlib

import pytest
import zstandard

from hornbook.data.compressed import ahead, gunzipped, unzstd

RECORDS = "".join(f"record {i * 7919 % 10007}\n" for i in range(300)).encode()
MEMBERS = gzip.compress(RECORDS[:1000]) + gzip.compress(b"") + gzip.compress(RECORDS[1000:])
STARTS = (0, len(gzip.compress(RECORDS[:1000])), len(gzip.compress(RECORDS[:1000])) + len(gzip.compress(b"")))


def read(packed, block_bytes=512):
    """What came out, the largest block, and the error that followed."""
    out, largest = b"", 0
    try:
        for block in gunzipped(io.BytesIO(packed), block_bytes):
            out += block
            largest = max(largest, len(block))
    except (EOFError, zlib.error) as error:
        return out, largest, error
    return out, largest, None


def byte_by_byte(packed):
    """All that zlib can read of one member."""
    member, out = zlib.decompressobj(31), b""
    try:
        for i in range(len(packed)):
            out += member.decompress(packed[i : i + 1])
    except zlib.error:
        return out
    return out


def test_members_in_a_row():
    for packed in (MEMBERS, MEMBERS + bytes(600), b""):
        assert read(packed) == (RECORDS if packed else b"", 512 if packed else 0, None)


def test_a_truncated_file_gives_all_that_is_there():
    for size in range(STARTS[2] + 1, len(MEMBERS), 7):
        out, _, error = read(MEMBERS[:size])
        assert isinstance(error, EOFError)
        assert out == RECORDS[:1000] + byte_by_byte(MEMBERS[STARTS[2] : size])
        assert RECORDS.startswith(out)
    assert len(out) == len(RECORDS)


@pytest.mark.parametrize("place", [STARTS[2] + 300, len(MEMBERS) - 6])
def test_a_damaged_file_gives_all_before_the_damage(place):
    broken = bytearray(MEMBERS)
    broken[place : place + 4] = b"\xff\xff\xff\xff"
    out, _, error = read(bytes(broken))
    assert isinstance(error, zlib.error)
    assert out == RECORDS[:1000] + byte_by_byte(bytes(broken[STARTS[2] :]))
    assert out.startswith(RECORDS[:1500])


def test_what_is_no_gzip_behind_a_member():
    out, _, error = read(MEMBERS + b"something else")
    assert (out, type(error)) == (RECORDS, zlib.error)


def test_blocks_stay_small_whatever_the_ratio():
    packed = gzip.compress(bytes(32 << 20))
    tracemalloc.start()
    assert sum(len(block) for block in gunzipped(io.BytesIO(packed), 1 << 16)) == 32 << 20
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_truncated_frame_gives_the_frames_before_it():
    frames = [zstandard.ZstdCompressor().compress(RECORDS[i : i + 1000]) for i in range(0, 3000, 1000)]
    blocks = unzstd(io.BytesIO(b"".join(frames)[:-1]))
    assert b"".join([next(blocks), next(blocks)]) == RECORDS[:2000]
    with pytest.raises(EOFError):
        list(blocks)


def test_ahead_gives_the_same_and_the_error_last():
    def items():
        yield from range(10)
        raise EOFError

    given = ahead(items())
    assert [next(given) for _ in range(10)] == list(range(10))
    with pytest.raises(EOFError):
        next(given)
    assert list(ahead(iter([]))) == []


def test_ahead_reads_few_and_ends_when_it_is_left():
    made = []
    items = ahead((made.append(i) or i for i in range(100)), count=3)
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert 2 <= len(made) <= 5
    assert not any(thread.name.startswith("decompress") for thread in threading.enumerate())

"""Text files become documents byte for byte, with the place that each comes from, in bounded memory."""

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from hornbook.config.data import TextSource
from hornbook.data import files
from hornbook.data.documents import Gate, SourceReport
from hornbook.data.sources import open_blocks
from hornbook.data.text_source import between, lines, paragraphs, text_blocks
from hornbook.errors import DataError

SEPARATOR = "<|endoftext|>"


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("separator", "data", "expected"),
    [
        ("file", b"a\r\nb\n\nc\n", [(b"a\r\nb\n\nc\n", 1)]),
        ("line", b"a\nb\r\n\n  \nc", [(b"a", 1), (b"b", 2), (b"c", 5)]),
        ("line", b"a\rb\n", [(b"a\rb", 1)]),
        ("blank_line", b"\n\na\nb\n\n \r\n\nc\r\nd\r\n\r\ne", [(b"a\nb", 3), (b"c\r\nd", 8), (b"e", 11)]),
        (SEPARATOR, b"a\nb<|endoftext|>c\n<|endoftext|>\n<|endoftext|>d", [(b"a\nb", 1), (b"c\n", 2), (b"d", 4)]),
        (SEPARATOR, b"<|endoftext|>a<|endoftext|>", [(b"a", 1)]),
        ("\n---\n", b"a\n---\nb\n---\n\n", [(b"a", 1), (b"b", 3)]),
        ("☃", "öne☃twö".encode(), [("öne".encode(), 1), ("twö".encode(), 1)]),
    ],
)
def test_separators(tmp_path, read, separator, data, expected):
    path = write(tmp_path / "a.txt", data)
    documents, report = read(TextSource(paths=(path,), document_separator=separator))
    assert [(document.text, document.where) for document in documents] == [(t, f"{path}:{n}") for t, n in expected]
    assert report.documents == len(expected)
    assert report.text_bytes == sum(len(text) for text, _ in expected)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
@pytest.mark.parametrize("separator", ["line", "blank_line"])
def test_line_separators_of_unicode_are_ordinary(tmp_path, read, separator, character):
    """`str.splitlines` would cut here; only \\n ends a line."""
    text = f"a{character}b{character}{character}c".encode()
    documents, _ = read(TextSource(paths=(write(tmp_path / "a.txt", text),), document_separator=separator))
    assert [document.text for document in documents] == [text]


@given(st.lists(st.sampled_from([b"a", b"-", b"->", b">", b"\n", b"--->"])), st.integers(1, 9))
def test_a_literal_may_straddle_any_two_reads(parts, chunk):
    data = b"".join(parts)
    blocks = [data[i : i + chunk] for i in range(0, len(data), chunk)]
    pieces = [piece for p in between(blocks, b"-->") for piece in zip(p.texts, p.lines, p.offsets, strict=True)]
    assert [text for text, _, _ in pieces] == [piece for piece in data.split(b"-->") if piece and not piece.isspace()]
    for text, line, offset in pieces:
        assert data[offset : offset + len(text)] == text
        assert line == 1 + data.count(b"\n", 0, offset)


def line_by_line(data):
    """Lines and paragraphs as (text, line, offset), by a loop that nobody can misread."""
    lines, paragraphs, held, offset = [], [], [], 0
    for number, line in enumerate([*io.BytesIO(data), b"\n"], start=1):
        if not line.isspace():
            lines.append((without_end(line), number, offset))
            held.append((line, number, offset))
        elif held:
            paragraphs.append((without_end(b"".join(line for line, _, _ in held)), *held[0][1:]))
            held = []
        offset += len(line)
    return lines, paragraphs


def without_end(text):
    return text.removesuffix(b"\n").removesuffix(b"\r") if text.endswith(b"\n") else text


@given(
    st.lists(st.sampled_from([b"a", b"bc", b" ", b"\t", b"\r", b"\n", b"\n", b"\r\n", b"\x0b", b"\xff"])),
    st.integers(1, 9),
)
def test_blocks_may_end_anywhere(parts, size):
    data = b"".join(parts)
    blocks = [data[i : i + size] for i in range(0, len(data), size)]
    for split, expected in zip((lines, paragraphs), line_by_line(data), strict=True):
        assert [x for p in split(blocks) for x in zip(p.texts, p.lines, p.offsets, strict=True)] == expected


@pytest.mark.parametrize("separator", ["line", "blank_line", SEPARATOR])
def test_nothing_behind_the_last_wanted_document_is_looked_at(tmp_path, separator):
    mark = {"line": b"\n", "blank_line": b"\n\n"}.get(separator, separator.encode())
    path = write(tmp_path / "a.txt", mark.join([b"one", b"bad \xff", b"two", b"three", b"bad \xff", b"four"]))
    for wanted, bad in ((1, 0), (2, 1), (3, 1), (4, 2), (9, 2)):
        report = SourceReport()
        source = TextSource(paths=(path,), document_separator=separator)
        blocks = list(open_blocks(source, on_error="skip", report=report, max_documents=wanted))
        texts = [text for block in blocks for text in block.texts]
        assert texts == [b"one", b"two", b"three", b"four"][:wanted]
        assert (report.documents, report.skipped.get("invalid UTF-8", 0)) == (len(texts), bad)


def test_an_empty_separator(tmp_path, read):
    with pytest.raises(DataError, match="document_separator is empty"):
        read(TextSource(paths=(write(tmp_path / "a.txt", b"a"),), document_separator=""))


@pytest.mark.parametrize("separator", ["file", "line", "blank_line", SEPARATOR])
def test_compressed_files_hold_the_same_documents(tmp_path, read, separator):
    data = "one\n\ntwo<|endoftext|>thrée\r\n".encode() * 50
    frames = zstandard.ZstdCompressor().compress(data[:700]) + zstandard.ZstdCompressor().compress(data[700:])
    paths = [
        write(tmp_path / "a.txt", data),
        write(tmp_path / "a.txt.gz", gzip.compress(data)),
        write(tmp_path / "a.txt.zst", frames),
    ]
    found = [read(TextSource(paths=(path,), document_separator=separator))[0] for path in paths]
    texts = [[(d.text, d.where.rpartition(":")[2]) for d in documents] for documents in found]
    assert texts[0] == texts[1] == texts[2]
    assert len(texts[0]) > 0


def test_a_folder_means_its_text_files_in_sorted_order(tmp_path, read):
    for name in ("b/z.txt", "b/a.md", "a.txt", "c.txt.gz", "b/.hidden.txt", ".git/x.txt", "photo.png", "B.TXT"):
        data = name.encode()
        write(tmp_path / name, gzip.compress(data) if name.endswith(".gz") else data)
    documents, _ = read(TextSource(paths=(tmp_path,)))
    assert [document.text for document in documents] == [b"B.TXT", b"a.txt", b"b/a.md", b"b/z.txt", b"c.txt.gz"]


def test_a_file_that_is_named_needs_no_known_ending(tmp_path, read):
    assert read(TextSource(paths=(write(tmp_path / "README", b"x"),)))[0][0].text == b"x"


BAD = {
    "invalid UTF-8": (b"ok\nab\xffc\n", r"bad\.txt:2: byte 0xff at offset 5 is not UTF-8 .*convert"),
    "empty file": (b"", r"bad\.txt: the file holds no text"),
}


@pytest.mark.parametrize(("reason", "data", "message"), [(r, *rest) for r, rest in BAD.items()])
def test_bad_files_stop_or_are_counted(tmp_path, read, reason, data, message):
    bad, good = write(tmp_path / "bad.txt", data), write(tmp_path / "good.txt", b"good")
    source = TextSource(paths=(bad, good))
    with pytest.raises(DataError, match=message + ".*--on-error skip"):
        read(source)
    documents, report = read(source, on_error="skip")
    assert [document.text for document in documents] == [b"good"]
    assert report.skipped == {reason: 1}
    assert "bad.txt" in report.examples[reason]


def test_only_the_broken_line_is_skipped(tmp_path, read):
    path = write(tmp_path / "a.txt", b"one\ntwo\xc3\nthree\n")
    documents, report = read(TextSource(paths=(path,), document_separator="line"), on_error="skip")
    assert [document.text for document in documents] == [b"one", b"three"]
    assert f"{path}:2: byte 0xc3 at offset 7" in report.examples["invalid UTF-8"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_files_stop_or_are_counted(tmp_path, read, suffix, kept):
    data = "".join(f"line {i * 7919 % 10007}\n" for i in range(5000)).encode()
    packed = gzip.compress(data) if suffix == ".gz" else zstandard.ZstdCompressor().compress(data)
    path = write(tmp_path / f"a.txt{suffix}", packed[: int(len(packed) * kept)])
    source = TextSource(paths=(path,), document_separator="line")
    with pytest.raises(DataError, match=r"a\.txt.*the compressed file ends too early"):
        read(source)
    documents, report = read(source, on_error="skip")
    assert report.skipped == {"truncated file": 1}
    assert all(f"{d.text.decode()}\n" in data.decode() for d in documents[:-1])


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_files_that_are_not_what_they_are_called(tmp_path, read, suffix):
    path = write(tmp_path / f"a.txt{suffix}", b"this is not compressed at all, whatever it is called")
    with pytest.raises(DataError, match="cannot be read"):
        read(TextSource(paths=(path,)))


def test_missing_path_and_empty_folder(tmp_path, read):
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        read(TextSource(paths=(tmp_path / "nowhere",)))
    with pytest.raises(DataError, match=r"empty: no files that end in \.txt"):
        read(TextSource(paths=(empty,)))
    _, report = read(TextSource(paths=(tmp_path / "nowhere", empty)), on_error="skip")
    assert report.skipped == {"missing path": 1, "empty folder": 1}


@pytest.mark.parametrize("separator", ["line", "blank_line", SEPARATOR])
def test_memory_does_not_grow_with_the_file(tmp_path, separator):
    """16 MB of documents in a small .gz are read with a few MB."""
    document = b"x" * 5000 + {"line": b"\n", "blank_line": b"\n\n"}.get(separator, separator.encode())
    path = tmp_path / "a.txt.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(16):
            file.write(document * 200)
    gate = Gate("stop", SourceReport())
    tracemalloc.start()
    count = sum(len(block) for block in text_blocks(TextSource(paths=(path,), document_separator=separator), gate))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 16 * 200
    assert peak < 8 << 20


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst"])
def test_a_file_that_cannot_be_opened(tmp_path, read, monkeypatch, name):
    """Permissions do not hold back every user of a test machine, so opening fails by itself."""
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "b.txt").write_text("good")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    real = files._opened_file
    monkeypatch.setattr(files, "_opened_file", lambda path: refuse(path) if path.name == name else real(path))
    with pytest.raises(DataError, match=r"a\.txt.*: cannot be read \(.*Permission denied"):
        read(TextSource(paths=(tmp_path,)))
    documents, report = read(TextSource(paths=(tmp_path,)), on_error="skip")
    assert [document.text for document in documents] == [b"good"]
    assert report.skipped == {"unreadable file": 1}

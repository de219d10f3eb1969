"""Records become documents; whatever is wrong with one is told with its file and line."""

import gzip
import json
import sys
import types
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hornbook.config.data import HubSource, JsonlSource, ParquetSource
from hornbook.data import files, record_sources
from hornbook.data.documents import SourceReport
from hornbook.data.sources import open_blocks, open_source
from hornbook.errors import DataError, MissingExtraError
from hub_stub import Rows

ASK_HUB = record_sources.ask_hub
"""Which the fixture `hub` replaces."""
TEXTS = ["one", "zwei\r\n", "drei\u2028vier", "five \U0001f600"]


def texts(documents):
    return [document.text.decode() for document in documents]


def test_json_lines_plain_and_compressed(tmp_path, read):
    data = "".join(json.dumps({"text": text, "n": 1}) + "\n\n" for text in TEXTS).encode()
    (tmp_path / "a.jsonl").write_bytes(data)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(data))
    (tmp_path / "c.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(data))
    documents, report = read(JsonlSource(paths=(tmp_path,)))
    assert texts(documents) == TEXTS * 3
    assert documents[1].where == f"{tmp_path / 'a.jsonl'}:3"
    assert report.documents == 12


def test_another_field_and_a_byte_order_mark(tmp_path, read):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"story": "x"}\n{"story": ""}\n')
    documents, report = read(JsonlSource(paths=(path,), text_field="story"))
    assert texts(documents) == ["x"]
    assert report.empty == 1


BAD_LINES = {
    "broken JSON": (
        b'{"text": "x"',
        r"a\.jsonl:2: not a JSON object on one line \(Expecting ',' delimiter at column 13\)",
    ),
    "not an object": (b'["text"]', r"a\.jsonl:2: list, expected a JSON object"),
    "missing field": (b'{"story": "x"}', r"a\.jsonl:2: no field 'text', only 'story'; set data\.source\.text_field"),
    "field is not text": (b'{"text": 3}', r"a\.jsonl:2: 'text' is of type int, expected text"),
    "invalid UTF-8": (b'{"text": "\xff"}', r"a\.jsonl:2: byte 10 of the line is not valid UTF-8"),
    "invalid Unicode": (b'{"text": "ab\\ud800"}', r"a\.jsonl:2: 'text' holds half a character \(U\+D800\)"),
}
DEEP = b"[" * 100_000


@pytest.mark.parametrize(("reason", "line", "message"), [(r, *rest) for r, rest in BAD_LINES.items()])
def test_bad_lines_stop_or_are_counted(tmp_path, read, reason, line, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + line + b'\n{"text": "better"}\n')
    with pytest.raises(DataError, match=message):
        read(JsonlSource(paths=(path,)))
    documents, report = read(JsonlSource(paths=(path,)), on_error="skip")
    assert texts(documents) == ["good", "better"]
    assert report.skipped == {reason: 1}


def test_deep_nesting_is_broken_json(tmp_path, read):
    (tmp_path / "a.jsonl").write_bytes(DEEP + b"\n")
    assert read(JsonlSource(paths=(tmp_path,)), on_error="skip")[1].skipped == {"broken JSON": 1}


STRANGE_LINES = [
    b'{"text": "a", "n": NaN}',
    b'{"text": "a", "n": [Infinity, -Infinity]}',
    b'{"text": "a", "text": "b"}',
    b'{"text": "a", "text": 1}',
    b'{"text": 123456789012345678901234567890}',
    b'{"n": 123456789012345678901234567890, "text": "a"}',
    b'{"n": 1e999, "text": "a"}',
    b'{"text": 1.5}',
    b'{"text": null}',
    b'{"text": ["a"]}',
    b'{"text": {"encode": 1}}',
    b'{"text": ""}',
    b'{"text": "\\ud83d\\ude00 \\u0000 \\u2028 \\/"}',
    b'{"text": "\\ud83d"}',
    b'{"\\ud83d": 1, "text": "a"}',
    b'{"text": "a\tb"}',
    b'{"text": "a\x7fb"}',
    b'{"text": "\xc3\xa9\xf0\x9f\x98\x80"}',
    b'{"text": "\xed\xa0\xbd"}',
    b'{"text": "\xc0\xaf"}',
    b'\xef\xbb\xbf{"text": "a"}',
    b'  {"text": "a"}\t \r',
    b'\x0b{"text": "a"}',
    b"\x0c",
    b'{"text": "a"} {"text": "b"}',
    b'{"text": "a",}',
    b"{'text': 'a'}",
    b'{"text": 01}',
    b'"text"',
    b'["text"]',
    b"[1]",
    b"true",
    b"{}",
    b"\x00",
    b'{"text": "a"}\x00',
    b"\xff",
]


def both_ways(path, **settings):
    """Documents, report and error, with the fast parser and with Python's own, which defines what is right."""
    found = []
    for loads in (record_sources.orjson.loads, refuse):
        report, documents, error = SourceReport(), [], None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(record_sources, "orjson", types.SimpleNamespace(loads=loads))
            try:
                documents = [
                    (d.text, d.where) for d in open_source(JsonlSource(paths=(path,)), report=report, **settings)
                ]
            except DataError as stopped:
                error = str(stopped)
        found.append((documents, report, error))
    return found


def refuse(line):
    raise ValueError("not by this parser")


def test_the_fast_parser_changes_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    for line in STRANGE_LINES:
        path.write_bytes(line + b'\n{"text": "good"}\n' + line)
        for on_error in ("skip", "stop"):
            fast, defined = both_ways(path, on_error=on_error)
            assert fast == defined, line


JSON_PARTS = [
    b"{",
    b"}",
    b'"text"',
    b'"x"',
    b":",
    b",",
    b"1",
    b"[",
    b"]",
    b" ",
    b"\\",
    b"n",
    b"\xc3\xa9",
    b"NaN",
    b"\n",
]


@pytest.mark.medium
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.just(b'{"text": "abc"}\n'),
            st.lists(st.sampled_from(JSON_PARTS), max_size=8).map(b"".join),
            st.dictionaries(st.sampled_from(["text", "x"]), st.one_of(st.text(max_size=5), st.floats(), st.none())).map(
                lambda record: json.dumps(record).encode() + b"\n"
            ),
        ),
        max_size=5,
    )
)
def test_the_fast_parser_changes_nothing_in_whatever_lines(tmp_path, parts):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(parts))
    fast, defined = both_ways(path, on_error="skip")
    assert fast == defined


def test_nothing_behind_the_last_wanted_record_is_looked_at(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\nbroken\n{"text": ""}\n{"text": "b"}\nbroken\n{"text": "c"}\n')
    for wanted, expected in ((1, (1, 0, {})), (2, (2, 1, {"broken JSON": 1})), (5, (3, 1, {"broken JSON": 2}))):
        report = SourceReport()
        blocks = open_blocks(JsonlSource(paths=(path,)), on_error="skip", report=report, max_documents=wanted)
        assert sum(len(block) for block in blocks) == report.documents
        assert (report.documents, report.empty, report.skipped) == expected


def test_good_records_before_the_damage_of_a_file_come_out(tmp_path, read):
    records = [json.dumps({"text": f"record {i * 7919 % 10007}"}).encode() + b"\n" for i in range(2000)]
    data = b"".join(records)
    packed = gzip.compress(data)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed[: len(packed) // 2])
    whole_lines = zlib.decompressobj(31).decompress(packed[: len(packed) // 2]).count(b"\n")
    documents, report = read(JsonlSource(paths=(path,)), on_error="skip")
    assert texts(documents) == [json.loads(record)["text"] for record in records[:whole_lines]]
    assert whole_lines > 900
    assert report.skipped == {"truncated file": 1}


def test_a_file_without_records(tmp_path, read):
    (tmp_path / "a.jsonl").write_bytes(b"\n")
    with pytest.raises(DataError, match="holds no records"):
        read(JsonlSource(paths=(tmp_path,)))


def write_parquet(path, column, **options):
    pq.write_table(pa.table(column), path, **options)


@pytest.mark.medium  # importing pyarrow takes seconds
def test_parquet_rows(tmp_path, read):
    write_parquet(tmp_path / "a.parquet", {"text": TEXTS, "n": [1, 2, 3, 4]}, row_group_size=3)
    documents, _ = read(ParquetSource(paths=(tmp_path,)))
    assert texts(documents) == TEXTS
    assert documents[3].where == f"{tmp_path / 'a.parquet'}:4"


@pytest.mark.medium
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_text_column(tmp_path, read, monkeypatch, kind):
    """Also with rows that are empty, in blocks that end anywhere."""
    path = tmp_path / "a.parquet"
    rows = [*TEXTS, "", *TEXTS * 30]
    write_parquet(path, {"text": pa.array(rows).cast(kind)}, row_group_size=50)
    for size in (40, 1 << 19):
        monkeypatch.setattr(files, "BLOCK_BYTES", size)
        documents, report = read(ParquetSource(paths=(path,)))
        assert texts(documents) == TEXTS * 31
        assert [d.where for d in documents[3:5]] == [f"{path}:4", f"{path}:6"]
        assert report.empty == 1


@pytest.mark.medium
def test_a_parquet_text_that_is_no_text(tmp_path, read):
    path = tmp_path / "a.parquet"
    raw = pa.array([b"good", b"\xff", b"", b"fine"], type=pa.binary())
    write_parquet(path, {"text": pa.Array.from_buffers(pa.string(), 4, raw.buffers())})
    with pytest.raises(DataError, match=r"a\.parquet:2: byte 0 of 'text' is not valid UTF-8"):
        read(ParquetSource(paths=(path,)))
    documents, report = read(ParquetSource(paths=(path,)), on_error="skip")
    assert texts(documents) == ["good", "fine"]
    assert (report.empty, report.skipped) == (1, {"invalid UTF-8": 1})
    write_parquet(path, {"text": raw})
    with pytest.raises(DataError, match=r"a\.parquet:1: 'text' is of type bytes, expected text"):
        read(ParquetSource(paths=(path,)))


@pytest.mark.medium
def test_nothing_behind_the_last_wanted_row_is_looked_at(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, {"text": ["a", None, "b", None]})
    report = SourceReport()
    blocks = open_blocks(ParquetSource(paths=(path,)), on_error="skip", report=report, max_documents=2)
    assert [text for block in blocks for text in block.texts] == [b"a", b"b"]
    assert report.skipped == {"field is not text": 1}


def test_bad_parquet(tmp_path, read):
    path = tmp_path / "a.parquet"
    write_parquet(path, {"text": ["a", None, "b"]})
    with pytest.raises(DataError, match=r"a\.parquet:2: 'text' is null"):
        read(ParquetSource(paths=(path,)))
    with pytest.raises(DataError, match=r"a\.parquet: no field 'story', only 'text'"):
        read(ParquetSource(paths=(path,), text_field="story"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        read(ParquetSource(paths=(path,)))
    assert read(ParquetSource(paths=(path,)), on_error="skip")[1].skipped == {"unreadable file": 1}


def test_hub_rows(hub, read):
    hub.gives = Rows([{"text": text} for text in TEXTS])
    source = HubSource(dataset="owner/name", subset="small", split="validation", revision="abc")
    documents, _ = read(source)
    assert texts(documents) == TEXTS
    assert documents[1].where == "owner/name:2"
    options = {"split": "validation", "revision": "abc", "data_files": None, "streaming": True}
    assert hub.calls == [("owner/name", "small", options)]


def test_a_stopped_stream_goes_on_where_it_was(hub):
    """Rows that were skipped or empty count as read, so none is read twice or lost."""
    rows = [{"text": "a"}, {"text": ""}, {"story": "x"}, {"text": "b"}, {"text": "c"}]
    source = HubSource(dataset="owner/name")
    hub.gives = Rows(rows, breaks_after=4)
    report = SourceReport()
    stream = open_source(source, on_error="skip", report=report)
    assert [next(stream).text, next(stream).text] == [b"a", b"b"]
    with pytest.raises(DataError, match=r"owner/name: the stream broke after row 4 .*connection reset.*to go on"):
        next(stream)
    hub.gives = Rows(rows)
    documents = list(open_source(source, on_error="skip", report=report))
    assert [(d.text, d.where) for d in documents] == [(b"c", "owner/name:5")]
    assert (report.documents, report.empty, report.skipped) == (3, 1, {"missing field": 1})


@pytest.mark.parametrize("error", [ConnectionError("Couldn't reach the Hub"), ValueError("no such subset")])
def test_offline_or_unknown_is_one_clear_message(hub, read, error):
    hub.gives = error
    with pytest.raises(DataError, match=r"owner/name \(tiny\): cannot be read .*Offline\? Use local files") as caught:
        read(HubSource(dataset="owner/name", subset="tiny"))
    assert str(error) in str(caught.value)


@pytest.mark.parametrize("local", [False, True])
def test_a_hub_out_of_reach_is_asked_once(hub, read, monkeypatch, tmp_path, local):
    """By us: `datasets` would try five times more, for half a minute."""
    asked = []

    class HfApi:
        def dataset_info(self, name, *, revision, timeout):
            asked.append((name, revision, timeout))
            raise OSError("Name or service not known")

    library = types.ModuleType("huggingface_hub")
    library.HfApi = HfApi
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    monkeypatch.setattr(record_sources, "ask_hub", ASK_HUB)
    hub.gives = Rows([{"text": "x"}])
    if local:
        assert len(read(HubSource(dataset=str(tmp_path)))[0]) == 1
        assert asked == []
        return
    with pytest.raises(DataError, match=r"owner/name: cannot be read .*Name or service not known.*Offline\?"):
        read(HubSource(dataset="owner/name", revision="abc"))
    assert asked == [("owner/name", "abc", 10.0)]
    assert hub.calls == []


def test_the_extra_is_named(monkeypatch, read):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtraError, match=r"hornbook\[hf\]"):
        read(HubSource(dataset="owner/name"))


@pytest.mark.parametrize("module", ["pyarrow.lib", "zstandard"])
def test_the_data_extra_is_named(monkeypatch, tmp_path, read, module):
    (tmp_path / "a.jsonl.zst").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, module, None)
    source = ParquetSource(paths=(tmp_path,)) if module == "pyarrow.lib" else JsonlSource(paths=(tmp_path,))
    with pytest.raises(MissingExtraError, match=r"hornbook\[data\]"):
        read(source)


@pytest.mark.medium
def test_with_the_real_library(monkeypatch, read):
    datasets = pytest.importorskip("datasets")

    def rows():
        yield from ({"text": text} for text in TEXTS)

    monkeypatch.setattr(record_sources, "ask_hub", lambda _: None)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.IterableDataset.from_generator(rows))
    assert texts(read(HubSource(dataset="owner/name"))[0]) == TEXTS
    report = SourceReport(documents=3)
    assert texts(open_source(HubSource(dataset="owner/name"), on_error="stop", report=report)) == TEXTS[3:]

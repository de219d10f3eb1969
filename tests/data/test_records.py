"""Whole records from every source that has some; what is broken is told with its place, or counted."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from hornbook.config.data import (
    EmbeddedSource,
    HubSource,
    JsonlSource,
    ParquetSource,
    SyntheticSource,
    TasksSource,
    TextSource,
    TokensSource,
)
from hornbook.data.documents import Gate, SourceReport
from hornbook.data.records import open_records
from hornbook.errors import DataError
from hub_stub import Rows

RECORDS = [{"instruction": "add\u2028", "n": [1, {"a": None}]}, {"instruction": "\U0001f600"}, {}]


def read(source, on_error="stop", most=None, stage="sft"):
    report = SourceReport()
    return list(open_records(source, Gate(on_error, report, most), stage=stage)), report


def lines(records):
    return "".join(json.dumps(record) + "\n\n" for record in records).encode()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", lambda data: data),
        ("a.json", lambda data: b"\xef\xbb\xbf" + data),
        ("a.jsonl.gz", gzip.compress),
        ("a.ndjson.zst", lambda data: zstandard.ZstdCompressor().compress(data)),
    ],
)
def test_lines_plain_and_compressed(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(lines(RECORDS)))
    records, report = read(JsonlSource(paths=(tmp_path,)))
    assert [record.fields for record in records] == RECORDS
    assert [record.where for record in records] == [f"{tmp_path / name}:{line}" for line in (1, 3, 5)]
    assert report.documents == 3


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.json", lambda data: b"\xef\xbb\xbf \n" + data),
        ("a.json", lambda data: data),
        ("a.json.gz", gzip.compress),
        ("a.json.zst", lambda data: zstandard.ZstdCompressor().compress(data)),
    ],
)
def test_an_array_in_a_file(tmp_path, name, pack):
    (tmp_path / name).write_bytes(pack(json.dumps(RECORDS, indent=1).encode()))
    records, _ = read(JsonlSource(paths=(tmp_path,)))
    assert [record.fields for record in records] == RECORDS
    assert records[1].where == f"{tmp_path / name}: item 2"


BROKEN = {
    "broken JSON": [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', r"a\.jsonl:2: not a JSON object on one line"),
        ("a.json", b'[{"a": 1},\n {"a": }]', r"a\.json:2: not a JSON array \(Expecting value at column 8\)"),
    ],
    "not an object": [
        ("a.jsonl", b'{"a": 1}\n[1]\n', r"a\.jsonl:2: list, expected a JSON object"),
        ("a.json", b'[{"a": 1}, 3]', r"a\.json: item 2: int, expected a JSON object"),
    ],
    "invalid UTF-8": [
        ("a.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', r"a\.jsonl:2: byte 7 of the line is not valid UTF-8"),
        ("a.json", b'[{"a": "\xff"}]', r"a\.json: byte 8 is not valid UTF-8"),
    ],
    "empty file": [
        ("a.jsonl", b"\n \n", r"a\.jsonl: the file holds no records"),
        ("a.json", b"[]", r"a\.json: the file holds no records"),
    ],
    "truncated file": [("a.json.gz", gzip.compress(b'[{"a": 1}]', mtime=0)[:-3], "the compressed file ends too early")],
}


@pytest.mark.parametrize(
    ("reason", "name", "data", "message"), [(r, *case) for r, cases in BROKEN.items() for case in cases]
)
def test_broken_files_stop_or_are_counted(tmp_path, reason, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(JsonlSource(paths=(tmp_path,)))
    assert reason in read(JsonlSource(paths=(tmp_path,)), on_error="skip")[1].skipped


def test_parquet_rows_are_whole(tmp_path):
    path = tmp_path / "a.parquet"
    rows = [{"messages": [{"role": "user", "content": "é"}], "n": i} for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    records, report = read(ParquetSource(paths=(path,)))
    assert [record.fields for record in records] == rows
    assert (records[2].where, report.documents) == (f"{path}:3", 3)


def test_parquet_with_a_text_that_is_none(tmp_path):
    path = tmp_path / "a.parquet"
    bad = pa.array([b"good", b"\xff", b"better"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": bad}), path)
    with pytest.raises(DataError, match=r"a\.parquet:2: a text that is not valid UTF-8"):
        read(ParquetSource(paths=(path,)))
    records, report = read(ParquetSource(paths=(path,)), on_error="skip")
    assert [record.fields["prompt"] for record in records] == ["good", "better"]
    assert report.skipped == {"invalid UTF-8": 1}


def test_rows_of_the_hub(hub):
    hub.gives = Rows([{"prompt": "a"}, {"prompt": "b"}])
    records, _ = read(HubSource(dataset="x/y", split="train_prefs"))
    assert [(record.where, record.fields["prompt"]) for record in records] == [("x/y:1", "a"), ("x/y:2", "b")]
    assert hub.calls[0][2]["split"] == "train_prefs"


def test_tasks_by_stage():
    source = TasksSource(n_rows=3)
    assert [set(record.fields) for record in read(source)[0]] == [{"messages"}] * 3
    assert [set(record.fields) for record in read(source, stage="dpo")[0]] == [{"prompt", "chosen", "rejected"}] * 3
    assert [record.where for record in read(source, most=2)[0]] == ["tasks:1", "tasks:2"]


@pytest.mark.parametrize(
    "source",
    [
        TextSource(paths=(Path("x"),)),
        EmbeddedSource(),
        SyntheticSource(),
        TokensSource(paths=(Path("x"),)),
    ],
)
def test_texts_are_no_records(source):
    with pytest.raises(DataError, match=rf'kind = "{source.kind}" gives texts, but data\.stage = "sft" needs records'):
        read(source)


def test_nothing_after_the_last_wanted_record_is_looked_at(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": 2}\nbroken\n')
    assert len(read(JsonlSource(paths=(tmp_path,)), most=2)[0]) == 2

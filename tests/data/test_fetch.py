"""Fetched rows are kept whole, and a directory appears only when it is complete."""

import gzip
import json

import pytest

from hornbook.config.data import JsonlSource
from hornbook.data.fetch import KNOWN, between_markers, fetch
from hornbook.errors import DataError, HornbookError
from hub_stub import Rows


def rows_in(path):
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


def test_rows_are_kept_whole(tmp_path, hub, read):
    rows = [{"instruction": "add", "n": i, "output": "sum\u2028 \ud800"} for i in range(5)]
    hub.gives = Rows(rows)
    fetched = fetch("alpaca-cleaned", tmp_path / "out", max_documents=3)
    assert (fetched.rows, fetched.text_field) == ({"train": 3}, None)
    assert rows_in(tmp_path / "out" / "train.jsonl.gz") == rows[:3]
    assert hub.calls[0][0] == "yahma/alpaca-cleaned"
    documents, _ = read(JsonlSource(paths=(tmp_path / "out",), text_field="instruction"))
    assert len(documents) == 3


def test_a_known_name_brings_its_splits(tmp_path, hub):
    hub.gives = Rows([{"text": "x"}])
    told = []
    fetched = fetch("wikitext-2-raw", tmp_path / "out", progress=lambda *at: told.append(at))
    assert fetched.rows == {"train": 1, "validation": 1, "test": 1}
    assert [(call[0], call[1], call[2]["split"]) for call in hub.calls] == [
        ("Salesforce/wikitext", "wikitext-2-raw-v1", split) for split in ("train", "validation", "test")
    ]
    assert told == [("train", 1), ("validation", 1), ("test", 1)]


def test_any_hub_id(tmp_path, hub):
    hub.gives = Rows([{"text": "x"}])
    fetch("owner/name", tmp_path / "out", subset="small", splits=["dev"])
    name, subset, options = hub.calls[0]
    assert (name, subset, options["split"]) == ("owner/name", "small", "dev")


def test_stories_between_markers(tmp_path, hub):
    lines = ["", "Once.", "", "The end.", "<|endoftext|>", "", "Twice.", "<|endoftext|>", ""]
    hub.gives = Rows([{"text": line} for line in lines])
    fetch("TinyStoriesV2-GPT4", tmp_path / "out", splits=["validation"])
    assert rows_in(tmp_path / "out" / "validation.jsonl.gz") == [{"text": "Once.\n\nThe end."}, {"text": "Twice."}]
    assert hub.calls[0][2]["data_files"] == "TinyStoriesV2-GPT4-valid.txt"
    with pytest.raises(DataError, match="no split 'test', only train, validation"):
        fetch("TinyStoriesV2-GPT4", tmp_path / "other", splits=["test"])
    assert list(between_markers([])) == []


def test_articles_under_their_titles(tmp_path, hub):
    lines = ["", " = Valkyria = \n", "", " It began . \n", " = = Gameplay = = \n", "", " = 3 \n"]
    hub.gives = Rows([{"text": line} for line in [*lines, " = Tower of London = \n", " A castle . \n"]])
    fetch("wikitext-2-raw", tmp_path / "out", splits=["train"])
    assert [row["text"] for row in rows_in(tmp_path / "out" / "train.jsonl.gz")] == [
        " = Valkyria = \n\n It began . \n = = Gameplay = = \n\n = 3 ",
        " = Tower of London = \n A castle . ",
    ]


def test_a_broken_stream_leaves_nothing(tmp_path, hub):
    hub.gives = Rows([{"text": "x"}] * 3, breaks_after=2)
    with pytest.raises(DataError, match="broke after row 2"):
        fetch("TinyStories", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_what_json_cannot_hold(tmp_path, hub):
    hub.gives = Rows([{"image": object()}])
    with pytest.raises(DataError, match="train, row 1: not text"):
        fetch("owner/images", tmp_path / "out")


def test_nothing_is_overwritten_unasked(tmp_path, hub):
    hub.gives = Rows([{"text": "x"}])
    fetch("owner/name", tmp_path / "out")
    before = (tmp_path / "out" / "train.jsonl.gz").read_bytes()
    with pytest.raises(HornbookError, match="exists already"):
        fetch("owner/name", tmp_path / "out")
    fetch("owner/name", tmp_path / "out", force=True)
    assert (tmp_path / "out" / "train.jsonl.gz").read_bytes() == before  # no time stamps inside


def test_the_usual_names_are_known():
    wanted = {"TinyStories", "TinyStoriesV2-GPT4", "wikitext-2-raw", "wikitext-103-raw", "SlimPajama", "alpaca-cleaned"}
    assert wanted <= set(KNOWN)

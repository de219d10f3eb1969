"""Files of tasks: what is read from them, where they are looked for, and what is said of broken ones."""

import gzip
import json
import zipfile

import pytest

from hornbook.errors import DataError
from hornbook.evaluation.task_documents import Document, arc, blimp, choices, cloze, hellaswag, lambada
from hornbook.evaluation.task_files import read_task

PAIR = {"sentence_good": "The cats sleep.", "sentence_bad": "The cats sleeps.", "UID": "agreement"}


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("read", "row", "document"),
    [
        (blimp, PAIR, Document("", ("The cats sleep.", "The cats sleeps."), 0)),
        (
            hellaswag,
            {
                "activity_label": "Roof",
                "ctx_a": "A man [step] sits.",
                "ctx_b": "he",
                "endings": ["is  up. [title] Then", "b"],
                "label": "1",
            },
            Document("Roof: A man sits. He", ("is up.. Then", "b"), 1),
        ),
        (
            arc,
            {"question": "Why?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B"},
            Document("Question: Why?\nAnswer:", ("x", "y"), 1),
        ),
        (
            arc,
            {"query": "Question: Why?", "choices": ["x", "y"], "gold": 1},
            Document("Question: Why?\nAnswer:", ("x", "y"), 1),
        ),
        (lambada, {"context": "I saw", "continuation": "you"}, Document("I saw", (" you",), 0)),
        (lambada, {"text": "I saw you"}, Document("I saw", (" you",), 0)),
        (choices, {"query": "1 + 1 =", "choices": [" 2", " 3"], "gold": 0}, Document("1 + 1 =", (" 2", " 3"), 0)),
        (cloze, {"query": "to be or", "target": " not"}, Document("to be or", (" not",), 0)),
    ],
)
def test_each_form_is_read(read, row, document):
    assert read(row) == document


@pytest.mark.parametrize("place", ["hellaswag/hellaswag_val.jsonl.gz", "hellaswag.jsonl.gz"])
def test_a_directory_is_searched(tmp_path, place):
    row = {"activity_label": "a", "ctx_a": "b", "ctx_b": "", "endings": ["x", "y"], "label": 0}
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(lines(row, row).encode()))
    (tmp_path / "lambada.jsonl").write_text(lines({"text": "a b"}))
    (found,) = read_task("hellaswag", tmp_path)
    assert (found.name, found.path, len(found.documents)) == ("hellaswag", path, 2)
    assert len(read_task("hellaswag", path, limit=1)[0].documents) == 1


def test_blimp_is_an_archive_or_its_files(tmp_path):
    archive = tmp_path / "BLiMP.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("data/b.jsonl", "data/a.jsonl", "__MACOSX/data/._a.jsonl"):
            file.writestr(name, lines(PAIR, PAIR))
    assert [(part.name, len(part.documents)) for part in read_task("blimp", tmp_path)] == [
        ("blimp_a", 2),
        ("blimp_b", 2),
    ]
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.jsonl").write_text(lines(PAIR))
    (folder / "arc_easy.jsonl").write_text(lines({"query": "q"}))  # not of pairs
    assert [part.name for part in read_task("blimp", folder)] == ["blimp_a"]
    assert [part.name for part in read_task("blimp", folder / "a.jsonl")] == ["blimp_a"]


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("cloze", lines({"query": "a"}), r"cloze.jsonl:1: no field 'target'"),
        ("cloze", lines({"query": "a", "target": "b"}) + "{", r"cloze.jsonl:2: not JSON"),
        ("cloze", "[1]\n", r"cloze.jsonl:1: not a JSON object"),
        ("cloze", "", "holds no questions"),
        ("cloze", lines({"query": "a", "target": 3}), r"target is 3, expected a text"),
        ("cloze", lines({"query": "a", "target": ""}), r"cloze.jsonl:1: expected a target, got nothing"),
        ("blimp", lines({"sentence_good": "a", "sentence_bad": ""}), r"expected two sentences, got nothing"),
        ("choices", lines({"query": "a", "choices": ["x"], "gold": 0}), "expected at least two"),
        ("choices", lines({"query": "a", "choices": ["x", "y"], "gold": 2}), "number 2, expected 0 to 1"),
        ("choices", lines({"query": "a", "choices": "xy", "gold": 0}), "expected a list of texts"),
        ("lambada", lines({"text": "word"}), "expected a text and its last word"),
        (
            "arc_easy",
            lines({"question": "a", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "C"}),
            "answerKey is 'C'",
        ),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, task, text, message):
    (tmp_path / f"{task}.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read_task(task, tmp_path)


def test_missing_ambiguous_and_damaged_files(tmp_path):
    with pytest.raises(DataError, match=r"nothing for task lambada; expected lambada\*\.jsonl"):
        read_task("lambada", tmp_path)
    for name in ("lambada_a.jsonl", "lambada_b.jsonl"):
        (tmp_path / name).write_text(lines({"text": "a b"}))
    with pytest.raises(DataError, match="2 files might be lambada"):
        read_task("lambada", tmp_path)
    cut = tmp_path / "cloze.jsonl.gz"
    cut.write_bytes(gzip.compress(lines({"query": "a", "target": "b"}).encode() * 1000)[:-30])
    with pytest.raises(DataError, match="cannot be read after line"):
        read_task("cloze", tmp_path)
    (tmp_path / "BLiMP.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match="fetch it again"):
        read_task("blimp", tmp_path)
    with pytest.raises(DataError, match="no task 'mmlu'"):
        read_task("mmlu", tmp_path)

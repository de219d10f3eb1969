"""Token files that exist are used where they lie, and an id that the tokenizer does not have is found."""

import json
from pathlib import Path

import numpy as np
import pytest

from hornbook.config.data import DataConfig, TextSource, TokensSource
from hornbook.data.prepare import prepare
from hornbook.errors import DataError


def config(tmp_path, source, **settings):
    return DataConfig(path=tmp_path / "data", source=source, **{"split": "position", "valid_fraction": 0.2} | settings)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32"])
@pytest.mark.parametrize("form", ["raw", "npy"])
def test_two_files_are_one_stream_split_by_position(tmp_path, letters, dtype, form):
    ids = np.arange(100, dtype=dtype) % letters.vocab_size
    paths = []
    for number, part in enumerate((ids[:30], ids[30:])):
        path = tmp_path / f"{number}.{'npy' if form == 'npy' else 'bin'}"
        np.save(path, part) if form == "npy" else part.tofile(path)
        paths.append(path)
    source = TokensSource(paths=tuple(paths), dtype=dtype if form == "raw" else None)
    dataset = prepare(config(tmp_path, source, test_fraction=0.1), letters)
    train, valid, test = (dataset.split(name) for name in ("train", "valid", "test"))
    assert train.read(0, 70).tolist() == ids[:70].tolist()
    assert valid.read(0, 20).tolist() == ids[70:90].tolist()
    assert test.read(0, 10).tolist() == ids[90:].tolist()
    assert train.document_starts.tolist() == [0, 30]  # each file begins a document
    assert train.text_bytes == 70  # one byte a letter
    assert dataset.verify() > 0
    assert {path.name for path in dataset.path.iterdir()} == {
        "index.json", "tokenizer", "train-offsets.bin", "valid-offsets.bin", "test-offsets.bin"
    }  # fmt: skip


def test_boundaries_move_back_to_a_document(tmp_path, tokenizer):
    end = tokenizer.end_of_text_id
    ids = np.array([1, 2, 3, end, 4, 5, end, 6, 7, 8, 9, end], dtype=np.uint16)
    ids.tofile(tmp_path / "a.bin")
    source = TokensSource(paths=(tmp_path / "a.bin",), dtype="uint16", end_of_text_id=end)
    dataset = prepare(config(tmp_path, source, valid_fraction=0.3), tokenizer)  # 0.7 * 12 = 8, inside the third
    assert dataset.end_of_text_id == end
    assert [dataset.split("train").document(i).tolist() for i in range(2)] == [[1, 2, 3, end], [4, 5, end]]
    assert dataset.split("valid").document(0).tolist() == [6, 7, 8, 9, end]
    assert dataset.split("train").text_bytes == 5


def test_explicit_validation_and_a_limit(tmp_path, letters):
    np.arange(20, dtype=np.uint16).tofile(tmp_path / "a.bin")
    (tmp_path / "v.txt").write_text("hello")
    source = TokensSource(paths=(tmp_path / "a.bin",), dtype="uint16")
    settings = {"split": "documents", "max_tokens": 12, "valid": TextSource(paths=(tmp_path / "v.txt",))}
    dataset = prepare(config(tmp_path, source, **settings, end_of_text=False), letters)
    assert dataset.split("train").read(0, 12).tolist() == list(range(12))
    assert dataset.split("train").n_tokens == 12
    valid = dataset.split("valid")
    assert letters.decode(valid.read(0, valid.n_tokens)) == "hello"


@pytest.mark.parametrize(("value", "dtype"), [(28, "uint16"), (-1, "int32"), (70_000, "uint32")])
def test_an_id_out_of_range_is_found(tmp_path, letters, value, dtype):
    ids = np.zeros(50, dtype=dtype)
    ids[37] = value
    np.zeros(5, dtype=dtype).tofile(tmp_path / "a.bin")
    ids.tofile(tmp_path / "b.bin")
    source = TokensSource(paths=(tmp_path / "a.bin", tmp_path / "b.bin"), dtype=dtype)
    with pytest.raises(DataError, match=rf"b\.bin: id {value} at position 37, but the tokenizer has the ids 0\.\.27"):
        prepare(config(tmp_path, source), letters)


def test_files_that_are_not_token_files(tmp_path, letters):
    def refused(source, message, **settings):
        with pytest.raises(DataError, match=message):
            prepare(config(tmp_path, source, **settings), letters)

    (odd := tmp_path / "odd.bin").write_bytes(b"123")
    (empty := tmp_path / "empty.bin").write_bytes(b"")
    np.save(square := tmp_path / "square.npy", np.zeros((2, 2), dtype=np.uint16))
    np.save(floats := tmp_path / "floats.npy", np.zeros(2))
    (fake := tmp_path / "fake.npy").write_bytes(b"x" * 200)
    np.zeros(4, dtype=np.uint16).tofile(good := tmp_path / "good.bin")
    np.save(wide := tmp_path / "wide.npy", np.zeros(4, dtype=np.uint32))
    refused(TokensSource(paths=(odd,), dtype="uint16"), "3 bytes is not a multiple of 2")
    refused(TokensSource(paths=(empty,), dtype="uint16"), "holds no tokens")
    refused(TokensSource(paths=(good,)), r"set data\.source\.dtype")
    refused(TokensSource(paths=(tmp_path / "none.bin",), dtype="uint16"), "No such file")
    refused(TokensSource(paths=(square,)), "2-dimensional")
    refused(TokensSource(paths=(floats,)), "<f8, expected one row")
    refused(TokensSource(paths=(fake,)), "not a readable .npy")
    refused(TokensSource(paths=(good, wide), dtype="uint16"), "wide.npy: uint32, but .*good.bin is uint16")
    refused(TokensSource(paths=(good,), dtype="uint16"), 'set data.split = "position"', split="documents")
    refused(TokensSource(paths=(good,), dtype="uint16"), "max_documents has no effect", max_documents=3)


def test_a_file_that_changed_is_noticed(tmp_path, letters):
    np.arange(20, dtype=np.uint16).tofile(tmp_path / "a.bin")
    dataset = prepare(config(tmp_path, TokensSource(paths=(tmp_path / "a.bin",), dtype="uint16")), letters)
    index = json.loads((dataset.path / "index.json").read_text())
    assert index["splits"]["train"]["shards"][0]["file"] == str(tmp_path / "a.bin")
    np.arange(20, 0, -1, dtype=np.uint16).tofile(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"a\.bin: damaged"):
        dataset.verify()
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.bin: 0 bytes, but the index says 32"):
        dataset.split("train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"end_of_text_id": 9999}, r"data\.source\.end_of_text_id = 9999, but the tokenizer has the ids 0\.\."),
        ({"dtype": "int32"}, r"a\.npy: uint16, but data\.source\.dtype says int32"),
        ({"paths": (Path("folder"),), "dtype": "uint16"}, r"folder: a folder, expected a file of token ids"),
    ],
)
def test_settings_that_contradict_the_files(tmp_path, letters, monkeypatch, settings, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    np.save("a.npy", np.arange(20, dtype=np.uint16))
    with pytest.raises(DataError, match=message):
        prepare(config(tmp_path, TokensSource(**{"paths": (Path("a.npy"),)} | settings), end_of_text=False), letters)

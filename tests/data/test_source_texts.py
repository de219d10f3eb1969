"""The texts behind a prepared data set, found again in its sources."""

import gzip

import pytest

from hornbook.config.data import DataConfig, EmbeddedSource, TextSource
from hornbook.data import source_texts
from hornbook.data.prepare import prepare
from hornbook.data.source_texts import SourceTexts
from hornbook.tokenizer.tokenizer import Tokenizer
from tiny_project import text


@pytest.fixture
def config(tmp_path):
    (tmp_path / "text.txt").write_text(text(300))
    source = TextSource(paths=(tmp_path / "text.txt",), document_separator="line")
    return DataConfig(path=tmp_path / "data", source=source, valid_fraction=0.2)


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([text(50)])


@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize("by", ["documents", "position"])
def test_every_text_is_the_documents_in_any_order(config, tokenizer, split, by):
    dataset = prepare(config.model_copy(update={"split": by}), tokenizer)
    stream, sources = dataset.split(split), SourceTexts(dataset, split, tokenizer)
    last = stream.n_documents - 1
    for number in (0, 5, last, 3, last - 1, last):
        found = sources.text(number)
        assert found.text == tokenizer.decode_bytes(stream.document(number)[:-1])
        _, _, line = found.where.rpartition(":")
        assert found.text in config.source.paths[0].read_bytes().splitlines()[int(line) - 1]
    assert sources.text(last + 1).text is None


def test_an_explicit_source_of_validation(config, tokenizer, tmp_path):
    with gzip.open(tmp_path / "valid.txt.gz", "wt") as file:
        file.write("the cat\nthe dog\n")
    valid = TextSource(paths=(tmp_path / "valid.txt.gz",), document_separator="line")
    dataset = prepare(config.model_copy(update={"valid": valid}), tokenizer)
    assert SourceTexts(dataset, "valid", tokenizer).text(1).text == b"the dog"


def test_a_source_that_changed_or_went_is_not_read(config, tokenizer):
    dataset = prepare(config, tokenizer)
    (path,) = config.source.paths
    path.write_text("something else")
    found = SourceTexts(dataset, "train", tokenizer).text(0)
    assert found.text is None
    assert "moved or changed since" in found.where
    path.unlink()
    assert SourceTexts(dataset, "train", tokenizer).text(0).text is None


def test_documents_that_could_not_be_encoded_are_not_counted(config, tmp_path):
    from hornbook.config.tokenizer import TokenizerConfig

    letters = Tokenizer.train(["abc"], TokenizerConfig(kind="characters", special_tokens="pretraining"))
    (tmp_path / "text.txt").write_text("a\nx\nb\nc\n")
    dataset = prepare(config.model_copy(update={"on_error": "skip", "valid_fraction": 0.0}), letters)
    sources = SourceTexts(dataset, "train", letters)
    assert [sources.text(number).text for number in range(3)] == [b"a", b"b", b"c"]


def test_looking_is_given_up_in_time(config, tokenizer, monkeypatch):
    dataset = prepare(config, tokenizer)
    monkeypatch.setattr(source_texts, "PATIENCE", -1.0)
    found = SourceTexts(dataset, "train", tokenizer).text(200)
    assert found.text is None
    assert "farther on" in found.where


def test_pythons_own_documentation(tmp_path, tokenizer):
    config = DataConfig(path=tmp_path / "data", source=EmbeddedSource(), max_documents=20, valid_fraction=0.0)
    dataset = prepare(config, tokenizer)
    found = SourceTexts(dataset, "train", tokenizer).text(3)
    assert found.text == tokenizer.decode_bytes(dataset.split("train").document(3)[:-1])

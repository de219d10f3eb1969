"""A data set alone is enough to read its text back; damage and other tokenizers are refused by name."""

import json
import shutil

import pytest

from hornbook.config.data import DataConfig, TextSource
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.data.dataset import Dataset
from hornbook.data.prepare import prepare
from hornbook.errors import DataError
from hornbook.tokenizer.tokenizer import Tokenizer


@pytest.fixture
def dataset(tmp_path, tokenizer) -> Dataset:
    (tmp_path / "a.txt").write_text("".join(f"the cat sat {i}\n" for i in range(60)))
    source = TextSource(paths=(tmp_path / "a.txt",), document_separator="line")
    return prepare(DataConfig(path=tmp_path / "data", source=source, valid_fraction=0.3), tokenizer)


def test_it_carries_its_tokenizer(dataset, tmp_path):
    moved = Dataset.open(shutil.copytree(dataset.path, tmp_path / "elsewhere"), verify=True)
    assert moved.tokenizer().decode(moved.split("train").document(0)).startswith("the cat sat ")
    assert moved.vocab_size == moved.tokenizer().vocab_size
    assert moved.end_of_text_id == moved.tokenizer().end_of_text_id


@pytest.mark.parametrize("name", ["train-00000.bin", "valid-offsets.bin"])
def test_one_flipped_bit_is_found(dataset, name):
    path = dataset.path / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    Dataset.open(dataset.path)  # reading all of it is only done when asked for
    with pytest.raises(DataError, match=rf"{name}: damaged \(sha256"):
        Dataset.open(dataset.path, verify=True)


def test_absent_and_unknown(dataset, tmp_path):
    with pytest.raises(DataError, match="nowhere: no such directory; make one with: hornbook data prepare"):
        Dataset.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"a\.txt: a file, but a data set is a directory"):
        Dataset.open(tmp_path / "a.txt")
    with pytest.raises(DataError, match=r"no index\.json here"):
        Dataset.open(tmp_path)
    with pytest.raises(DataError, match=r"no split 'test', only train, valid; prepare again with a larger data\.test"):
        dataset.split("test")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable"),
        ("[]", "format None, but this version of hornbook reads format 1"),
        ('{"format": 2}', "format 2, but"),
        ('{"format": 1}', "damaged"),
    ],
)
def test_a_damaged_index(tmp_path, content, message):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(DataError, match=message):
        Dataset.open(tmp_path)


def test_the_index_is_as_documented(dataset):
    index = json.loads((dataset.path / "index.json").read_text())
    assert index["format"] == 1
    train = index["splits"]["train"]
    assert train["tokens"] == sum(shard["tokens"] for shard in train["shards"])
    assert (dataset.path / "train-offsets.bin").stat().st_size == 8 * train["documents"]
    assert index["made_from"]["source"]["kind"] == "text"


def with_special(tokenizer: Tokenizer, names: list[str]) -> Tokenizer:
    return Tokenizer(tokenizer.scheme, names)


def test_tokenizers_that_keep_every_id_are_right(dataset, tokenizer):
    dataset.check_tokenizer(tokenizer)
    dataset.check_tokenizer(with_special(tokenizer, [*tokenizer.special_tokens, "<|more|>"]))


def test_ids_of_nobody_are_no_difference(dataset, tokenizer):
    ids = tokenizer.special_tokens
    dataset.check_tokenizer(Tokenizer(tokenizer.scheme, {**ids, "<|far|>": tokenizer.vocab_size + 9}))
    moved = {**ids, "<|endoftext|>": tokenizer.vocab_size}
    with pytest.raises(
        DataError, match=rf"id {ids['<|endoftext|>']} is b'<\|endoftext\|>' in the data, nobody's in it"
    ):
        dataset.check_tokenizer(Tokenizer(tokenizer.scheme, moved))


def test_other_tokenizers_are_refused(dataset, tokenizer):
    def refused(other, message):
        with pytest.raises(DataError, match=message + ".*prepare the data again"):
            dataset.check_tokenizer(other)

    n, names = tokenizer.vocab_size, list(tokenizer.special_tokens)
    refused(with_special(tokenizer, names[:-1]), f"it has {n - 1} ids, the data {n}")
    renamed = with_special(tokenizer, ["<|other|>", *names[1:]])
    refused(renamed, rf"id {tokenizer.end_of_text_id} is <\|endoftext\|> in the data, <\|other\|> in it")
    other = Tokenizer.train(["zebra zoo yacht xylophone wolf vest under tea " * 30], TokenizerConfig(vocab_size=300))
    refused(other, "id 25[6-9] is b'.*' in the data")

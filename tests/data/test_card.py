"""What a run keeps of its data sets."""

import json

from hornbook.data.card import data_card
from hornbook.data.dataset import Dataset
from hornbook.data.index import DatasetIndex, ShardFile, Skipped, SplitIndex


def test_a_card_has_counts_and_origin_and_neither_files_nor_long_lists(tmp_path):
    shards = (ShardFile(file="train-00000.bin", first_byte=0, tokens=7, sha256="a" * 64),)
    counts = {"dtype": "uint16", "tokens": 7, "documents": 2, "text_bytes": 30, "offsets_sha256": "b" * 64}
    paths = [f"{number}.txt" for number in range(100)]
    index = DatasetIndex(
        tokenizer_fingerprint="f",
        vocab_size=300,
        end_of_text_id=None,
        splits={"train": SplitIndex(**counts, shards=shards, trained_tokens=5)},
        skipped={"not UTF-8": Skipped(count=3, first="9.txt: ...")},
        made_from={"source": {"kind": "text", "paths": paths}, "chat template": {"user": []}, "split": "documents"},
        stage="sft",
    )
    dataset = Dataset(tmp_path, index)
    card = data_card(dataset)
    assert json.loads(json.dumps(card)) == card
    assert card["splits"] == {"train": {"tokens": 7, "trained_tokens": 5, "documents": 2, "text_bytes": 30}}
    assert card["skipped"] == {"not UTF-8": 3}
    assert card["digest"] == dataset.digest
    assert card["made_from"] == {
        "source": {"kind": "text", "paths": [*paths[:20], "and 80 more"]},
        "split": "documents",
    }

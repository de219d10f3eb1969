"""Real instruction data and preferences, counted here once more by a few lines of their own."""

import gzip
import json

import pytest

from data_paths import needs
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.data.tuning import prepare_tuning
from hornbook.tokenizer.tokenizer import Tokenizer
from tuning_data import rows_of, tuning_config

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def tokenizer():
    """Trained on the answers, so that the rows are short enough."""
    records = json.loads(needs("sft/alpaca-style/instruction-data.json").read_bytes())
    return Tokenizer.train([record["output"] for record in records], TokenizerConfig(vocab_size=1000))


def ids(tokenizer, text):
    return len(tokenizer.encode(text))


def test_alpaca_style_with_the_split_of_its_book(tmp_path, tokenizer):
    """935 + 55 + 110 rows in file order; a row is four control tokens, its texts and what joins them."""
    path = needs("sft/alpaca-style/instruction-data.json")
    records = json.loads(path.read_bytes())
    fractions = {"split": "position", "valid_fraction": 0.05, "test_fraction": 0.1}
    dataset = prepare_tuning(tuning_config(tmp_path, path, context_length=512, **fractions), tokenizer)
    splits = dataset.index.splits
    assert [splits[name].documents for name in ("train", "valid", "test")] == [935, 55, 110]
    assert not dataset.index.skipped
    trained = sum(ids(tokenizer, record["output"]) + 1 for record in records)
    asked = sum(
        ids(tokenizer, r["instruction"])
        + (ids(tokenizer, "\n\n") + ids(tokenizer, r["input"]) if r["input"] else 0)
        + 3
        for r in records
    )
    assert sum(split.trained_tokens for split in splits.values()) == trained
    assert sum(split.tokens for split in splits.values()) == trained + asked
    prompts = [(record["instruction"], record["input"]) for record in records]
    again = [sum(prompt in prompts[:935] for prompt in prompts[a:b]) for a, b in ((935, 990), (990, 1100))]
    assert list(dataset.index.notes.values()) == again == [1, 5]


def test_polite_and_impolite_pairs(tmp_path, tokenizer):
    path = needs("preference/polite-impolite/instruction-data-with-preference.json")
    records = json.loads(path.read_bytes())
    fractions = {"split": "position", "valid_fraction": 0.05, "test_fraction": 0.1}
    config = tuning_config(tmp_path, path, stage="dpo", context_length=512, **fractions)
    dataset = prepare_tuning(config, tokenizer)
    same = [i for i, record in enumerate(records) if record["chosen"] == record["rejected"]]
    assert dataset.index.skipped["identical answers"].count == len(same) == 6
    kept = [record for i, record in enumerate(records) if i not in same]
    assert sum(split.documents for split in dataset.index.splits.values()) == 2 * len(kept)
    answers = [trained.removesuffix("<|end|>") for _, trained in rows_of(dataset)]
    n_pairs = len(answers) // 2
    assert answers[::2] == [record["chosen"] for record in kept[:n_pairs]]
    assert answers[1::2] == [record["rejected"] for record in kept[:n_pairs]]
    wholes = [text.partition("<|assistant|>")[0] for text, _ in rows_of(dataset)]
    assert wholes[::2] == wholes[1::2]


@pytest.mark.parametrize(
    ("name", "columns", "joined"),
    [
        (
            "sft/fairytaleqa/fairytaleqa_val.jsonl.gz",
            {"instruction": "question", "input": "context", "output": "answer"},
            lambda r: f"{r['question']}\n\n{r['context']}",
        ),
        ("sft/gsm8k/gsm8k_train.jsonl.gz", {"instruction": "question", "output": "answer"}, lambda r: r["question"]),
    ],
)
def test_columns_of_other_names(tmp_path, tokenizer, name, columns, joined):
    path = needs(name)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = [json.loads(line) for _, line in zip(range(1000), file, strict=False)]
    config = tuning_config(
        tmp_path, path, context_length=256, max_documents=1000, tuning={"columns": columns, "too_long": "drop"}
    )
    dataset = prepare_tuning(config, tokenizer)
    texts = [(f"<|user|>{joined(r)}<|end|><|assistant|>{r['answer']}<|end|>", f"{r['answer']}<|end|>") for r in records]
    found = rows_of(dataset)
    kept = iter(texts)
    assert all(row in kept for row in found)  # the same rows in the same order, some left out
    assert len(found) + dataset.index.skipped["too long"].count == len(records)
    assert 100 < len(found) < len(records)

"""Ids equal tiktoken's for GPT-2's vocabulary on every text of the data folder."""

import gzip
import json
import zipfile

import pytest

from data_paths import needs

TEXTS = [
    "pretrain/tinyshakespeare/input.txt",
    "pretrain/names/names.txt",
    "pretrain/wikitext-2/wiki.train.tokens.gz",
    "pretrain/wikitext-2/wiki.valid.tokens",
    "pretrain/wikitext-2/wiki.test.tokens",
    "pretrain/wikitext-2/wiki.test.raw",
    "pretrain/tinystories/tinystories_train_a.txt",
    "pretrain/tinystories/tinystories_train_b_v2valid.txt",
    "pretrain/tinystories/tinystories_valid.txt",
    "pretrain/classic-stories/classic_stories_train.jsonl.gz",
    "pretrain/classic-stories/classic_stories_valid.jsonl.gz",
    "pretrain/fairytales/fairytales_train.jsonl.gz",
    "pretrain/fairytales/fairytales_val.jsonl.gz",
    "pretrain/fairytales/fairytales_test.jsonl.gz",
    "sft/fairytaleqa/fairytaleqa_train.jsonl.gz",
    "sft/alpaca-style/instruction-data.json",
    "sft/gsm8k/gsm8k_train.jsonl.gz",
    "preference/polite-impolite/instruction-data-with-preference.json",
    "eval/hellaswag/hellaswag_val.jsonl.gz",
    "eval/arc_easy/arc_easy.jsonl.gz",
    "eval/lambada/lambada_openai.jsonl.gz",
    "eval/blimp/BLiMP.zip",
]


def read(name, limit):
    """The text of a file, of records if it has them, up to about `limit` characters."""
    path = needs(name)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(".jsonl") and "__MACOSX" not in n]
            return "".join(archive.read(n).decode() for n in names)[:limit]
    opener = gzip.open if path.suffix == ".gz" else open
    if ".jsonl" not in path.name:
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            return file.read(limit)
    texts, size = [], 0
    with opener(path, "rt", encoding="utf-8") as file:
        for line in file:
            texts += [value for value in json.loads(line).values() if isinstance(value, str)]
            size += len(line)
            if size > limit:
                break
    return "\n".join(texts)[:limit]


def check(text, gpt2, tiktoken_gpt2):
    ids, _ = gpt2.encode_batch([text.encode()])
    assert ids.tolist() == tiktoken_gpt2.encode_ordinary(text)
    assert gpt2.decode(ids) == text


@pytest.mark.medium
@pytest.mark.parametrize("name", TEXTS)
def test_the_beginning(name, gpt2, tiktoken_gpt2):
    check(read(name, 1_000_000), gpt2, tiktoken_gpt2)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXTS)
def test_the_whole(name, gpt2, tiktoken_gpt2):
    check(read(name, 10**9), gpt2, tiktoken_gpt2)


@pytest.mark.medium
def test_cl100k(cl100k, tiktoken_cl100k):
    for name in TEXTS[:9]:
        text = read(name, 300_000)
        assert cl100k.encode(text) == tiktoken_cl100k.encode_ordinary(text)

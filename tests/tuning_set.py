"""Small data sets of tuning, written file by file: conversations or pairs as they are rendered, and nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from hornbook.config.chat import TEMPLATES
from hornbook.config.data import TasksSource
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.data.dataset import Dataset
from hornbook.data.index import TOKENIZER_DIRECTORY, DatasetIndex, SplitIndex, SplitName, write_index
from hornbook.data.loss_mask import LossMaskWriter
from hornbook.data.shards import ShardWriter
from hornbook.data.tasks import TaskRow, task_rows
from hornbook.tokenizer.chat import Message, Rendered, render, render_pair
from hornbook.tokenizer.tokenizer import Tokenizer

Texts = Sequence[tuple[str, ...]]
"""(prompt, answer), or (prompt, chosen, rejected)."""


def make_tokenizer(texts: Sequence[str], vocab_size: int = 300) -> Tokenizer:
    """That of `plain_tokenizer` with the four control tokens of the template `hornbook` behind its ids."""
    return plain_tokenizer(texts, vocab_size).with_chat_template(TEMPLATES["hornbook"])


def plain_tokenizer(texts: Sequence[str], vocab_size: int = 300) -> Tokenizer:
    """One with end of text, padding and mask, and no control token."""
    return Tokenizer.train(texts, TokenizerConfig(vocab_size=vocab_size, special_tokens="pretraining"))


def write_tuning_set(
    directory: Path, tokenizer: Tokenizer, stage: Literal["sft", "dpo"], splits: Mapping[SplitName, Texts]
) -> Dataset:
    """A data set of `splits`, opened."""
    directory.mkdir(parents=True)
    tokenizer.save(directory / TOKENIZER_DIRECTORY)
    index = DatasetIndex(
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocab_size=tokenizer.vocab_size,
        end_of_text_id=None,
        splits={name: _write(directory, name, _rendered(tokenizer, stage, rows)) for name, rows in splits.items()},
        skipped={},
        made_from={},
        stage=stage,
    )
    write_index(directory, index)
    return Dataset.open(directory, verify=True)


def word_rows(n_rows: int, *, task: str = "copy", length: int = 3) -> list[TaskRow]:
    """Rows of one of our own tasks."""
    return list(task_rows(TasksSource(tasks=(task,), min_length=length, max_length=length, n_rows=n_rows)))


def _rendered(tokenizer: Tokenizer, stage: str, rows: Texts) -> list[Rendered]:
    if stage == "sft":
        return [render(tokenizer, _turns(row)) for row in rows]
    prompts = ([Message("user", row[0])] for row in rows)
    return [
        each for prompt, row in zip(prompts, rows, strict=True) for each in render_pair(tokenizer, prompt, *row[1:])
    ]


def _turns(texts: Sequence[str]) -> list[Message]:
    return [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]


def _write(directory: Path, split: SplitName, documents: Sequence[Rendered]) -> SplitIndex:
    mask = LossMaskWriter(directory, split)
    with ShardWriter(directory, split, dtype="uint16", shard_tokens=1 << 20) as writer:
        for document in documents:
            writer.append(np.array(document.ids), np.array([len(document.ids)]), 1)
            mask.append(np.array(document.trained))
        found = writer.finish()
    return SplitIndex(**{**vars(found), "trained_tokens": mask.n_trained, "loss_mask_sha256": mask.finish()})

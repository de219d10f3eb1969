"""Counted words on disk beside a tokenizer, so that nothing is counted twice.

`tokenizers/x.counts` holds the words of the text that `tokenizers/x` is trained on. Training that was interrupted after
counting goes on from it, and another vocab_size or tie_order starts from it. It stays when the tokenizer is saved and
may be deleted at any time. Only text of KEPT_FROM bytes or more is worth it: a thousandth to a tenth of its size.
"""

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hornbook.storage.atomic import replace_file
from hornbook.tokenizer.word_counts import WordCounts

KEPT_FROM = 2**24


class KeptCounts(NamedTuple):
    """The words of a text, and what else reading it has told."""

    words: WordCounts
    documents: int
    skipped: int
    """Documents that could not be read."""
    sample: bytes
    """The beginning of the text."""


def counts_file(tokenizer: Path) -> Path:
    """Where the counts of a tokenizer's directory are kept."""
    return tokenizer.with_name(f"{tokenizer.name}.counts")


def write_counts(path: Path, kept: KeptCounts, digest: str) -> None:
    """Write the file whole or not at all; `digest` is of all that decides the counts.

    Raises:
        StorageError: if the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    memory = io.BytesIO()
    np.savez(
        memory,
        digest=np.array(digest),
        text=kept.words.text,
        starts=kept.words.starts,
        counts=kept.words.counts,
        read=np.array([kept.documents, kept.skipped]),
        sample=np.frombuffer(kept.sample, np.uint8),
    )
    replace_file(path, memory.getvalue())


def read_counts(path: Path, digest: str) -> KeptCounts | None:
    """The counts of this digest; None if the file is not there, damaged, or of another text or other settings."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if str(file["digest"]) != digest:
                return None
            documents, skipped = file["read"].tolist()
            words = WordCounts(file["text"], file["starts"], file["counts"])
            return KeptCounts(words, documents, skipped, file["sample"].tobytes())
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None

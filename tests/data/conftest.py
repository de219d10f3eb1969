"""A tiny tokenizer, and token streams of chosen numbers."""

import os
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from hornbook.config.tokenizer import TokenizerConfig
from hornbook.data.documents import Document, SourceReport
from hornbook.data.shards import ShardWriter, TokenStream
from hornbook.data.sources import open_source
from hornbook.tokenizer.tokenizer import Tokenizer

WORDS = "the cat sat on a mat and saw the rat, then the cat ate. "


@pytest.fixture(autouse=True)
def _no_sync(monkeypatch) -> None:
    """Waiting for the disk takes most of the time of these tests, and no test here cuts the power."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """300 ids, of which the last few are special."""
    return Tokenizer.train([WORDS * 20], TokenizerConfig(vocab_size=300))


@pytest.fixture(scope="session")
def letters() -> Tokenizer:
    """One id a character of a to z and space, none special."""
    return Tokenizer.train(["abcdefghijklmnopqrstuvwxyz \n"], TokenizerConfig(kind="characters", special_tokens="none"))


@pytest.fixture
def stream_of(tmp_path: Path) -> Callable[..., TokenStream]:
    """Writes documents (lists of ids) as a split in shards of `shard_tokens`, and opens it."""

    def make(documents: Sequence[Sequence[int]], *, shard_tokens: int = 7, dtype: str = "uint16") -> TokenStream:
        with ShardWriter(tmp_path, "train", dtype=dtype, shard_tokens=shard_tokens) as writer:
            for document in documents:
                writer.append(np.array(document, dtype=dtype), np.array([len(document)]), text_bytes=len(document))
            return TokenStream(tmp_path, "train", writer.finish())

    return make


@pytest.fixture
def hub(monkeypatch) -> types.ModuleType:
    """A stand-in for `datasets`: what loading gives is `hub.gives`, how it was called is in `hub.calls`."""
    module = types.ModuleType("datasets")
    module.calls = []

    def load_dataset(name, subset, **options):
        module.calls.append((name, subset, options))
        if isinstance(module.gives, Exception):
            raise module.gives
        return module.gives

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.setattr("hornbook.data.record_sources.ask_hub", lambda _: None)
    return module


@pytest.fixture
def read() -> Callable[..., tuple[list[Document], SourceReport]]:
    """Reads a source to its end."""

    def read(source, on_error="stop") -> tuple[list[Document], SourceReport]:
        report = SourceReport()
        return list(open_source(source, on_error=on_error, report=report)), report

    return read

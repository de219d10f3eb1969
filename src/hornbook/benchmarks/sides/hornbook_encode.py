"""Ours: a file of text to a file of ids, or documents in memory to an array."""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hornbook.tokenizer.compiled import kernels_for, warm_up
from hornbook.tokenizer.tokenizer import Tokenizer

END = "<|endoftext|>"
SMALL_BYTES = 4096
"""Enough for the compiled code, which makes its tables of the vocabulary when it is first called."""
WORD_SAMPLE_BYTES = 8_000_000
"""How much of the beginning of the text is split to say how long its words are; its last character may be cut."""


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    """Vocabulary and kernels are loaded and the tables made, as those of the others are; no word is known yet. With
    `tables` off the block makes them, as the one call of a command does."""
    tokenizer = Tokenizer.load(settings["tokenizer"])
    warm_up("encode")
    if settings.get("tables", True):
        tokenizer.encode_batch([b"a" * SMALL_BYTES])
    if settings.get("in_memory"):
        return _in_memory(tokenizer, settings)
    path, out = Path(settings["path"]), Path(settings["out"])
    dtype = np.dtype(settings["dtype"])

    def block() -> None:
        tokenizer.encode_file(path, out, threads=settings["threads"], allowed_special=(END,), dtype=dtype)

    def checks(_: None) -> dict[str, Any]:
        n_tokens = out.stat().st_size // dtype.itemsize
        with out.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        shown = {"tokens": f"{n_tokens:,}", "bytes per token": f"{path.stat().st_size / n_tokens:.2f}"}
        if kernels := kernels_for("encode", WORD_SAMPLE_BYTES):
            with path.open("rb") as file:
                text = file.read(WORD_SAMPLE_BYTES)
            n_words = len(kernels.module("splitting").word_starts(settings["pattern"], text)) - 1
            shown["bytes per word"] = f"{len(text) / n_words:.2f}"
        return {"ids": digest, "shown": shown, "torch imported": "torch" in sys.modules}

    return block, checks


def _in_memory(tokenizer: Tokenizer, settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    documents = Path(settings["path"]).read_bytes().split(END.encode())
    dtype = np.dtype(settings["dtype"])

    def block() -> Any:
        return tokenizer.encode_batch(documents, threads=settings["threads"], dtype=dtype)

    return block, lambda result: {"shown": {"tokens": f"{len(result[0]):,}"}}

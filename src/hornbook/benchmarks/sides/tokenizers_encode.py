"""Hugging Face tokenizers: a file of text to a file of ids by `encode_batch_fast`, its call without offsets."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """The vocabulary is loaded; the block reads, splits and writes too."""
    tokenizer = Tokenizer.from_file(settings["json"])
    out, dtype = Path(settings["out"]), np.dtype(settings["dtype"])

    def block() -> None:
        text = Path(settings["path"]).read_bytes().decode()
        documents = [document + "<|endoftext|>" for document in text.split("<|endoftext|>")[:-1]]
        with out.open("wb") as file:
            for encoding in tokenizer.encode_batch_fast(documents):
                np.array(encoding.ids, dtype=dtype).tofile(file)

    def checks(_: None) -> dict[str, Any]:
        with out.open("rb") as file:
            return {"ids": hashlib.file_digest(file, "sha256").hexdigest()}

    return block, checks

"""fastokens: a file of text to a file of ids by `encode_batch_flat`, its call for bulk work."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastokens
import numpy as np


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """The vocabulary is loaded; the block reads, splits and writes too."""
    if settings["encoding"] == "gpt2":
        tokenizer = fastokens.Tokenizer.from_file(settings["json"])
    else:
        tokenizer = fastokens.Tokenizer.from_tiktoken(settings["ranks"], encoding=settings["encoding"])
    out, dtype = Path(settings["out"]), np.dtype(settings["dtype"])

    def block() -> None:
        text = Path(settings["path"]).read_bytes().decode()
        documents = [document + "<|endoftext|>" for document in text.split("<|endoftext|>")[:-1]]
        ids, _ = tokenizer.encode_batch_flat(documents)
        np.frombuffer(ids, dtype=np.uint32).astype(dtype, copy=False).tofile(out)

    def checks(_: None) -> dict[str, Any]:
        with out.open("rb") as file:
            return {"ids": hashlib.file_digest(file, "sha256").hexdigest()}

    return block, checks

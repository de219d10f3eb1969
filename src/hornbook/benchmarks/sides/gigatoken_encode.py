"""gigatoken: a file of text to a file of ids by `encode_files` (its fastest), or documents in memory by `encode_batch`.

It finds <|endoftext|> in the text and splits the file for its threads by itself.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward
import gigatoken
import numpy as np


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """The vocabulary is loaded."""
    if settings["encoding"] == "gpt2":
        tokenizer = gigatoken.Tokenizer(settings["json"])
    else:
        tokenizer = gigatoken.Tokenizer.from_tiktoken(settings["ranks"])
    out, dtype = Path(settings["out"]), np.dtype(settings["dtype"])

    def block() -> None:
        if settings.get("call") == "encode_batch":
            documents = Path(settings["path"]).read_bytes().split(b"<|endoftext|>")
            rows = tokenizer.encode_batch([text + b"<|endoftext|>" for text in documents[:-1]])
        else:
            rows = tokenizer.encode_files([settings["path"]])
        np.asarray(awkward.flatten(rows)).astype(dtype, copy=False).tofile(out)

    def checks(_: None) -> dict[str, Any]:
        with out.open("rb") as file:
            return {"ids": hashlib.file_digest(file, "sha256").hexdigest()}

    return block, checks

"""tiktoken: a file of text to a file of ids, by its own batches or by `encode_to_numpy`, which makes no lists."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tiktoken
import tiktoken_ext.openai_public as public
from tiktoken.load import load_tiktoken_bpe

os.environ["TIKTOKEN_CACHE_DIR"] = ""  # it would keep a copy of the ranks under the name of a temporary file


def encoding(settings: dict[str, Any]) -> tiktoken.Encoding:
    """Its own definition of the encoding, with the ranks from a local file instead of a download."""
    ranks = load_tiktoken_bpe(settings["ranks"])
    public.load_tiktoken_bpe = public.data_gym_to_mergeable_bpe_ranks = lambda *_, **__: ranks
    return tiktoken.Encoding(**public.ENCODING_CONSTRUCTORS[settings["encoding"]]())


def setup(settings: dict[str, Any]) -> tuple[Callable[[], None], Callable[[None], dict[str, Any]]]:
    """The block reads, splits and writes too."""
    encoder, out, dtype = encoding(settings), Path(settings["out"]), np.dtype(settings["dtype"])
    end = encoder.eot_token

    def batch() -> None:
        rows = encoder.encode_ordinary_batch(_documents(settings), num_threads=settings["threads"])
        with out.open("wb") as file:
            for row in rows:
                row.append(end)
                np.array(row, dtype=dtype).tofile(file)

    def to_numpy() -> None:
        ending = np.array([end], dtype=dtype)
        with ThreadPoolExecutor(settings["threads"]) as pool, out.open("wb") as file:
            for row in pool.map(partial(encoder.encode_to_numpy, disallowed_special=()), _documents(settings)):
                row.astype(dtype, copy=False).tofile(file)
                ending.tofile(file)

    def checks(_: None) -> dict[str, Any]:
        with out.open("rb") as file:
            return {"ids": hashlib.file_digest(file, "sha256").hexdigest()}

    return to_numpy if settings.get("call") == "encode_to_numpy" else batch, checks


def _documents(settings: dict[str, Any]) -> list[str]:
    return Path(settings["path"]).read_bytes().decode().split("<|endoftext|>")[:-1]

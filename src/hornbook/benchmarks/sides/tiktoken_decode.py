"""tiktoken: ids back to bytes in one go, to the texts of many documents, or one id at a time as a model gives them."""

import codecs
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiktoken
import tiktoken_ext.openai_public as public
from tiktoken.load import load_tiktoken_bpe

os.environ["TIKTOKEN_CACHE_DIR"] = ""  # it would keep a copy of the ranks under the name of a temporary file


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    """The ids are those of the text at `path`, as lists, which it takes without converting."""
    ranks = load_tiktoken_bpe(settings["ranks"])
    public.load_tiktoken_bpe = public.data_gym_to_mergeable_bpe_ranks = lambda *_, **__: ranks
    encoder = tiktoken.Encoding(**public.ENCODING_CONSTRUCTORS[settings["encoding"]]())
    rows = encoder.encode_ordinary_batch(Path(settings["path"]).read_bytes().decode().split("<|endoftext|>"))
    listed = [i for row in rows for i in row]

    def stream() -> list[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces = [decoder.decode(encoder.decode_single_token_bytes(i)) for i in listed]
        return [*pieces, decoder.decode(b"", True)]

    def checks(result: Any) -> dict[str, Any]:
        text = result if isinstance(result, bytes) else "".join(result).encode()
        return {"text": hashlib.sha256(text).hexdigest()}

    calls: dict[str, Callable[[], Any]] = {
        "bytes": lambda: encoder.decode_bytes(listed),
        "batch": lambda: encoder.decode_batch(rows, num_threads=settings["threads"]),
        "stream": stream,
    }
    return calls[settings["call"]], checks

"""Ours: ids back to bytes in one go, to the texts of many documents, or one id at a time as a model gives them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbook.tokenizer.compiled import warm_up
from hornbook.tokenizer.tokenizer import Tokenizer


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    """The ids are those of the text at `path`, as arrays; one at a time they come as a list."""
    tokenizer = Tokenizer.load(settings["tokenizer"])
    warm_up("encode")
    ids, offsets = tokenizer.encode_batch(Path(settings["path"]).read_bytes().split(b"<|endoftext|>"))
    listed = ids.tolist()

    def stream() -> list[str]:
        decoder = tokenizer.stream_decoder()
        return [*map(decoder.push, listed), decoder.finish()]

    def checks(result: Any) -> dict[str, Any]:
        text = result if isinstance(result, bytes) else "".join(result).encode()
        return {"text": hashlib.sha256(text).hexdigest(), "shown": {"tokens": f"{len(ids):,}"}}

    calls: dict[str, Callable[[], Any]] = {
        "bytes": lambda: tokenizer.decode_bytes(ids),
        "batch": lambda: tokenizer.decode_batch(ids, offsets),
        "stream": stream,
    }
    return calls[settings["call"]], checks

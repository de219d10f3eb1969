"""rustbpe: learn a vocabulary from documents that are in memory as strings already. It names no merges to compare."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import rustbpe


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Any], Callable[[Any], dict[str, Any]]]:
    """Its vocabulary has no special tokens, so it is asked for fewer."""
    documents = Path(settings["path"]).read_bytes().decode().split("<|endoftext|>")
    size = settings["vocab_size"] - len(settings["special_tokens"])

    def block() -> Any:
        tokenizer = rustbpe.Tokenizer()
        tokenizer.train_from_iterator(documents, vocab_size=size, pattern=settings["expression"])
        return tokenizer

    return block, lambda tokenizer: {"vocabulary size": tokenizer.vocab_size}

"""Ours: learn a vocabulary from a file, whose <|endoftext|> is a special token and so separates documents."""

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbook.config.tokenizer import TokenizerConfig
from hornbook.tokenizer.tokenizer import Tokenizer


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Tokenizer], Callable[[Tokenizer], dict[str, Any]]]:
    """The block reads the file too."""
    config = TokenizerConfig(vocab_size=settings["vocab_size"], special_tokens="pretraining")
    path, threads = Path(settings["path"]), settings["threads"]

    def block() -> Tokenizer:
        return Tokenizer.train(path, config, threads=threads)

    return block, _checks


def _checks(tokenizer: Tokenizer) -> dict[str, Any]:
    merges = json.loads(tokenizer.to_hugging_face())["model"]["merges"]
    return {
        "merges": hashlib.sha256(json.dumps([list(pair) for pair in merges]).encode()).hexdigest(),
        "shown": {"merges": f"{len(merges):,}"},
        "torch imported": "torch" in sys.modules,
    }

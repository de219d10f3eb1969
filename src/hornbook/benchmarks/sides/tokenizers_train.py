"""Hugging Face tokenizers: learn a vocabulary from documents that are in memory as strings already."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers


def setup(settings: dict[str, Any]) -> tuple[Callable[[], Tokenizer], Callable[[Tokenizer], dict[str, Any]]]:
    """By document, not by line: `train` on files would never see what spans a line end.

    Special tokens in the text are borders, as with ours; this trainer would count their letters.
    """
    borders = "|".join(map(re.escape, settings["special_tokens"]))
    documents = re.split(borders, Path(settings["path"]).read_bytes().decode())

    def block() -> Tokenizer:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        trainer = trainers.BpeTrainer(
            vocab_size=settings["vocab_size"],
            special_tokens=settings["special_tokens"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(documents, trainer, length=len(documents))
        return tokenizer

    return block, _checks


def _checks(tokenizer: Tokenizer) -> dict[str, Any]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    pairs = [pair.split(" ") if isinstance(pair, str) else list(pair) for pair in merges]
    return {"merges": hashlib.sha256(json.dumps(pairs).encode()).hexdigest()}

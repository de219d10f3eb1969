"""The published vocabularies that encoding is measured with, in the form that each library reads."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.config.tokenizer import END_OF_TEXT
from hornbook.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A vocabulary as files, of which each side takes the one it reads."""

    name: str
    settings: Mapping[str, Any]
    """tokenizer (a directory of ours), ranks (.tiktoken), json (tokenizer.json or None), encoding, pattern, dtype."""


def gpt2(source: Path | None, directory: Path) -> Vocabulary | None:
    """GPT-2's 50,257 ids, from a folder with its vocabulary and merges; None where there is none."""
    folder = source or _data("tokenizer/gpt2")
    for prefix in ("", "gpt2_"):
        vocab, merges = folder / f"{prefix}vocab.json", folder / f"{prefix}merges.txt"
        if vocab.is_file() and merges.is_file():
            break
    else:
        return None
    tokenizer = Tokenizer.from_files(vocab, merges, special_tokens=[END_OF_TEXT])
    ranks, json = directory / "gpt2.tiktoken", directory / "gpt2.json"
    ranks.write_text(Tokenizer(tokenizer.scheme, ()).to_tiktoken(), encoding="ascii")
    json.write_text(tokenizer.to_hugging_face(), encoding="utf-8")
    return _vocabulary("gpt2", tokenizer, directory, pattern="gpt2", ranks=ranks, json=json, dtype="uint16")


def cl100k(source: Path | None, directory: Path) -> Vocabulary | None:
    """OpenAI's 100,256 ordinary ids, from its .tiktoken file; None where there is none."""
    ranks = source or _data("tokenizer/cl100k_base.tiktoken")
    if not ranks.is_file():
        return None
    tokenizer = Tokenizer.from_tiktoken(ranks, pattern="cl100k", special_tokens={END_OF_TEXT: 100257})
    return _vocabulary("cl100k_base", tokenizer, directory, pattern="cl100k", ranks=ranks, json=None, dtype="uint32")


def _data(name: str) -> Path:
    return Path(os.environ.get("HORNBOOK_DATA", "../shared/data")) / name


def _vocabulary(
    name: str, tokenizer: Tokenizer, directory: Path, *, pattern: str, ranks: Path, json: Path | None, dtype: str
) -> Vocabulary:
    ours = directory / name
    tokenizer.save(ours)
    settings = {"tokenizer": str(ours), "ranks": str(ranks), "json": str(json) if json else None}
    return Vocabulary(name=name, settings={**settings, "encoding": name, "pattern": pattern, "dtype": dtype})

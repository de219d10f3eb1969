"""What `hornbook tokenizer` shows: words and colours for people, JSON lines for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hornbook.cli.token_text import quoted, tokens_of, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hornbook.cli.token_documents import GivenTexts, StoredDocuments
    from hornbook.tokenizer.tokenizer import Tokenizer

LONGEST_SHOWN = 10


def show_tokenizer(tokenizer: Tokenizer, path: Path) -> None:
    """What a tokenizer is."""
    from hornbook.tracking.console import emit, speaks_to_people
    from hornbook.tracking.figures import printable

    scheme = tokenizer.scheme
    facts: dict[str, object] = {
        "path": str(path),
        "kind": scheme.kind,
        "vocab_size": tokenizer.vocab_size,
        "pattern": getattr(scheme, "pattern", None),
        "normalizer": getattr(scheme, "normalizer", None),
        "special_tokens": tokenizer.special_tokens,
        "added_tokens": tokenizer.added_tokens,
        "template": tokenizer.template._asdict() if any(tokenizer.template) else None,
        "longest_tokens": longest_tokens(tokenizer),
        "fingerprint": tokenizer.fingerprint,
    }
    if speaks_to_people():
        facts["longest_tokens"] = "  ".join(quoted(longest_of(tokenizer)))
        for name, value in facts.items():
            if isinstance(value, dict):
                value = ", ".join(f"{key} = {what}" for key, what in value.items())
            if value:
                print(f"{name.replace('_', ' '):<16}{printable(str(value))}")
    emit("tokenizer", console="auto", **facts)


def show_documents(
    documents: GivenTexts | StoredDocuments, tokenizer: Tokenizer, *, one: int | None, with_bytes: bool
) -> None:
    """Texts beside their tokens: a screen at a time on a terminal that answers, else all of them.

    Where stdout is no terminal: a JSON line for each token of a text, or for each document of a data set, or only for
    the document `one`.
    """
    from hornbook.tracking.console import speaks_to_people

    numbers = range(len(documents)) if one is None else range(one, one + 1)
    if not speaks_to_people():
        _write_lines(documents, tokenizer, numbers)
        return
    from rich.console import Console

    from hornbook.cli.token_pager import Pager
    from hornbook.cli.token_rows import in_turns, in_turns_with_bytes

    look = in_turns_with_bytes if with_bytes else in_turns
    pager = Pager(documents, tokenizer, Console(), input, look=look)
    if sys.stdin.isatty():
        pager.run(one or 0)
    else:
        pager.show_all(numbers)


def _write_lines(documents: GivenTexts | StoredDocuments, tokenizer: Tokenizer, numbers: Iterable[int]) -> None:
    """Not by `emit`, which goes on in silence when its reader has gone: these may be millions of lines."""
    from hornbook.cli.token_documents import GivenTexts
    from hornbook.tracking.jsonl import json_line

    for number in numbers:
        if isinstance(documents, GivenTexts):
            for line in _token_lines(documents.where(number), tokenizer, documents.ids(number)):
                print(json_line(line))
        else:
            print(json_line(_document_line(documents, number)))


def _token_lines(where: str, tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[dict[str, object]]:
    start = 0
    for token in tokens_of(tokenizer, ids):
        yield {
            "event": "token",
            "source": where,
            "id": token.id,
            "text": visible(token.data),
            "bytes": token.data.hex(),
            "start": start,
            "special": token.special,
        }
        start += len(token.data)


def _document_line(documents: StoredDocuments, number: int) -> dict[str, object]:
    """The document as the ids give it back, and the source where it can be had."""
    ids, text, source = documents.ids(number), documents.text(number), documents.source(number)
    return {
        "event": "document",
        "split": documents.split,
        "document": number,
        "n_tokens": len(ids),
        "n_bytes": len(text),
        "text": text.decode("utf-8", "backslashreplace"),
        "ids": ids.tolist(),
        "source": source.where,
        "source_text": source.text.decode() if source.text is not None else None,
        "source_is_same": source.text == text if source.text is not None else None,
    }


def longest_tokens(tokenizer: Tokenizer) -> list[str]:
    """The longest ordinary tokens, longest first."""
    return [visible(token) for token in longest_of(tokenizer)]


def longest_of(tokenizer: Tokenizer) -> list[bytes]:
    """The same as bytes."""
    return sorted(filter(None, tokenizer.scheme.tokens), key=lambda token: (-len(token), token))[:LONGEST_SHOWN]

"""`hornbook tokenizer inspect --html`: documents and their tokens as one file, as many as fit a limit that is told."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hornbook.cli.token_pager import Documents
    from hornbook.tokenizer.tokenizer import Tokenizer


def write_page(out: Path, tokenizer: Tokenizer, path: Path, documents: Documents, first: int, max_tokens: int) -> None:
    """Write the file, and say what it holds and what it leaves out.

    Raises:
        StorageError: if it cannot be written.
    """
    from hornbook.cli import token_page
    from hornbook.cli.token_documents import StoredDocuments
    from hornbook.cli.token_text import tokens_of
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    shown: list[str] = []
    used: set[int] = set()
    left, number, cut = max_tokens, first, False
    while number < len(documents) and left > 0:
        ids = documents.ids(number)
        part = ids[:left]
        shown += token_page.document(documents.title(number), documents.notes(number), tokens_of(tokenizer, part))
        if len(part) < len(ids):
            shown.append(f'<p class="cut">Cut here: {len(ids) - len(part):,} more tokens of this document.</p>\n')
            cut = True
        used.update(map(int, part))
        left -= len(part)
        number += 1
    n_tokens = max_tokens - left
    omitted = len(documents) - number
    note = f"{n_tokens:,} tokens"
    if len(documents) > 1:
        note += f" in {number - first:,} of {len(documents):,} documents"
    if cut or omitted:
        note += f", cut at {max_tokens:,} tokens; --max-tokens shows more"
    owner = f"{escape(str(path))}: {tokenizer.vocab_size:,} ids"
    body = [
        f'<p class="{"cut" if cut or omitted else "facts"}">{owner}. {note}.</p>\n',
        *shown,
    ]
    beside = isinstance(documents, StoredDocuments)
    text = token_page.page(f"Tokens by {path}", body, {"": token_page.facts(tokenizer, used)}, beside=beside)
    replace_file(out, text)
    if speaks_to_people():
        print(f"{out}: {note}")
    emit(
        "html",
        path=out,
        tokens=n_tokens,
        documents=number - first,
        of_documents=len(documents),
        cut=bool(cut or omitted),
    )

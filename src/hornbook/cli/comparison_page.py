"""`hornbook tokenizer compare --html`: the tables, and the same texts in the tokens of each tokenizer, as one file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from hornbook.cli import token_page
from hornbook.cli.comparison_view import best_of, fact_rows, notes, tables
from hornbook.cli.token_text import tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from hornbook.cli.comparison_view import Figure
    from hornbook.cli.tokenizer_compare import Compared, Kind

SHOWN_BYTES = 1500
"""Of each kind of text, at its beginning, that is shown in tokens."""


def write_page(out: Path, compared: Sequence[Compared], kinds: Sequence[Kind], skipped: Sequence[str]) -> None:
    """Write the file, and say so.

    Raises:
        StorageError: if it cannot be written.
    """
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    names = ", ".join(one.name for one in compared)
    used: dict[str, set[int]] = {one.name: set() for one in compared}
    body = [*_tables(compared, kinds, skipped), *_texts(compared, kinds, used)]
    vocabularies = {one.name: token_page.facts(one.tokenizer, used[one.name]) for one in compared}
    replace_file(out, token_page.page(f"Tokenizers compared: {names}", body, vocabularies, beside=None))
    if speaks_to_people():
        print(f"{out}: {len(compared)} tokenizers on {len(kinds)} kinds of text")
    emit("html", path=out, tokenizers=[one.name for one in compared], texts=[kind.name for kind in kinds])


def _tables(compared: Sequence[Compared], kinds: Sequence[Kind], skipped: Sequence[str]) -> Iterator[str]:
    head = "".join(f"<th>{escape(one.name)}</th>" for one in compared)
    yield '<div class="tables">\n'
    for title, rows in tables(compared, kinds):
        greatest = max((abs(value) for _, figures in rows for value, _ in figures if value is not None), default=1.0)
        yield f'<div class="wide"><h2>{escape(title)}</h2><table><tr><th></th>{head}</tr>\n'
        for name, figures in rows:
            best = best_of(figures)
            cells = "".join(_cell(figure, best, greatest) for figure in figures)
            yield f"<tr><th>{escape(name)}</th>{cells}</tr>\n"
        yield "</table></div>\n"
    yield f'</div>\n<h2>the tokenizers</h2><div class="wide"><table class="facts"><tr><th></th>{head}</tr>\n'
    for name, texts in fact_rows(compared):
        cells = "".join(f'<td class="words">{escape(text)}</td>' for text in texts)
        yield f"<tr><th>{escape(name)}</th>{cells}</tr>\n"
    yield "</table></div>\n"
    for note in notes(compared, kinds, skipped):
        yield f'<p class="facts">{escape(note)}</p>\n'


def _cell(figure: Figure, best: float | None, greatest: float) -> str:
    value, text = figure
    kind = "bar best" if value is not None and value == best else "bar"
    share = abs(value) / greatest if value is not None else 0.0
    return f'<td class="{kind}" style="--share: {share:.1%}">{escape(text)}</td>'


def _texts(compared: Sequence[Compared], kinds: Sequence[Kind], used: dict[str, set[int]]) -> Iterator[str]:
    """The beginning of each kind of text, once in the tokens of each tokenizer."""
    for kind in kinds:
        text, is_whole = _beginning(kind)
        cut = "" if is_whole else f": its first {len(text):,} of {kind.size.n_bytes:,} bytes"
        yield f'<section class="document"><h2>{escape(kind.name)}{cut}</h2>\n'
        for one in compared:
            if one.measured[kind.name].error:
                continue
            ids = one.tokenizer.encode_bytes(text, errors="replace")
            used[one.name].update(ids)
            yield f'<p class="facts">{escape(one.name)}: {len(ids):,} tokens</p>'
            yield '<div class="row"><pre class="tokens" dir="auto">'
            yield from token_page.spans(list(tokens_of(one.tokenizer, ids)), one.name)
            yield "</pre></div>\n"
        yield "</section>\n"


def _beginning(kind: Kind) -> tuple[bytes, bool]:
    """The first bytes of the texts in a row, up to a whole character, and whether that is all there is of the kind."""
    data = b""
    for text in kind.texts:
        if len(data) > SHOWN_BYTES:
            break
        if isinstance(text, bytes):
            data += text[: SHOWN_BYTES + 1]
        else:
            with text.open("rb") as file:
                data += file.read(SHOWN_BYTES + 1)
    whole = data[:SHOWN_BYTES].decode("utf-8", "ignore").encode()
    return whole, len(whole) == kind.size.n_bytes

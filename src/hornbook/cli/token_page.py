"""Tokens as one HTML file that needs nothing else: no network, no other file, and no script to be read."""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING

from hornbook.cli.token_text import parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hornbook.cli.token_text import Token
    from hornbook.tokenizer.tokenizer import Tokenizer

ROW_BYTES = 1200
"""Of text in one row, where text and tokens begin side by side again; a row ends with a line."""
LONGEST_ROW_BYTES = 4800
"""Of a row in a text without line ends."""

_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_MARKED = _ESCAPED | str.maketrans(
    {" ": "<s> </s>"} | {char: f'<s class="{name}">{char}</s>' for char, name in (("\n", "line"), ("\t", "tab"))}
)

Facts = list[list[str] | str]
"""Bytes of a token in hex, then pairs of a name and a value that hovering shows."""


def page(
    title: str,
    body: Iterable[str],
    vocabularies: Mapping[str, Mapping[int, Facts]],
    *,
    beside: bool | None,
    boxes: Sequence[tuple[str, str, bool]] = (),
) -> str:
    """The whole file.

    Args:
        title: plain text.
        body: HTML.
        vocabularies: what hovering says of each id, for each tokenizer whose tokens are shown, by `data-v`.
        beside: whether text stands beside tokens at first; None if there is no text to stand there.
        boxes: what else can be switched on: a class of the page, a label, and whether it is on at first.
    """
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            f"<title>{escape(title)}</title>\n<style>\n{_asset('page.css')}</style>\n</head>\n<body>\n",
            f"<header><h1>{escape(title)}</h1></header>\n{_tools(beside, boxes)}<main>\n",
            *body,
            '</main>\n<div id="tip" hidden></div>\n',
            f'<script type="application/json" id="vocabulary">{_script_json(vocabularies)}</script>\n',
            f"<script>\n{_asset('page.js')}</script>\n</body>\n</html>\n",
        ]
    )


def document(title: str, notes: Iterable[str], tokens: Iterable[Token]) -> Iterator[str]:
    """One text: its tokens, with the text itself row by row beside them."""
    yield f'<section class="document"><h2>{escape(title)}</h2>\n'
    for note in notes:
        yield f'<p class="facts">{escape(note)}</p>\n'
    for row in _rows(tokens):
        data = b"".join(token.data for token in row)
        yield f'<div class="row"><pre class="raw" dir="auto">{_marked(data, _ESCAPED)}</pre>'
        yield '<pre class="tokens" dir="auto">'
        yield from spans(row)
        yield "</pre></div>\n"
    yield "</section>\n"


def spans(
    tokens: Sequence[Token], vocabulary: str = "", marks: Sequence[Mapping[str, str]] | None = None
) -> Iterator[str]:
    """One element a token; one that holds part of a character says of which in `data-of`.

    `marks` has further attributes of each token's element, among them maybe more classes.
    """
    data = b"".join(token.data for token in tokens)
    start = 0
    for number, token in enumerate(tokens):
        end = start + len(token.data)
        given = dict(marks[number]) if marks is not None else {}
        kinds = [kind for kind in ("special" if token.special else "", given.pop("class", "")) if kind]
        attributes = {"class": " ".join(kinds), "data-v": vocabulary, "data-of": _characters_around(data, start, end)}
        written = "".join(f' {name}="{escape(text)}"' for name, text in {**attributes, **given}.items() if text)
        yield f'<b{written} data-i="{token.id}">{_marked(token.data)}</b>'
        start = end


def _characters_around(data: bytes, start: int, end: int) -> str:
    """The characters of which data[start:end] holds only a part with them; nothing if it holds whole ones only."""
    first, last = start, end
    while first > 0 and first < len(data) and _continues(data[first]):
        first -= 1
    while last < len(data) and _continues(data[last]):
        last += 1
    if (first, last) == (start, end):
        return ""
    return "".join(part.text for part in parts(data[first:last]))


def _continues(byte: int) -> bool:
    """Whether it is not the first of its character: 10xxxxxx."""
    return byte & 0xC0 == 0x80


def facts(tokenizer: Tokenizer, ids: Iterable[int]) -> dict[int, Facts]:
    """What hovering says of each of these ids: bytes, and which merge makes it."""
    specials = {i: name for name, i in tokenizer.special_tokens.items()}
    made = _merges(tokenizer)
    found: dict[int, Facts] = {}
    for i in sorted(set(map(int, ids))):
        data = tokenizer.token_bytes(i)
        found[i] = [data.hex()]
        if i in specials:
            found[i].append(["special", specials[i]])
        elif i in made:
            rank, left, right = made[i]
            pair = " + ".join(repr(tokenizer.token_bytes(part))[1:] for part in (left, right))
            found[i].append(["rank", f"{rank:,}: {pair}"])
    return found


def _merges(tokenizer: Tokenizer) -> dict[int, tuple[int, int, int]]:
    """Id -> (rank, left id, right id) of the first merge that makes it."""
    made: dict[int, tuple[int, int, int]] = {}
    for (left, right), (rank, i) in getattr(tokenizer.scheme, "merge_table", {}).items():
        if i not in made or rank < made[i][0]:
            made[i] = (rank, left, right)
    return made


def _rows(tokens: Iterable[Token]) -> Iterator[list[Token]]:
    row: list[Token] = []
    n_bytes = 0
    for token in tokens:
        row.append(token)
        n_bytes += len(token.data)
        if (n_bytes >= ROW_BYTES and b"\n" in token.data) or n_bytes >= LONGEST_ROW_BYTES:
            yield row
            row, n_bytes = [], 0
    if row:
        yield row


def _marked(data: bytes, table: dict[int, str] = _MARKED) -> str:
    """Bytes as HTML: text, escapes in <i>, and by default white space in <s>."""
    return "".join(
        f"<i>{escape(part.text)}</i>" if part.is_escape else part.text.translate(table)
        for part in parts(data, as_text="\n\t")
    )


def _tools(beside: bool | None, more: Sequence[tuple[str, str, bool]]) -> str:
    boxes = [("numbers", "ids", False), *more, ("marks", "white space", True)]
    if beside is not None:
        boxes.insert(0, ("beside", "text beside", beside))
    return (
        '<div class="tools"><form><input type="search" id="search" placeholder="text, or #id" aria-label="search">'
        '<button id="next">next</button><button type="button" id="previous">previous</button>'
        '<label><input type="checkbox" id="only"> only documents with it</label><output id="found"></output>'
        + "".join(
            f'<label><input type="checkbox" data-class="{name}"{" checked" if on else ""}> {label}</label>'
            for name, label, on in boxes
        )
        + "</form></div>\n"
    )


def _script_json(value: object) -> str:
    """JSON in which no end of a script element can stand."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return files("hornbook.cli").joinpath(name).read_text(encoding="utf-8")

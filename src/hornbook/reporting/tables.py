"""Tables of a page: names and values in two columns, and rows under heads."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape


def said(value: object) -> str:
    """A JSON value in words."""
    match value:
        case str():
            return value
        case dict():
            return ", ".join(f"{name} {said(inner)}" for name, inner in value.items())
        case list():
            return ", ".join(said(each) for each in value)
    return json.dumps(value, default=str)


def known(values: Mapping[str, object]) -> dict[str, str]:
    """In words, without what is empty."""
    return {name: said(value) for name, value in values.items() if value not in (None, "", [], {})}


def pairs(caption: str, values: Mapping[str, str]) -> str:
    """HTML of a table with a row for each name; empty if there is none."""
    if not values:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>\n' for name, value in values.items()
    )
    return f'<table class="words"><caption>{escape(caption)}</caption><tbody>\n{rows}</tbody></table>\n'


def rows(heads: Sequence[str], lines: Iterable[Sequence[str]], *, caption: str = "", words: bool = False) -> str:
    """HTML of a table whose first column names its rows; `words`: not numbers, so they begin at the left."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>\n"
        for first, *cells in lines
    )
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    look = ' class="words"' if words else ""
    return f'<div class="wide"><table{look}>{told}<thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>\n'

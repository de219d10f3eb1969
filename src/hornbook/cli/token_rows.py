"""A document on a terminal: text on the left, beside it its tokens in alternating colours with the id below each.

    the cat     the  cat
                262  3797

A row ends after a line end of the text, and where either side is full, so both sides of a row are the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from hornbook.cli.token_text import COLOURS, SPECIAL_STYLE, Token, parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.text import Text

_LEAST_RAW = 16
_ESCAPE_STYLE = "italic underline"
_GAP = "   "


@dataclass(frozen=True, kw_only=True)
class Widths:
    """Columns of the two sides."""

    raw: int
    tokens: int


def widths(columns: int) -> Widths:
    """A third for the text, the rest for the tokens, which need more."""
    raw = max(_LEAST_RAW, (columns - len(_GAP)) // 3)
    return Widths(raw=raw, tokens=max(_LEAST_RAW, columns - len(_GAP) - raw))


@dataclass(frozen=True, kw_only=True)
class Row:
    """Lines of the screen, and how many tokens of the document they show."""

    lines: list[Text]
    n_tokens: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a token is shown."""

    style: str
    below: tuple[str, ...]
    """Lines below it; every token of a document has as many."""
    read: bytes | None = None
    """What stands for it on the side of the text, where that is not its own bytes."""


def in_turns(token: Token, number: int) -> Look:
    """Neighbours in different colours, the id below."""
    return Look(style=SPECIAL_STYLE if token.special else COLOURS[number % len(COLOURS)], below=(str(token.id),))


def in_turns_with_bytes(token: Token, number: int) -> Look:
    """The same with the bytes below the id."""
    plain = in_turns(token, number)
    return Look(style=plain.style, below=(*plain.below, token.data.hex()))


def rows(
    tokens: Iterable[Token], sides: Widths, look: Callable[[Token, int], Look] = in_turns, *, first: int = 0
) -> Iterator[Row]:
    """The rows of a document, one after another; `look` is asked for each token and its number, from `first` on."""
    held: list[_Cell] = []
    raw_width = token_width = 0
    for number, token in enumerate(tokens, start=first):
        cell = _cell(token, look(token, number))
        full = raw_width + cell.raw_width > sides.raw or token_width + cell.width > sides.tokens
        if held and full and not _goes_on(token.data):
            yield Row(lines=_lines(held, sides), n_tokens=len(held))
            held, raw_width, token_width = [], 0, 0
        held.append(cell)
        raw_width += cell.raw_width
        token_width += cell.width
        if b"\n" in token.data:
            yield Row(lines=_lines(held, sides), n_tokens=len(held))
            held, raw_width, token_width = [], 0, 0
    if held:
        yield Row(lines=_lines(held, sides), n_tokens=len(held))


def _goes_on(data: bytes) -> bool:
    """Whether a token begins inside a character, which a row keeps whole: bytes 10xxxxxx continue one."""
    return data[:1] != b"" and data[0] & 0xC0 == 0x80


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """One token with what stands below it."""

    raw: bytes
    """What stands for it on the side of the text."""
    layers: list[Text]
    """The token and what stands below it; all are padded to `width`, the blank behind them included."""
    width: int
    raw_width: int


def _cell(token: Token, look: Look) -> _Cell:
    from rich.text import Text

    shown = Text()
    for part in parts(token.data):
        shown.append(part.text, f"{look.style} {_ESCAPE_STYLE}" if part.is_escape else look.style)
    raw = token.data if look.read is None else look.read
    below = [Text(line, "dim" if number == 0 else "dim italic") for number, line in enumerate(look.below)]
    return _Cell(
        raw=raw,
        layers=[shown, *below],
        width=max(layer.cell_len for layer in (shown, *below)) + 1,
        raw_width=sum(Text(part.text).cell_len for part in parts(raw)),
    )


def _lines(cells: list[_Cell], sides: Widths) -> list[Text]:
    """The row: its text beside the layers of its tokens."""
    from rich.text import Text

    right: list[Text] = []
    for layer in range(len(cells[0].layers)):
        line, place = Text(), 0
        for cell in cells:
            line.append(" " * (place - line.cell_len))
            line.append_text(cell.layers[layer])
            place += cell.width
        right += _folded(line, sides.tokens)
    raw = Text()
    for part in parts(b"".join(cell.raw for cell in cells)):
        raw.append(part.text, _ESCAPE_STYLE if part.is_escape else "")
    left = _folded(raw, sides.raw)
    lines = []
    for beginning, rest in zip_longest(left, right, fillvalue=None):
        line = beginning or Text()
        line.append(" " * (sides.raw - line.cell_len) + _GAP)
        lines.append(line.append_text(rest) if rest else line)
    return lines


def _folded(text: Text, width: int) -> list[Text]:
    """The text cut into lines of at most `width` columns."""
    from rich.cells import cell_len

    places, used = [], 0
    for place, char in enumerate(text.plain):
        used += cell_len(char)
        if used > width:
            places.append(place)
            used = cell_len(char)
    return list(text.divide(places))

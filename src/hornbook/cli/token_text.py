"""How a token is shown: its text as it is, and escapes, told apart from text, for what a screen cannot show as it is.

An escape stands for a control character or odd white space (\\n, \\u00a0), or for a byte that is part of a character
whose other bytes belong to neighbouring tokens (\\xe2). A blank is a blank: colours behind tokens show where it is.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hornbook.tokenizer.tokenizer import Tokenizer

COLOURS = tuple(f"#ffffff on {colour}" for colour in ("#1d4f91", "#2b6b2f", "#7a4a12", "#6b2f7a", "#0f6468"))
"""Of neighbouring tokens on a terminal, in turn: dark enough for white letters, whatever its own colours are."""
SPECIAL_STYLE = "bold reverse"
CARRIER = "◌"
"""Shown before a token that begins with a mark, such as an accent, which would sit on the token before it."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a text."""

    id: int
    data: bytes
    """A special token has its name."""
    special: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A run of text as it is, or one escape."""

    text: str
    is_escape: bool


def tokens_of(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[Token]:
    """Each id with its bytes."""
    specials = set(tokenizer.special_tokens.values())
    known: dict[int, Token] = {}
    for i in map(int, ids):
        if i not in known:
            known[i] = Token(i, tokenizer.token_bytes(i), i in specials)
        yield known[i]


def parts(data: bytes, *, as_text: str = "") -> Iterator[Part]:
    """Bytes of a token, in the order of the text; the control characters of `as_text` are not escaped."""
    run = ""
    for char in data.decode("utf-8", "surrogateescape"):
        if char.isprintable() or char in as_text:
            if not run and unicodedata.category(char).startswith("M"):
                yield Part(CARRIER, True)
            run += char
            continue
        if run:
            yield Part(run, False)
            run = ""
        yield Part(_escape(char), True)
    if run:
        yield Part(run, False)


def visible(data: bytes) -> str:
    """The same as one line of text, where a backslash of the text and one of an escape look alike."""
    return "".join(part.text for part in parts(data) if part != Part(CARRIER, True))


def quoted(tokens: Iterable[bytes], *, longest: int = 24) -> list[str]:
    """Tokens in quotes, those longer than `longest` letters with their length in place of their end."""
    texts = [visible(token) for token in tokens]
    return [f'"{text}"' if len(text) <= longest else f'"{text[: longest - 8]}…" ({len(text)})' for text in texts]


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte that is no part of a whole character, as surrogateescape gives it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return ascii(char)[1:-1]

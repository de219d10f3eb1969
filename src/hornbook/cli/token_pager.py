"""Reading documents and their tokens on a terminal: a screen at a time, forwards, backwards, by number, by a search."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import numpy as np

from hornbook.cli.token_rows import in_turns, rows, widths
from hornbook.cli.token_text import tokens_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.console import Console

    from hornbook.cli.token_rows import Look, Row
    from hornbook.cli.token_text import Token
    from hornbook.tokenizer.tokenizer import Tokenizer

HELP = "Enter: on · b: back · n, p: next, previous {what} · a number: that {what} · /text: search · q: leave"
_LINES_BESIDE = 4
"""Of a screen: the title, a note, and the prompt, which may take two."""
_LEAST_LINES = 8
_LONGEST_LEAD = 200
"""Bytes of its line that are shown before a text that was found."""

_SEARCHED_TOKENS = 1 << 16
"""Of a document at a time."""


class Documents(Protocol):
    """What can be paged through."""

    def __len__(self) -> int: ...

    def title(self, number: int) -> str:
        """One line above the document."""

    def ids(self, number: int) -> np.ndarray:
        """Its tokens: integers, (n,)."""

    def notes(self, number: int) -> list[str]:
        """Lines below the title."""


@runtime_checkable
class Styled(Documents, Protocol):
    """Documents that say themselves how their tokens look."""

    def look(self, number: int, token: Token, place: int) -> Look:
        """How the token at `place` of document `number` is shown."""
        ...

    def headings(self, number: int) -> Mapping[int, str]:
        """Place of a token -> one line above it."""
        ...


class Place(NamedTuple):
    """Where a screen begins."""

    document: int
    token: int


class Pager:
    """Shows documents and asks what to show next.

    Args:
        documents: at least one.
        tokenizer: what the ids mean.
        console: where to.
        ask: shows a prompt and gives the answer; EOFError ends the reading, as `q` does.
        look: how the token at a place of its document is shown; documents that are `Styled` say it themselves.
        what: what a document is called.
    """

    def __init__(
        self,
        documents: Documents | Styled,
        tokenizer: Tokenizer,
        console: Console,
        ask: Callable[[str], str],
        *,
        look: Callable[[Token, int], Look] = in_turns,
        what: str = "document",
    ) -> None:
        self._documents, self._tokenizer, self._console, self._ask = documents, tokenizer, console, ask
        self._look, self._what = look, what
        self._sought = ""
        self._read: list[Place] = []
        """Where earlier screens began, the latest last."""

    def run(self, first: int = 0) -> None:
        """Show documents from `first` on until the reader leaves; when all fit one screen, nothing is asked."""
        place: Place | None = Place(first, 0)
        while place is not None:
            end = self._show(place, max(_LEAST_LINES, self._console.height - _LINES_BESIDE))
            following = self._following(end)
            if following is None and place == Place(0, 0):
                return
            place = self._next_place(place, end, following)

    def show_all(self, numbers: Iterable[int]) -> None:
        """Show whole documents, one after another, and ask nothing."""
        for number in numbers:
            self._show(Place(number, 0), room=math.inf)

    def _show(self, place: Place, room: float) -> Place:
        """As many lines as there is room for; the place behind the last token shown."""
        from rich.text import Text

        self._console.rule(Text(self._documents.title(place.document)), align="left")
        notes = self._documents.notes(place.document) if place.token == 0 else []
        for note in notes:
            self._console.print(note, style="dim", highlight=False, markup=False)
        room = max(_LEAST_LINES, room - max(0, len(notes) - 1))
        end = place.token
        for row in self._rows(place):
            if end > place.token and len(row.lines) > room:
                break
            for line in row.lines:
                self._console.print(line, no_wrap=True, overflow="ignore", crop=False)
            room -= len(row.lines)
            end += row.n_tokens
        return Place(place.document, end)

    def _rows(self, place: Place) -> Iterator[Row]:
        """What there is to show of a document from a place on, headings above the rows that they belong to."""
        from rich.text import Text

        ids, look = self._documents.ids(place.document), self._look
        headings: Mapping[int, str] = {}
        if isinstance(self._documents, Styled):
            headings = self._documents.headings(place.document)
            look = functools.partial(self._documents.look, place.document)
        edges = [place.token, *(edge for edge in sorted(headings) if place.token < edge < len(ids)), len(ids)]
        for start, stop in itertools.pairwise(edges):
            tokens = tokens_of(self._tokenizer, ids[start:stop])
            for number, row in enumerate(rows(tokens, widths(self._console.width), look, first=start)):
                if number == 0 and start in headings:
                    row.lines.insert(0, Text(headings[start], "bold"))
                yield row

    def _following(self, end: Place) -> Place | None:
        if end.token < len(self._documents.ids(end.document)):
            return end
        return Place(end.document + 1, 0) if end.document + 1 < len(self._documents) else None

    def _next_place(self, place: Place, end: Place, following: Place | None) -> Place | None:
        """Where the reader wants to go; None to leave."""
        while True:
            try:
                answer = self._ask(self._prompt(place, end)).strip()
            except EOFError:
                return None
            if answer == "q" or (answer == "" and following is None):
                return None
            wanted = self._place_of(answer, place, end, following)
            if isinstance(wanted, Place):
                return wanted
            self._console.print(wanted, highlight=False, markup=False)

    def _prompt(self, place: Place, end: Place) -> str:
        n_tokens = len(self._documents.ids(place.document))
        part = "all" if (place.token, end.token) == (0, n_tokens) else f"{place.token:,}..{end.token - 1:,} of"
        return f"{part} {n_tokens:,} tokens [Enter b n p NUMBER /text ? q] "

    def _place_of(self, answer: str, place: Place, end: Place, following: Place | None) -> Place | str:
        """The place that an answer asks for, or what to say instead."""
        last = len(self._documents) - 1
        match answer:
            case "":
                assert following is not None
                self._read.append(place)
                return following
            case "b":
                return self._read.pop() if self._read else "this is where reading began"
            case "n" | "p":
                number = place.document + (1 if answer == "n" else -1)
                if not 0 <= number <= last:
                    return f"this is the {'last' if answer == 'n' else 'first'} {self._what}"
                return self._jump(place, Place(number, 0))
            case _ if answer.isdecimal():
                if int(answer) > last:
                    return f"{self._what} {int(answer):,} is outside 0..{last:,}"
                return self._jump(place, Place(int(answer), 0))
            case _ if answer.startswith("/"):
                return self._search(answer[1:] or self._sought, place, end)
        return HELP.format(what=self._what)

    def _jump(self, place: Place, wanted: Place) -> Place:
        self._read.append(place)
        return wanted

    def _search(self, text: str, place: Place, end: Place) -> Place | str:
        """The next place with this text behind the screen's end; Ctrl-C gives up."""
        if not text:
            return "give a text to search: /text"
        self._sought, first_token = text, end.token
        try:
            for number in range(end.document, len(self._documents)):
                if (token := self._find(text.encode("utf-8", "surrogateescape"), number, first_token)) is not None:
                    return self._jump(place, Place(number, token))
                first_token = 0
        except KeyboardInterrupt:
            return "search given up"
        return f"{text!r} is not in what follows"

    def _find(self, sought: bytes, number: int, first_token: int) -> int | None:
        """The token of a document in which the text begins, or the one that begins its line."""
        ids = self._documents.ids(number)
        for start in range(first_token, len(ids), _SEARCHED_TOKENS):
            part = ids[start : start + _SEARCHED_TOKENS + len(sought)]  # what lies across the end is found, too
            data = self._tokenizer.decode_bytes(part)
            at = data.find(sought)
            if at < 0:
                continue
            ends = np.cumsum([len(token.data) for token in tokens_of(self._tokenizer, part)])
            line = max(data.rfind(b"\n", 0, at) + 1, at - _LONGEST_LEAD)
            return start + int(np.searchsorted(ends, line, side="right"))
        return None

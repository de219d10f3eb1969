"""Rows and their labels on a terminal, a screen at a time, or as JSON lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hornbook.cli import label_text
from hornbook.cli.token_rows import Look
from hornbook.cli.token_text import tokens_of, visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from hornbook.cli.label_rows import LabelledRow, LabelledRows, Side
    from hornbook.cli.label_text import State
    from hornbook.cli.token_text import Token
    from hornbook.data.label_check import SplitLabels
    from hornbook.tokenizer.tokenizer import Tokenizer

STYLES: dict[State, tuple[str, str]] = {
    "trained": ("#ffffff on #00702a", "#ffffff on #008a34"),
    "masked": ("#ffffff on #8a4a0f", "#ffffff on #a05a1a"),
    "context": ("#c8ccd0 on #3a3f44", "#c8ccd0 on #2e3237"),
    "pad": ("#6b7076 on #1d1f21", "#6b7076 on #1d1f21"),
}
"""Of neighbouring tokens in turn."""
COMMON_STYLE = "dim"
"""Of the prompt that both answers of a pair have."""
DIFFERS_STYLE = "bold reverse"
MASK_SHOWN = "▒".encode()


def print_legend(console: Console) -> None:
    """What the colours mean, and what stands below a token."""
    from rich.text import Text

    legend = Text()
    for state, meaning in label_text.MEANINGS.items():
        legend.append(f" {meaning} ", STYLES[state][0])
        legend.append(" ")
    console.print(legend)
    console.print("below each token: id, ×weight of its nll in the loss, @position", style="dim", highlight=False)


class RowScreens:
    """Rows as documents of a pager: the text as the model reads it beside the tokens as they are.

    Below each token stand its id, its weight and its position. Of padding that does not count only a beginning is
    shown; how much there is stands above it.
    """

    def __init__(self, rows: LabelledRows, tokenizer: Tokenizer, *, end_of_text_id: int | None) -> None:
        """`end_of_text_id`: of windows of text, what ends a document."""
        self._rows, self._tokenizer, self._end_of_text_id = rows, tokenizer, end_of_text_id
        self._laid_out: tuple[int, _Layout] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def title(self, number: int) -> str:
        """Which row it is."""
        return label_text.title(self._rows.row(number))

    def notes(self, number: int) -> list[str]:
        """Its numbers, and what is suspicious."""
        row = self._rows.row(number)
        warned = [each.text for side in row.sides for each in label_text.warnings(side, self._tokenizer)]
        return [*label_text.summary(row), *(f"WARNING {text}" for text in warned)]

    def ids(self, number: int) -> np.ndarray:
        """The tokens of its sequences, one after another."""
        return self._layout(number).ids

    def headings(self, number: int) -> Mapping[int, str]:
        """What stands above each document."""
        return self._layout(number).headings

    def look(self, number: int, token: Token, place: int) -> Look:
        """Colours by state; id, weight and position below."""
        layout = self._layout(number)
        state = layout.states[place]
        style = STYLES[state][place % 2]
        if layout.differs.get(place):
            style = f"{style} {DIFFERS_STYLE}"
        elif place in layout.common and state == "context":
            style = f"{style} {COMMON_STYLE}"
        elif token.special:
            style = f"{style} bold"
        weight = layout.weights[place]
        return Look(
            style=style,
            below=(str(token.id), f"×{weight}" if weight else "", f"@{layout.positions[place]}"),
            read=MASK_SHOWN if state == "masked" else None,
        )

    def _layout(self, number: int) -> _Layout:
        if self._laid_out is None or self._laid_out[0] != number:
            self._laid_out = number, _Layout(self._rows.row(number), self._end_of_text_id)
        return self._laid_out[1]


class _Layout:
    """The sequences of one row, one after another."""

    def __init__(self, row: LabelledRow, end_of_text_id: int | None) -> None:
        self.states: list[State] = []
        self.weights: list[str] = []
        self.positions: list[int] = []
        self.headings: dict[int, str] = {}
        self.differs: dict[int, bool] = {}
        self.common: set[int] = set()
        ids: list[np.ndarray] = []
        parted = label_text.first_difference(row)
        for side in row.sides:
            labels = side.labels
            start, shown = len(self.states), label_text.n_shown(labels)
            ids.append(labels.tokens[:shown].numpy())
            self.states += label_text.states(labels)[:shown]
            self.weights += label_text.weight_texts(labels)[:shown]
            self.positions += labels.positions[:shown].tolist()
            documents = label_text.documents_of(labels, end_of_text_id)
            name = f"{side.name}, " if side.name else ""
            for place, heading in label_text.headings(labels, documents):
                if place < shown:
                    self.headings[start + place] = name + heading
            if parted is not None:
                self.common.update(range(start, start + min(parted, shown)))
                self.differs[start + parted] = parted < shown
        self.ids = np.concatenate(ids)


def json_lines(row: LabelledRow, tokenizer: Tokenizer, end_of_text_id: int | None) -> Iterator[dict[str, object]]:
    """A line for the row, then one for each token of its sequences."""
    warned = [(side.name, each) for side in row.sides for each in label_text.warnings(side, tokenizer)]
    yield {
        "event": "row",
        "row": row.sample,
        "step": row.step,
        "sequences": [_side_fields(side) for side in row.sides],
        "denominators": dict(row.denominators),
        "own": dict(row.own),
        "first_difference": label_text.first_difference(row),
        "warnings": [{"sequence": name, **each._asdict()} for name, each in warned],
    }
    for side in row.sides:
        yield from _token_lines(row.sample, side, tokenizer, end_of_text_id)


def _side_fields(side: Side) -> dict[str, object]:
    labels = side.labels
    return {
        "name": side.name,
        "tokens": len(labels.tokens),
        "padding": int(labels.is_padding.sum()),
        "trained": int(labels.trained.sum()),
        "masked": None if labels.masked is None else int(labels.masked.sum()),
        "documents": label_text.n_documents(labels),
    }


def _token_lines(
    number: int, side: Side, tokenizer: Tokenizer, end_of_text_id: int | None
) -> Iterator[dict[str, object]]:
    labels = side.labels
    documents = label_text.documents_of(labels, end_of_text_id)
    states, positions = label_text.states(labels), labels.positions.tolist()
    weights = {term: weight.tolist() for term, weight in labels.weights.items()}
    chances = None if labels.mask_probability is None else labels.mask_probability.tolist()
    for place, token in enumerate(tokens_of(tokenizer, labels.tokens.tolist())):
        yield {
            "event": "token",
            "row": number,
            "sequence": side.name,
            "place": place,
            "id": token.id,
            "text": visible(token.data),
            "special": token.special,
            "label": states[place],
            "read_as": tokenizer.mask_id if states[place] == "masked" else token.id,
            "weights": {term: values[place] for term, values in weights.items()},
            "mask_probability": None if chances is None else chances[place],
            "document": documents[place],
            "position": positions[place],
        }


def split_line(name: str, check: SplitLabels, n_rows: int) -> dict[str, object]:
    """The whole data as one line."""
    lengths: Sequence[int] = check.lengths.tolist() or [0]
    return {
        "event": "labels",
        "path": name,
        "rows": n_rows,
        "documents": len(check.lengths),
        "tokens": int(check.lengths.sum()),
        "trained": check.n_trained,
        "shortest": min(lengths),
        "median": float(np.median(lengths)),
        "longest": max(lengths),
        "faults": {kind: {"documents": count, "first": check.first[kind]} for kind, count in check.faults.items()},
    }

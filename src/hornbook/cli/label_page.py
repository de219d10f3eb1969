"""Rows and their labels as one HTML file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from hornbook.cli import label_text, token_page
from hornbook.cli.token_text import tokens_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hornbook.cli.label_rows import LabelledRow, Side
    from hornbook.data.label_check import SplitLabels
    from hornbook.tokenizer.tokenizer import Tokenizer

_BOXES = (("weights", "weights", True), ("as-read", "masked tokens as they are read", False))
_BINS, _WIDTH, _HEIGHT = 40, 480, 110


def write_page(
    out: Path,
    title: str,
    rows: Iterable[LabelledRow],
    tokenizer: Tokenizer,
    checks: Mapping[str, SplitLabels],
    *,
    n_rows: int,
    max_tokens: int,
    end_of_text_id: int | None,
) -> None:
    """Write rows until `max_tokens` tokens are shown, and say how many those are.

    Raises:
        StorageError: if the file cannot be written.
    """
    from hornbook.storage.atomic import replace_file
    from hornbook.tracking.console import emit, speaks_to_people

    body, used, n_shown, n_tokens, n_left_out = [*_legend()], set[int](), 0, 0, 0
    for row in rows:
        ids = [side.labels.tokens[: label_text.n_shown(side.labels)].tolist() for side in row.sides]
        if n_shown and n_tokens + sum(map(len, ids)) > max_tokens:
            n_left_out += 1
            continue
        n_shown += 1
        n_tokens += sum(map(len, ids))
        used.update(*ids)
        body += _row(row, tokenizer, end_of_text_id)
    if n_left_out:
        body.append(f'<p class="cut">{n_left_out:,} more rows of this step are left out.</p>\n')
    body += _data(checks, n_rows)
    facts = {"": token_page.facts(tokenizer, used)}
    replace_file(out, token_page.page(title, body, facts, beside=None, boxes=_BOXES))
    if speaks_to_people():
        more = f"; {n_left_out:,} more rows of the step are left out" if n_left_out else ""
        print(f"{out}: {n_shown:,} rows with {n_tokens:,} tokens{more}")
    emit("html", path=out, rows=n_shown, tokens=n_tokens, left_out=n_left_out)


def _legend() -> Iterator[str]:
    yield '<p class="legend">'
    for state, meaning in label_text.MEANINGS.items():
        yield f'<span class="{state}">{escape(meaning)}</span> '
    yield "</p>\n"


def _row(row: LabelledRow, tokenizer: Tokenizer, end_of_text_id: int | None) -> Iterator[str]:
    yield f'<section class="document labels"><h2>{escape(label_text.title(row))}</h2>\n'
    for line in label_text.summary(row):
        yield f'<p class="facts">{escape(line)}</p>\n'
    for side in row.sides:
        for warned in label_text.warnings(side, tokenizer):
            yield f'<p class="warning">{escape(warned.text)}</p>\n'
    parted = label_text.first_difference(row)
    if parted is not None:
        yield '<div class="sides">\n'
    for side in _in_pairs(row.sides) if parted is not None else row.sides:
        yield "<div>"
        if side.name:
            yield f"<h3>{escape(side.name)}</h3>\n"
        yield from _side(side, tokenizer, end_of_text_id, parted)
        yield "</div>\n"
    if parted is not None:
        yield "</div>\n"
    yield "</section>\n"


def _in_pairs(sides: Sequence[Side]) -> list[Side]:
    """The first of one answer, the first of the other, and so on: neighbours stand side by side."""
    half = len(sides) // 2
    return [side for pair in zip(sides[:half], sides[half:], strict=True) for side in pair]


def _side(side: Side, tokenizer: Tokenizer, end_of_text_id: int | None, parted: int | None) -> Iterator[str]:
    labels = side.labels
    documents = label_text.documents_of(labels, end_of_text_id)
    shown = labels.tokens[: label_text.n_shown(labels)].tolist()
    tokens, marks = list(tokens_of(tokenizer, shown)), _marks(side, documents, tokenizer, parted)
    edges = label_text.headings(labels, documents)
    for (start, heading), end in zip(edges, [*(place for place, _ in edges[1:]), len(tokens)], strict=True):
        yield f'<p class="facts">{escape(heading)}</p><div class="row"><pre class="tokens" dir="auto">'
        yield from token_page.spans(tokens[start:end], marks=marks[start:end])
        yield "</pre></div>\n"


def _marks(side: Side, documents: Sequence[int], tokenizer: Tokenizer, parted: int | None) -> list[dict[str, str]]:
    """Attributes of each token: its state as a class, and what hovering says."""
    labels = side.labels
    weights, positions = label_text.weight_texts(labels), labels.positions.tolist()
    chances = None if labels.mask_probability is None else labels.mask_probability.tolist()
    mask = "" if tokenizer.mask_id is None else tokenizer.token_bytes(tokenizer.mask_id).decode("utf-8", "replace")
    found = []
    for place, state in enumerate(label_text.states(labels)):
        kinds: list[str] = [state]
        if place == parted:
            kinds.append("differs")
        elif parted is not None and place < parted and state == "context":
            kinds.append("common")
        mark = {"class": " ".join(kinds), "data-d": str(documents[place]), "data-p": str(positions[place])}
        mark["data-w"] = weights[place]
        if state == "masked":
            mark["data-read"] = mask
        if chances is not None and state in ("trained", "masked"):
            mark["data-m"] = f"{chances[place]:.4g}"
        found.append(mark)
    return found


def _data(checks: Mapping[str, SplitLabels], n_rows: int) -> Iterator[str]:
    """What is said of the whole data."""
    yield "<h2>the whole data</h2>\n"
    for line in label_text.split_lines(checks, n_rows):
        yield f'<p class="facts">{escape(line)}</p>\n'
    yield _histogram(np.concatenate([check.lengths for check in checks.values()]))


def _histogram(lengths: np.ndarray) -> str:
    """How many documents are how long, as a picture."""
    counts, edges = label_text.histogram(lengths, _BINS)
    width, most = _WIDTH / len(counts), max(counts)
    bars = []
    for number, count in enumerate(counts):
        height = (_HEIGHT - 20) * count / most
        low, high = int(np.ceil(edges[number])), int(np.ceil(edges[number + 1])) - 1
        span = f"{low:,}" if low >= high else f"{low:,} to {high:,}"
        bars.append(
            f'<rect x="{number * width:.1f}" y="{_HEIGHT - 16 - height:.1f}" width="{width - 1:.1f}" '
            f'height="{height:.1f}"><title>{span} tokens: {count:,} documents</title></rect>'
        )
    return (
        f'<svg class="lengths" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="lengths of documents">'
        + "".join(bars)
        + f'<text x="0" y="{_HEIGHT - 3}">1</text><text x="{_WIDTH}" y="{_HEIGHT - 3}" text-anchor="end">'
        + f"{int(edges[-1]):,} tokens a document</text></svg>\n"
    )

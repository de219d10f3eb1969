"""What is said about a row and its labels: the state of each token, numbers, and what is suspicious."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from hornbook.data.batch import PADDING_DOCUMENT
from hornbook.data.label_check import FAULTS, faults
from hornbook.objectives.labels import LOG_PROBABILITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hornbook.cli.label_rows import LabelledRow, Side
    from hornbook.data.label_check import FaultKind, SplitLabels
    from hornbook.objectives.labels import Labels
    from hornbook.tokenizer.tokenizer import Tokenizer

State = Literal["trained", "masked", "context", "pad"]
MEANINGS: dict[State, str] = {
    "trained": "trained: a target",
    "masked": "trained, and the model reads the mask token here",
    "context": "context: read, not trained",
    "pad": "padding",
}
_PADDING_SHOWN = 4
_BARS = "▁▂▃▄▅▆▇█"


class Warned(NamedTuple):
    """Something suspicious in one sequence."""

    kind: FaultKind | Literal["trained_padding", "not_counted"]
    token: int
    text: str


def states(labels: Labels) -> list[State]:
    """What each token is; it is trained or masked exactly where the loss mask is true."""
    trained, padding = labels.trained.tolist(), labels.is_padding.tolist()
    masked = [False] * len(trained) if labels.masked is None else labels.masked.tolist()
    return [
        ("masked" if hit else "trained") if counts else ("pad" if fills else "context")
        for counts, hit, fills in zip(trained, masked, padding, strict=True)
    ]


def n_shown(labels: Labels) -> int:
    """Tokens to show: all but the end of a filled-up row, of which a beginning is enough where nothing counts."""
    quiet = labels.is_padding & ~labels.trained
    for weight in labels.weights.values():
        quiet = quiet & (weight == 0)
    n_quiet = int(quiet.flip(0).long().cumprod(0).sum())
    return len(labels.tokens) - max(0, n_quiet - _PADDING_SHOWN)


def weight_texts(labels: Labels) -> list[str]:
    """The weight of each token in each term, zeros left out; nothing for a token that no term counts."""
    columns = [weight.tolist() for weight in labels.weights.values()]
    return [
        " + ".join(f"{value:.4g}" for value in values if value) if any(values) else ""
        for values in zip(*columns, strict=True)
    ]


def title(row: LabelledRow) -> str:
    """Which row it is."""
    where = "validation" if row.step is None else f"step {row.step:,}"
    return f"row {row.sample:,}: {where}, {row.place + 1:,} of {row.of:,}"


def summary(row: LabelledRow) -> list[str]:
    """Numbers of a row, a line for each sequence and one for the loss."""
    lines = [f"{side.name}: {_counts(side.labels)}" if side.name else _counts(side.labels) for side in row.sides]
    return [*lines, *(_share(row, term) for term in row.denominators)]


def n_documents(labels: Labels) -> int:
    """Documents that a row is packed of; 1 for one that is not packed."""
    return len({document for document in labels.document_ids.tolist() if document != PADDING_DOCUMENT})


def _counts(labels: Labels) -> str:
    n_padding = int(labels.is_padding.sum())
    n_tokens = len(labels.tokens) - n_padding
    said = [f"trained {int(labels.trained.sum()):,} of {n_tokens:,} tokens"]
    if (number := n_documents(labels)) != 1:
        said[0] += f" in {number:,} documents"
    said.append(f"padding {n_padding / len(labels.tokens):.0%} of {len(labels.tokens):,} places")
    if labels.masked is not None and labels.mask_probability is not None and labels.counted is not None:
        said.append(f"masked {int(labels.masked.sum()):,} of {int(labels.counted.sum()):,}{_chance(labels)}")
    return ", ".join(said)


def _chance(labels: Labels, part: slice = slice(None)) -> str:
    """With which probability the tokens of a part were masked, and what they weigh then."""
    assert labels.mask_probability is not None
    assert labels.counted is not None
    own = labels.mask_probability[part][labels.counted[part]]
    if not len(own := own[own > 0]):
        return ""
    low, high = float(own.min()), float(own.max())
    return f" with probability {low:.4g}" + (f" to {high:.4g}" if high > low else f" (1/p = {1 / low:.4g})")


def _share(row: LabelledRow, term: str) -> str:
    own, total = row.own[term], row.denominators[term]
    if any(LOG_PROBABILITY in side.labels.weights for side in row.sides):
        return f"loss: a mean over {total:,} pairs; -log p of an answer is the sum of weight x nll over its tokens" + (
            "" if own else "; this pair does not count"
        )
    return f"loss {term}: sum of weight x nll over the step / {total:,}, of which this row gives {own:,}"


def warnings(side: Side, tokenizer: Tokenizer) -> list[Warned]:
    """What a reader should look at in one sequence."""
    labels = side.labels
    prefix = f"{side.name}: " if side.name else ""
    is_padding = labels.is_padding
    kept = (~is_padding).nonzero()[:, 0]
    tokens, trained = labels.tokens[kept].numpy(), labels.trained[kept].numpy()
    found: list[Warned] = []
    if len(kept):
        documents = labels.document_ids[kept].numpy()
        starts = np.flatnonzero(np.append(True, documents[1:] != documents[:-1]))
        for fault in faults(tokens, trained, starts, stop_id=stop_id(tokenizer), control_ids=control_ids(tokenizer)):
            place = int(kept[fault.token])
            found.append(Warned(fault.kind, place, f"{prefix}at token {place:,}: {FAULTS[fault.kind]}"))
    if bool((labels.trained & is_padding).any()):
        place = int((labels.trained & is_padding).int().argmax())
        found.append(Warned("trained_padding", place, f"{prefix}at token {place:,}: padding is trained"))
    if labels.counted is not None and labels.mask_probability is not None:
        lost = labels.trained & ~labels.counted & (labels.mask_probability > 0)  # 0 behind the last that noise is for
        if bool(lost.any()):
            place, n_lost = int(lost.int().argmax()), int(lost.sum())
            why = "behind where noise cut the rows of this step, or the mask token itself"
            text = f"{prefix}from token {place:,} on {n_lost:,} trained tokens do not count in this step: {why}"
            found.append(Warned("not_counted", place, text))
    return found


def stop_id(tokenizer: Tokenizer) -> int | None:
    """What ends an answer by the tokenizer's template."""
    template = tokenizer.chat_template
    return None if template is None else tokenizer.special_tokens[template.stop]


def control_ids(tokenizer: Tokenizer) -> set[int]:
    """Tokens that no text has."""
    return set(tokenizer.special_tokens.values())


def first_difference(row: LabelledRow) -> int | None:
    """Where the two answers of a pair part; None for other rows."""
    if len({side.name.split(",")[0] for side in row.sides}) < 2:
        return None
    one, other = row.sides[0].labels.tokens, row.sides[-1].labels.tokens
    length = min(len(one), len(other))
    differs = (one[:length] != other[:length]).nonzero()
    return int(differs[0, 0]) if len(differs) else length


def split_lines(checks: Mapping[str, SplitLabels], n_rows: int) -> list[str]:
    """The whole data in a few lines: how much is trained, how long documents are, and what is suspicious."""
    lengths = np.concatenate([check.lengths for check in checks.values()])
    n_tokens, n_trained = int(lengths.sum()), sum(check.n_trained for check in checks.values())
    lines = [
        f"the data: {n_rows:,} rows of {len(lengths):,} documents with {n_tokens:,} tokens, of which "
        f"{n_trained:,} ({n_trained / max(n_tokens, 1):.1%}) are trained",
        f"tokens a document: {_bars(lengths)} {lengths.min():,} to {lengths.max():,}, median {np.median(lengths):,.0f}",
    ]
    for name, check in checks.items():
        for kind, count in check.faults.items():
            lines.append(f"{name}: {count:,} documents, first {check.first[kind]:,}: {FAULTS[kind]}")
    return lines


def histogram(lengths: np.ndarray, bins: int) -> tuple[Sequence[int], Sequence[float]]:
    """How many documents are about so long, and the edges between."""
    counts, edges = np.histogram(lengths, bins=bins, range=(0.5, max(float(lengths.max()), bins) + 0.5))
    return counts.tolist(), edges.tolist()


def _bars(lengths: np.ndarray) -> str:
    counts, _ = histogram(lengths, 16)
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // max(counts))] for count in counts)


def documents_of(labels: Labels, end_of_text_id: int | None) -> list[int]:
    """The document of each token; of windows of text, whose tokens all see one another, told by `end_of_text_id`."""
    if end_of_text_id is None:
        ids: list[int] = labels.document_ids.tolist()
        return ids
    ends = (labels.tokens == end_of_text_id).long()
    counted: list[int] = (ends.cumsum(0) - ends).tolist()
    return counted


def headings(labels: Labels, documents: Sequence[int]) -> list[tuple[int, str]]:
    """Where documents begin in a row, with what is said above them."""
    n = len(documents)
    starts = [place for place in range(n) if place == 0 or documents[place] != documents[place - 1]]
    return [
        (start, _heading(labels, documents[start], start, end))
        for start, end in zip(starts, [*starts[1:], n], strict=True)
    ]


def _heading(labels: Labels, document: int, start: int, end: int) -> str:
    own = slice(start, end)
    if labels.is_padding[start]:
        return f"padding: {end - start:,} tokens"
    said = f"document {document}: {end - start:,} tokens, {int(labels.trained[own].sum()):,} trained"
    if labels.masked is not None and labels.trained[own].any():
        said += f", {int(labels.masked[own].sum()):,} masked{_chance(labels, own)}"
    return said

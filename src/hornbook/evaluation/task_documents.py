"""From an object of a published file to one form: a question with choices, or a text whose end is to be named.

Texts are made as lm-eval's own tasks of these names make them (blimp without its leading blank, as a document begins).
"""

import re
from collections.abc import Mapping
from typing import NamedTuple


class Document(NamedTuple):
    """One question. Of `choices` the right one is number `gold`; a cloze text has one alone."""

    query: str
    choices: tuple[str, ...]
    gold: int


Row = Mapping[str, object]


def blimp(row: Row) -> Document:
    """A minimal pair: {"sentence_good", "sentence_bad"}, of which the good one should be the likelier."""
    pair = _text(row, "sentence_good"), _text(row, "sentence_bad")
    if not all(pair):
        raise ValueError("expected two sentences, got nothing of one of them")
    return Document("", pair, 0)


def hellaswag(row: Row) -> Document:
    """{"activity_label", "ctx_a", "ctx_b", "endings", "label"}."""
    context = f"{_text(row, 'activity_label')}: {_text(row, 'ctx_a')} {_text(row, 'ctx_b').capitalize()}"
    return _checked(_tidy(context), [_tidy(ending) for ending in _texts(row, "endings")], _whole(row, "label"))


def arc(row: Row) -> Document:
    """{"question", "choices": {"text", "label"}, "answerKey"}, or {"query", "choices", "gold"} that mean the same."""
    match row["choices"]:
        case {"text": [*texts], "label": [*labels]}:
            key = _text(row, "answerKey")
            if key not in labels:
                raise ValueError(f"answerKey is {key!r}, expected one of {labels}")
            question, gold = f"Question: {_text(row, 'question')}", labels.index(key)
        case _:
            texts, question, gold = _texts(row, "choices"), _text(row, "query"), _whole(row, "gold")
    return _checked(f"{question}\nAnswer:", list(map(str, texts)), gold)


def lambada(row: Row) -> Document:
    """{"context", "continuation"} without the blank between them, or {"text"}, whose last word is to be named."""
    if "text" in row:
        context, _, word = _text(row, "text").rpartition(" ")
    else:
        context, word = _text(row, "context"), _text(row, "continuation").lstrip(" ")
    if not context.strip() or not word.strip():
        raise ValueError("expected a text and its last word, got nothing of one of them")
    return Document(context, (f" {word}",), 0)


def choices(row: Row) -> Document:
    """{"query", "choices", "gold"}: each choice is scored as it is after the query, blanks included."""
    return _checked(_text(row, "query"), _texts(row, "choices"), _whole(row, "gold"))


def cloze(row: Row) -> Document:
    """{"query", "target"}: the target as it is after the query, blanks included."""
    if not _text(row, "target"):
        raise ValueError("expected a target, got nothing")
    return Document(_text(row, "query"), (_text(row, "target"),), 0)


def _checked(query: str, offered: list[str], gold: int) -> Document:
    if len(offered) < 2 or not all(offered):
        raise ValueError(f"choices are {offered}, expected at least two, none of them empty")
    if not 0 <= gold < len(offered):
        raise ValueError(f"the right choice is number {gold}, expected 0 to {len(offered) - 1}")
    return Document(query, tuple(offered), gold)


def _tidy(text: str) -> str:
    """Without the marks that WikiHow left in HellaSwag."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def _text(row: Row, field: str) -> str:
    value = row[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} is {value!r}, expected a text")
    return value


def _texts(row: Row, field: str) -> list[str]:
    value = row[field]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise TypeError(f"{field} is {value!r}, expected a list of texts")
    return value


def _whole(row: Row, field: str) -> int:
    value = row[field]
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise TypeError(f"{field} is {value!r}, expected a whole number")
    return int(value)

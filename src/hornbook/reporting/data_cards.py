"""What a run was trained on: the cards of its data sets, kept with the run or read where they lie."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from hornbook.data.card import data_card
from hornbook.data.dataset import Dataset
from hornbook.errors import HornbookError
from hornbook.reporting.record import RunRecord
from hornbook.reporting.scale import short
from hornbook.reporting.tables import known, pairs, rows
from hornbook.tracking.figures import count


def data_cards(record: RunRecord) -> Iterator[str]:
    """HTML: counts of every split, and what they were made from."""
    cards = _cards(record)
    if not cards:
        return
    yield "<section><h2>Data</h2>\n"
    for card in cards:
        yield f"<h3>{escape(str(card.get('path', '')))}</h3>\n"
        yield _splits(card)
        yield pairs("How it was made", known(_facts(card)))
    yield "</section>\n"


def _cards(record: RunRecord) -> list[Mapping[str, Any]]:
    """As the run kept them; of runs of before, as they are now if that is still what it was trained on."""
    kept = record.provenance.get("data")
    if isinstance(kept, list):
        return [card for card in kept if isinstance(card, dict)]
    path, digest = record.settings.get("data.path"), record.provenance.get("data_digest")
    if isinstance(path, str) and digest is not None:
        with suppress(HornbookError):
            card = data_card(Dataset.open(Path(str(record.provenance.get("directory", "."))) / path))
            return [card] if card["digest"] == digest else []
    return []


def _splits(card: Mapping[str, Any]) -> str:
    lines = []
    splits = card.get("splits")
    for name, split in (splits if isinstance(splits, dict) else {}).items():
        if not isinstance(split, dict):
            continue
        tokens, text_bytes, trained = (split.get(each) for each in ("tokens", "text_bytes", "trained_tokens"))
        lines.append(
            [
                str(name),
                *(_counted(each) for each in (split.get("documents"), tokens, trained, text_bytes)),
                short(text_bytes / tokens) if tokens and text_bytes else "",
            ]
        )
    heads = ("split", "documents", "tokens", "trained tokens", "bytes of text", "bytes a token")
    has_trained = any(line[3] for line in lines)
    chosen = [i for i in range(len(heads)) if has_trained or i != 3]
    return rows([heads[i] for i in chosen], ([line[i] for i in chosen] for line in lines))


def _counted(value: object) -> str:
    return "" if not isinstance(value, int) else f"{value:,}" if value < 1_000_000 else f"{count(value)}"


def _facts(card: Mapping[str, Any]) -> dict[str, object]:
    made = card.get("made_from")
    share = card.get("share")
    return {
        "share of the windows": f"{share:.3g}" if isinstance(share, float) and share < 1 else None,
        "stage": card.get("stage"),
        "vocabulary": card.get("vocab_size"),
        **(made if isinstance(made, dict) else {}),
        "left out": card.get("skipped"),
        "notes": card.get("notes"),
        "tokenizer": card.get("tokenizer_fingerprint"),
        "digest": card.get("digest"),
    }

"""The card of a data set: what it holds and what it was made from, small enough to be kept with every run on it."""

import dataclasses

from hornbook.data.dataset import Dataset

_LONGEST_LIST = 20


def data_card(dataset: Dataset) -> dict[str, object]:
    """JSON values: `path`, `digest`, `stage`, `splits` ({name: counts}), what was left out, and `made_from`."""
    index = dataset.index
    return {
        "path": str(dataset.path),
        "digest": dataset.digest,
        "stage": index.stage,
        "splits": {name: _counts(dataclasses.asdict(split)) for name, split in index.splits.items()},
        "skipped": {reason: skipped.count for reason, skipped in index.skipped.items()},
        "notes": dict(index.notes),
        "vocab_size": index.vocab_size,
        "tokenizer_fingerprint": index.tokenizer_fingerprint,
        "made_from": {name: _short(value) for name, value in index.made_from.items() if name != "chat template"},
    }


def _counts(split: dict[str, object]) -> dict[str, object]:
    """Without files and digests."""
    names = ("tokens", "trained_tokens", "documents", "text_bytes")
    return {name: split[name] for name in names if split[name] is not None}


def _short(value: object) -> object:
    """Long lists, such as the files of a corpus, by their beginning."""
    match value:
        case dict():
            return {name: _short(inner) for name, inner in value.items()}
        case list() | tuple() if len(value) > _LONGEST_LIST:
            return [*value[:_LONGEST_LIST], f"and {len(value) - _LONGEST_LIST} more"]
    return value

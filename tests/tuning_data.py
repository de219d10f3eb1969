"""Configurations of tuning data made from a few records, and prepared splits as texts."""

import json
from pathlib import Path

from hornbook.config.run import Config
from hornbook.data.dataset import Dataset


def tuning_config(
    root: Path, records, *, stage="sft", context_length=256, chat=None, tuning=None, objective=None, **data
) -> Config:
    """JSON lines of `records` (or a path of a file) as the source, prepared at root/data; nothing is held out."""
    if isinstance(records, Path):
        path = records
    else:
        path = root / "records.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    source = data.pop("source", {"kind": "jsonl", "paths": [str(path)]})
    fractions = {"valid_fraction": 0.0, **data}
    values = {
        "data": {"stage": stage, "path": str(root / "data"), "source": source, "tuning": tuning or {}, **fractions},
        "chat": chat or {},
        "model": {"context_length": context_length, **({"init_from": "runs/learnt"} if stage == "dpo" else {})},
        "objective": {"kind": objective or ("preference" if stage == "dpo" else "next_token")},
        "train": {"tokens_per_step": 8 * context_length},
    }
    return Config.model_validate_json(json.dumps(values))


def rows_of(dataset: Dataset, split="train") -> list[tuple[str, str]]:
    """Each document as the text of all its tokens, control tokens by name, and that of the trained ones."""
    tokenizer, stream = dataset.tokenizer(), dataset.split(split)
    found = []
    for number in range(stream.n_documents):
        start, end = stream.document_span(number)
        ids, trained = stream.read(start, end - start), stream.loss_mask(start, end - start)
        found.append((tokenizer.decode(ids.tolist()), tokenizer.decode(ids[trained].tolist())))
    return found

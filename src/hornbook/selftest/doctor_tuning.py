"""Stages of tuning: answers that follow from their prompts, and preferences that begin at ln 2.

    sft    hadbe   ->   eee       the last letter of a word that is drawn anew for each prompt
    dpo    hadbe   ->   bbb       chosen: any letter of the first half
                        ggg       rejected: any of the second

An answer of the first kind is certain once its prompt is read: 0 nats. A prompt is not, so that a model which learns
prompts, too, or answers without their prompts, does not get there.
"""

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from hornbook import assemble
from hornbook.config.run import Config
from hornbook.data.tuning import prepare_tuning
from hornbook.evaluation.candidate import Candidate, nats_of
from hornbook.evaluation.exact_match import exact_match
from hornbook.evaluation.prompts import read_conversations
from hornbook.models.transformer import Transformer
from hornbook.selftest.doctor_check import Check
from hornbook.selftest.doctor_text import Values, configure, plain_bytes, save_model
from hornbook.tracking.jsonl import read_metrics

_LETTERS = "abcdefghij"
_ROWS, _REPEATED = 400, 3
_TUNING: Values = {
    "data.source.kind": "jsonl",
    "data.valid_fraction": 0.15,
    "train.tokens_per_step": 16_384,  # its default: steps are counted in sequences
    "train.sequences_per_step": 16,
    "train.micro_batch_size": 16,
    "optim.learning_rate": 1e-2,
}


def sft(folder: Path) -> list[Check]:
    """Which tokens are trained, how surprising answers are afterwards, and how many are given right."""
    config = configure(folder, {**_TUNING, "data.stage": "sft", **_answers(folder), "train.steps": 150})
    dataset = prepare_tuning(config, plain_bytes())
    trained = sum(index.trained_tokens or 0 for index in dataset.index.splits.values())
    run = assemble.train(config)
    conversations = list(read_conversations(dataset.split("valid")))
    objective = config.objective.model_dump(mode="json")
    candidate = Candidate(model=run.model, tokenizer=dataset.tokenizer(), objective=objective)
    nats = nats_of(candidate, conversations, config.eval).sum() / sum(each.trained.sum() for each in conversations)
    found = exact_match(candidate, conversations, config.eval, config.generate).all
    return [
        Check(what="trained tokens: those of answers, and of their ends", value=trained, truth=_ROWS * (_REPEATED + 1)),
        Check(what="nats a token of held-out answers", value=float(nats), truth=0.0, above=0.05),
        Check(what=f"of {found.n} held-out prompts answered wrong", value=found.n - found.right, truth=0),
    ]


def dpo(folder: Path) -> list[Check]:
    """The loss before the first update, when policy and reference are one, and held-out pairs at the end."""
    base = folder / "base"
    pairs: Values = {"data.stage": "dpo", "objective.kind": "preference", "model.init_from": str(base)}
    steps: Values = {"train.steps": 30, "train.log_every": 1, "train.eval_every": 30}
    config = configure(folder, {**_TUNING, **_preferences(folder), **pairs, **steps})
    _save_untrained(config, base)
    prepare_tuning(config, plain_bytes())
    run = assemble.train(config)
    events = read_metrics(run.run_dir.metrics_file)
    first = next(event["train/loss"] for event in events if event["event"] == "train")
    *_, last = (event["val/rewards/accuracy"] for event in events if event["event"] == "val")
    assert isinstance(first, float)
    assert isinstance(last, float)
    return [
        # The loss is a float32 mean of 16 logarithms, each of which rounds.
        Check(what="loss of the first step (ln 2)", value=first, truth=math.log(2), below=1e-5, above=1e-5),
        Check(what="share of held-out pairs whose chosen answer gained", value=last, truth=1.0, below=0.05),
    ]


def _answers(folder: Path) -> Values:
    """The setting that names a file of prompts with their answers; the file is written."""
    return _file(folder, [{"prompt": word, "completion": word[-1] * _REPEATED} for word in _words()])


def _preferences(folder: Path) -> Values:
    """The same of pairs of answers."""
    rng, half = random.Random(1), len(_LETTERS) // 2
    sides = {"chosen": _LETTERS[:half], "rejected": _LETTERS[half:]}
    drawn = ({name: rng.choice(letters) * _REPEATED for name, letters in sides.items()} for _ in range(_ROWS))
    return _file(folder, [{"prompt": word, **answers} for word, answers in zip(_words(), drawn, strict=True)])


def _words() -> list[str]:
    rng = random.Random(0)
    words: dict[str, None] = {}
    while len(words) < _ROWS:
        words["".join(rng.choices(_LETTERS, k=rng.randint(4, 8)))] = None
    return list(words)


def _file(folder: Path, rows: Sequence[Mapping[str, str]]) -> Values:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return {"data.source.paths": [str(file)]}


def _save_untrained(config: Config, directory: Path) -> None:
    """What preferences begin with, and are compared with."""
    tokenizer = plain_bytes()
    save_model(Transformer(config.model.complete(vocab_size=tokenizer.vocab_size), seed=0), tokenizer, directory)

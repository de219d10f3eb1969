"""A tiny model learns a task from conversations alone, and says it right to prompts that it never saw."""

from pathlib import Path

import pytest

from hornbook import assemble
from hornbook.config.load import load_config
from hornbook.config.run import Config
from hornbook.data.sources import SourceReport, open_source
from hornbook.data.tuning import prepare_tuning
from hornbook.evaluation.answers import evaluate_answers
from hornbook.evaluation.answers_card import AnswersCard
from hornbook.evaluation.candidate import Candidate
from hornbook.tokenizer.tokenizer import Tokenizer

PROMPTS = 500


def configure(root: Path, task: str, **changes: object) -> Config:
    values = {
        "run": {"out_dir": str(root), "name": task, "device": "cpu", "threads": 1},
        "tokenizer": {"path": str(root / "tokenizer"), "vocab_size": 330},
        "data": {"path": str(root / "data"), "stage": "sft", "valid_fraction": 0.02, "test_fraction": 0.15},
        "data.source": {"kind": "tasks", "tasks": [task], "n_rows": 4000},
        "model": {"context_length": 64, "d_model": 64, "n_layers": 2, "n_heads": 4},
        "optim": {"learning_rate": 3e-3},
        "train": {"sequences_per_step": 16, "micro_batch_size": 16, "eval_every": 0},
        "eval": {"split": "test", "exact_match": PROMPTS, "batch_size": 100},
        "tracking.console": "none",
    }
    return load_config(None, values={**values, **changes}).config


def learn(config: Config) -> AnswersCard:
    """Tokenizer, data, training, and what came of it."""
    source = open_source(config.data.source, on_error="stop", report=SourceReport())
    tokenizer = Tokenizer.train((each.text for each in source), config.tokenizer)
    tokenizer.save(config.tokenizer.path)
    prepare_tuning(config, tokenizer)
    run = assemble.train(config)
    objective = config.objective.model_dump(mode="json")
    return evaluate_answers(Candidate(model=run.model, tokenizer=run.tokenizer, objective=objective), config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("letters", "steps", "changes"),
    [
        (6, 300, {}),
        (4, 400, {"objective.kind": "masked_diffusion", "data.tuning.answer_padding": 2}),
    ],
    ids=["next_token", "masked_diffusion"],
)
def test_words_in_reverse(tmp_path, letters, steps, changes):
    """Words of one length, so that seconds are enough; the recipes `reverse-*` learn those of 6 to 10 letters."""
    lengths = {"data.source.min_length": letters, "data.source.max_length": letters}
    card = learn(configure(tmp_path, "reverse", **lengths, **changes, **{"train.steps": steps}))
    assert card.match.all.n == PROMPTS
    assert card.match.all.right / PROMPTS >= 0.98, card.match.wrong
    assert card.per_token.value < 0.05
    assert card.prompts_in_train == 0

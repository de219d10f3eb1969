"""Stages of pretraining: a model learns a source of known entropy, from left to right and by filling in masks.

No model can be less surprised by text than the entropy of its source: one that is has seen what it should not.
"""

from pathlib import Path

from hornbook import assemble
from hornbook.assemble import TrainedRun
from hornbook.config.run import Config
from hornbook.data.shards import TokenStream
from hornbook.data.synthetic import MarkovSource
from hornbook.evaluation.card import EvaluationCard
from hornbook.evaluation.diffusion_bound import evaluate_bound
from hornbook.evaluation.perplexity import evaluate_perplexity
from hornbook.selftest.doctor_check import Check
from hornbook.selftest.doctor_text import SOURCE, Values, markov_config, markov_data

STANDARD_ERRORS = 4.0
"""A mean that is right lies further off once in 16,000 times."""
_DIFFUSION: Values = {
    "objective.kind": "masked_diffusion",
    "objective.min_mask_probability": 0.05,
    "train.steps": 300,
}


def autoregressive(folder: Path) -> list[Check]:
    """Perplexity of held-out text after a hundred steps, beside the least possible one."""
    config = markov_config(folder, {})
    run, held_out = _learn(config)
    card = evaluate_perplexity(run.model, run.tokenizer, held_out, config.eval, data=held_out.name)
    return [_entropy(card, "nats a letter of held-out text", above=0.05)]


def diffusion(folder: Path) -> list[Check]:
    """The bound on held-out text after three hundred steps; its estimate takes the letters in all orders."""
    config = markov_config(folder, _DIFFUSION)
    run, held_out = _learn(config)
    objective = config.objective.model_dump(mode="json")
    card = evaluate_bound(run.model, run.tokenizer, held_out, config.eval, objective=objective, data=held_out.name)
    return [_entropy(card, "nats a letter of held-out text, at most", above=0.15)]


def _learn(config: Config) -> tuple[TrainedRun, TokenStream]:
    """The run, and what it was not trained on."""
    held_out = markov_data(config).split("valid")
    return assemble.train(config), held_out


def _entropy(card: EvaluationCard, what: str, *, above: float) -> Check:
    """Nats a token, beside the entropy rate of the source: less is chance within its standard error, or a mistake."""
    assert card.standard_error is not None, "there are many windows"
    return Check(
        what=what,
        value=card.nats / card.tokens_scored,
        truth=MarkovSource(SOURCE).entropy_rate_nats,
        below=STANDARD_ERRORS * card.standard_error,
        above=above,
    )

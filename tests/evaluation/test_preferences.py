"""Margins against sums by hand; a model against itself is all ties; the reference may lack control tokens."""

import json

import numpy as np
import pytest
import torch

from evaluation.test_answers import DIFFUSION, make_model
from hornbook.config.load import load_config
from hornbook.errors import ConfigError, DataError
from hornbook.evaluation.candidate import Candidate
from hornbook.evaluation.preferences import evaluate_preference
from hornbook.tokenizer.tokenizer import Tokenizer
from tuning_set import make_tokenizer, word_rows, write_tuning_set

ROWS = [(row.prompt, row.answer, row.wrong[: 1 + number % 5]) for number, row in enumerate(word_rows(9))]
NEXT_TOKEN = {"kind": "next_token"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer([" ".join(row) for row in ROWS])


@pytest.fixture(scope="module")
def config(tmp_path_factory, tokenizer):
    path = tmp_path_factory.mktemp("dpo") / "data"
    write_tuning_set(path, tokenizer, "dpo", {"train": ROWS[:3], "valid": ROWS[2:]})
    return load_config(None, values={"data.path": str(path)}).config


def candidate(tokenizer, objective=NEXT_TOKEN, factor: float = 1.0) -> Candidate:
    model = make_model(tokenizer.vocab_size)
    with torch.no_grad():
        model.token_embedding.weight.mul_(factor)
    return Candidate(model=model, tokenizer=tokenizer, objective=objective, checkpoint=f"runs/{factor}")


@torch.no_grad()
def log_probability(model, tokenizer, prompt: str, answer: str) -> tuple[float, int]:
    names = tokenizer.special_tokens
    user, assistant, end = (names[f"<|{name}|>"] for name in ("user", "assistant", "end"))
    before = [user, *tokenizer.encode(prompt), end, assistant]
    ids = [*tokenizer.encode(answer), end]
    logits = model(torch.tensor([[*before, *ids]]))[0].log_softmax(-1)
    return sum(float(logits[len(before) - 1 + i, token]) for i, token in enumerate(ids)), len(ids)


def test_margins(config, tokenizer):
    policy, reference = candidate(tokenizer), candidate(tokenizer, factor=1.3)
    card = evaluate_preference(policy, reference, config)
    summed, averaged = [], []
    for prompt, chosen, rejected in ROWS[2:]:
        gains = []
        for answer in (chosen, rejected):
            ours, n = log_probability(policy.model, tokenizer, prompt, answer)
            theirs, _ = log_probability(reference.model, tokenizer, prompt, answer)
            gains.append((ours - theirs, (ours - theirs) / n))
        summed.append(gains[0][0] - gains[1][0])
        averaged.append(gains[0][1] - gains[1][1])
    assert card.margins == pytest.approx(summed, rel=1e-10)
    assert card.margins_per_token == pytest.approx(averaged, rel=1e-10)
    values = card.values()
    assert values["pairs"] == 7
    assert values["accuracy"] == np.mean(np.array(summed) > 0)
    assert values["accuracy_per_token"] == np.mean(np.array(averaged) > 0)
    assert values["margin"] == pytest.approx(np.mean(summed))
    assert values["margin_low"] < values["margin"] < values["margin_high"]
    assert values["log_ratio_chosen"] - values["log_ratio_rejected"] == pytest.approx(values["margin"])
    assert values["prompts_in_train"] == 1
    assert json.loads(card.to_json())["margins"] == card.margins.tolist()
    assert "margins" not in values


@pytest.mark.parametrize("objective", [NEXT_TOKEN, DIFFUSION])
def test_a_model_against_itself_is_all_ties(config, tokenizer, objective):
    """Exactly: of a bound because both see the same draws."""
    card = evaluate_preference(candidate(tokenizer, objective), candidate(tokenizer, objective), config)
    values = card.values()
    assert (values["ties"], values["positive"], values["accuracy"], values["margin"]) == (7, 0, 0.5, 0.0)
    assert values["accuracy_low"] < 0.5 < values["accuracy_high"]
    assert card.title == "3.5 of 7 margins are positive (50.0%), ties counted half"


def test_what_was_trained_by_token_is_shown_by_token(config, tokenizer):
    by_token = {**NEXT_TOKEN, "preference": {"loss": "ipo", "average": None}}
    card = evaluate_preference(candidate(tokenizer, by_token), candidate(tokenizer, NEXT_TOKEN, 1.3), config)
    assert (card.shown == card.margins_per_token).all()
    assert "margins by token are positive" in card.title
    assert card.values()["positive"] == (card.margins_per_token > 0).sum()
    summed = {**NEXT_TOKEN, "preference": {"loss": "ipo", "average": False}}
    card = evaluate_preference(candidate(tokenizer, summed), candidate(tokenizer, NEXT_TOKEN, 1.3), config)
    assert (card.shown == card.margins).all()


def test_a_diffusion_model_is_measured_at_most(config, tokenizer):
    card = evaluate_preference(candidate(tokenizer, DIFFUSION), candidate(tokenizer, DIFFUSION, 1.3), config)
    assert "the same draws for both models" in card.protocol
    assert {"logp_chosen_at_least", "logp_rejected_at_least"} <= card.values().keys()
    again = evaluate_preference(candidate(tokenizer, DIFFUSION), candidate(tokenizer, DIFFUSION, 1.3), config)
    assert (card.margins == again.margins).all()


def test_what_cannot_be_compared(config, tokenizer, tmp_path):
    with pytest.raises(ConfigError, match=r"--reference runs/1.0 was trained with masked_diffusion"):
        evaluate_preference(candidate(tokenizer), candidate(tokenizer, DIFFUSION), config)
    write_tuning_set(tmp_path / "sft", tokenizer, "sft", {"valid": [("a", "b")]})
    other = load_config(None, values={"data.path": str(tmp_path / "sft")}).config
    with pytest.raises(DataError, match="stage sft, `hornbook eval preference` measures stage dpo"):
        evaluate_preference(candidate(tokenizer), candidate(tokenizer), other)

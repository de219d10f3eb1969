"""Answers are measured by plain sums of the model's own log-probabilities, and generated answers are compared."""

import math

import numpy as np
import pytest
import torch

from hornbook.config.generate import EvalConfig
from hornbook.config.load import load_config
from hornbook.config.model import ModelConfig
from hornbook.errors import ConfigError, DataError
from hornbook.evaluation.answers import evaluate_answers
from hornbook.evaluation.candidate import Candidate, fit, nats_of
from hornbook.evaluation.exact_match import Count, exact_match
from hornbook.evaluation.prompts import open_tuning, prompts_in_train, read_conversations
from hornbook.models.masks import FULL
from hornbook.models.transformer import Transformer
from hornbook.tokenizer.tokenizer import Tokenizer
from tuning_set import make_tokenizer, plain_tokenizer, word_rows, write_tuning_set

DIFFUSION = {"kind": "masked_diffusion"}
ROWS = [(row.prompt, row.answer) for row in word_rows(12)]
TURNS = ("Copy: a b", "a b", "Copy: c d", "c d")


def make_model(vocab_size: int, context_length: int = 64) -> Transformer:
    shape = {"d_model": 16, "n_layers": 2, "n_heads": 2, "n_kv_heads": 2, "head_dim": 8, "d_ff": 32}
    config = ModelConfig(**shape, vocab_size=vocab_size, context_length=context_length, init="torch_default")
    return Transformer(config, seed=1).double().eval()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer([" ".join(row) for row in ROWS])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, tokenizer):
    splits = {"train": [*ROWS[:6], ROWS[8]], "valid": [*ROWS[6:], TURNS]}
    return write_tuning_set(tmp_path_factory.mktemp("sft") / "data", tokenizer, "sft", splits)


@pytest.fixture(scope="module")
def candidate(tokenizer) -> Candidate:
    return Candidate(model=make_model(tokenizer.vocab_size), tokenizer=tokenizer, objective={"kind": "next_token"})


def settings(dataset, **changes):
    return load_config(None, values={"data.path": str(dataset.path), **changes}).config


def conversations(dataset):
    return list(read_conversations(open_tuning(dataset, "valid", "sft", measure="answers")))


def test_the_prompt_is_all_before_the_last_answer(dataset, tokenizer):
    *_, turns = conversations(dataset)
    decode = tokenizer.decode
    assert (
        decode(turns.prompt) == "<|user|>Copy: a b<|end|><|assistant|>a b<|end|><|user|>Copy: c d<|end|><|assistant|>"
    )
    assert decode(turns.answer) == "c d<|end|>"
    assert decode(turns.tokens[turns.trained]) == "a b<|end|>c d<|end|>"


@torch.no_grad()
def exact_nats(model, conversation) -> float:
    """Token by token, one forward pass each."""
    total = 0.0
    for place in np.flatnonzero(conversation.trained):
        logits = model(torch.from_numpy(conversation.tokens[:place])[None])[0, -1]
        total -= logits.log_softmax(-1)[conversation.tokens[place]].item()
    return total


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_nats_are_those_of_the_trained_tokens(dataset, candidate, batch_size):
    every = conversations(dataset)
    found = nats_of(candidate, every, EvalConfig(batch_size=batch_size))
    assert found == pytest.approx([exact_nats(candidate.model, each) for each in every], rel=1e-12)


@torch.no_grad()
def exact_bound(model, conversation, mask_id) -> float:
    """Every set of hidden answer tokens: (1 / (k C(n, k))) of its nll."""
    places = np.flatnonzero(conversation.trained)
    clean, n, total = torch.from_numpy(conversation.tokens), len(places), 0.0
    for code in range(1, 2**n):
        hidden = torch.zeros(len(clean), dtype=torch.bool)
        hidden[places[[bool(code >> i & 1) for i in range(n)]]] = True
        nll = -model(torch.where(hidden, mask_id, clean)[None], mask=FULL)[0].log_softmax(-1)
        k = int(hidden.sum())
        total += float(nll.gather(1, clean[:, None])[hidden].sum()) / k / math.comb(n, k)
    return total


def test_a_diffusion_model_is_measured_at_most(dataset, tokenizer):
    candidate = Candidate(model=make_model(tokenizer.vocab_size), tokenizer=tokenizer, objective=DIFFUSION)
    every = conversations(dataset)[:2]
    found = nats_of(candidate, every, EvalConfig(bound={"estimator": "exact"}))
    expected = [exact_bound(candidate.model, each, tokenizer.mask_id) for each in every]
    assert found == pytest.approx(expected, rel=1e-12)
    card = evaluate_answers(candidate, settings(dataset, **{"eval.bound.draws": 2}))
    assert "nats_per_token_at_most" in card.values()
    assert "2 readings, seed 0" in card.protocol


def test_draws_depend_on_seed_and_conversation_alone(dataset, tokenizer):
    candidate = Candidate(model=make_model(tokenizer.vocab_size), tokenizer=tokenizer, objective=DIFFUSION)
    every = conversations(dataset)
    whole = nats_of(candidate, every, EvalConfig(bound={"draws": 3}))
    part = nats_of(candidate, every[2:4], EvalConfig(bound={"draws": 3}, batch_size=1))
    other = nats_of(candidate, every, EvalConfig(bound={"draws": 3, "seed": 1}))
    assert part == pytest.approx(whole[2:4], rel=1e-12)
    assert not np.allclose(other, whole)


def test_after_preferences_a_model_is_measured_as_these_were(tokenizer):
    model = make_model(tokenizer.vocab_size)
    for likelihood, is_bound in (("next_token", False), ("masked_diffusion", True)):
        objective = {"kind": "preference", "likelihood": likelihood}
        assert Candidate(model=model, tokenizer=tokenizer, objective=objective).is_bound == is_bound


def test_the_card(dataset, candidate, tokenizer):
    card = evaluate_answers(candidate, settings(dataset))
    every = conversations(dataset)
    nats = [exact_nats(candidate.model, each) for each in every]
    tokens = sum(each.trained.sum() for each in every)
    texts = [text for row in [*ROWS[6:], TURNS] for text in row[1::2]]
    values = card.values()
    assert values["nats_per_token"] == pytest.approx(sum(nats) / tokens)
    assert values["nats_per_conversation"] == pytest.approx(np.mean(nats))
    assert values["perplexity"] == pytest.approx(math.exp(sum(nats) / tokens))
    assert values["bits_per_byte"] == pytest.approx(sum(nats) / math.log(2) / sum(map(len, texts)))
    assert values["nats_per_token_low"] < values["nats_per_token"] < values["nats_per_token_high"]
    assert (values["conversations"], values["answer_tokens"]) == (7, tokens)
    assert values["prompts_in_train"] == 1  # ROWS[8] stands in both splits
    assert values["tokens_added"] == 0
    assert "base" not in card.protocol
    assert not any(isinstance(value, (list, dict)) for value in values.values())


def test_prompts_of_the_train_split_itself(dataset):
    every = list(read_conversations(dataset.split("train")))
    assert prompts_in_train(dataset, "train", every) == 7


def test_against_the_base(dataset, candidate, tokenizer):
    base = Candidate(model=make_model(tokenizer.vocab_size), tokenizer=tokenizer, objective={"kind": "next_token"})
    with torch.no_grad():
        base.model.token_embedding.weight.mul_(1.5)
    values = evaluate_answers(candidate, settings(dataset), base=base).values()
    expected = 100 * (1 - values["nats_per_token"] / values["base_nats_per_token"])
    assert values["lower_than_base_percent"] == pytest.approx(expected)
    assert values["lower_than_base_percent_low"] < expected < values["lower_than_base_percent_high"]
    same = evaluate_answers(candidate, settings(dataset), base=candidate).values()
    assert [same[f"lower_than_base_percent{end}"] for end in ("", "_low", "_high")] == pytest.approx([0, 0, 0])


def test_a_base_of_another_kind_is_refused(dataset, candidate, tokenizer):
    base = Candidate(model=candidate.model, tokenizer=tokenizer, objective=DIFFUSION, checkpoint="runs/base")
    with pytest.raises(ConfigError, match=r"--base runs/base was trained with masked_diffusion, .* with next_token"):
        evaluate_answers(candidate, settings(dataset), base=base)


def test_a_base_without_control_tokens_grows(dataset, tokenizer):
    """New rows are the mean of the old ones; the old ones, and so the old logits, stay."""
    plain = plain_tokenizer([" ".join(row) for row in ROWS])
    added = tokenizer.vocab_size - plain.vocab_size
    assert added == 4
    base = Candidate(model=make_model(plain.vocab_size), tokenizer=plain, objective={"kind": "next_token"})
    fitted = fit(base, dataset)
    assert fitted.tokens_added == added
    assert fitted.tokenizer.fingerprint == tokenizer.fingerprint
    rows = fitted.model.token_embedding.weight
    assert torch.equal(rows[:-added], base.model.token_embedding.weight)
    assert torch.allclose(rows[-added:], base.model.token_embedding.weight.mean(dim=0).expand(added, -1), atol=1e-12)
    card = evaluate_answers(base, settings(dataset))
    assert card.tokens_added == added
    assert "the mean of its own" in card.protocol


class Parrot:
    """Answers that are given, in the order of the prompts."""

    def __init__(self, monkeypatch, answers: dict[str, str]) -> None:
        self.asked: list[tuple[str, int]] = []
        self.answers = answers
        monkeypatch.setattr("hornbook.evaluation.exact_match.generate_text", self)

    def __call__(self, model, tokenizer, prompts, config, *, objective, engines):
        assert config.temperature == 0.0
        said = [tokenizer.decode(prompt) for prompt in prompts]
        self.asked += [(prompt, config.max_new_tokens) for prompt in said]
        return [type("Generation", (), {"text": self.answers.get(prompt, "?")}) for prompt in said]


def test_exact_match_strips_and_counts(dataset, candidate, tokenizer, monkeypatch):
    every = conversations(dataset)
    texts = {tokenizer.decode(each.prompt): tokenizer.decode(each.answer, skip_special=True) for each in every}
    first, second, *_ = texts
    parrot = Parrot(monkeypatch, {**texts, first: f" {texts[first]}\n", second: f"{texts[second]} z"})
    found = exact_match(candidate, every, EvalConfig(batch_size=2), settings(dataset).generate)
    assert found.all == Count(6, 7)
    assert [(each.expected, each.answered) for each in found.wrong] == [(texts[second], f"{texts[second]} z")]
    longest = max(len(each.answer) for each in every)
    assert sorted(parrot.asked) == sorted((prompt, longest) for prompt in texts)


def test_exact_match_by_task(tmp_path, candidate, tokenizer, monkeypatch):
    rows = [*word_rows(4), *word_rows(4, task="reverse")]
    write_tuning_set(tmp_path / "two", tokenizer, "sft", {"valid": [(row.prompt, row.answer) for row in rows]})
    prompts = {f"<|user|>{row.prompt}<|end|><|assistant|>": row.answer for row in rows[:5]}
    Parrot(monkeypatch, prompts)
    config = load_config(None, values={"data.path": str(tmp_path / "two"), "eval.exact_match": 100}).config
    card = evaluate_answers(candidate, config)
    values = card.values()
    assert (values["exact_match_copy"], values["exact_match_reverse"]) == (1.0, 0.25)
    assert (values["exact_match"], values["exact_match_prompts"]) == (0.625, 8)
    assert values["exact_match_low"] < 0.625 < values["exact_match_high"]
    assert len(card.lists()["wrong_answers"]) == 3


@pytest.mark.parametrize("objective", [{"kind": "next_token"}, DIFFUSION])
def test_a_model_answers_by_its_own_decoder(dataset, tokenizer, objective):
    candidate = Candidate(model=make_model(tokenizer.vocab_size).float(), tokenizer=tokenizer, objective=objective)
    values = evaluate_answers(candidate, settings(dataset, **{"eval.exact_match": 5})).values()
    assert values["exact_match_prompts"] == 5
    assert values["exact_match"] == 0.0  # it never learnt anything


def test_near_the_end_of_the_context_answers_are_shorter(dataset, tokenizer, monkeypatch):
    every = conversations(dataset)
    longest = max(len(each.prompt) for each in every)
    candidate = Candidate(
        model=make_model(tokenizer.vocab_size, context_length=longest + 1), tokenizer=tokenizer, objective={}
    )
    parrot = Parrot(monkeypatch, {})
    exact_match(candidate, every, EvalConfig(max_new_tokens=9), settings(dataset).generate)
    room = {tokenizer.decode(each.prompt): min(9, longest + 1 - len(each.prompt)) for each in every}
    assert dict(parrot.asked) == room
    assert min(room.values()) == 1


def test_what_cannot_be_measured(dataset, tokenizer, tmp_path):
    short = Candidate(model=make_model(tokenizer.vocab_size, 8), tokenizer=tokenizer, objective={}, checkpoint="runs/x")
    with pytest.raises(DataError, match=r"conversation 0 has \d+ tokens, the model of runs/x reads 9"):
        evaluate_answers(short, settings(dataset))
    pairs = write_tuning_set(tmp_path / "dpo", tokenizer, "dpo", {"valid": [("a", "b", "c")]})
    with pytest.raises(DataError, match="stage dpo, `hornbook eval answers` measures stage sft"):
        evaluate_answers(short, settings(pairs))
    with pytest.raises(DataError, match="no split 'test'"):
        evaluate_answers(short, settings(dataset, **{"eval.split": "test"}))

"""Ways to decode compared: what is counted, and the probability of a text that was not decoded."""

import pytest
import torch

from generation.table_backend import TableBackend, table
from hornbook.config.generate import GenerateConfig
from hornbook.errors import GenerationError
from hornbook.generation import open_backend as opening
from hornbook.generation.comparison import WAYS, compare_texts, logprobs_of, repetition
from hornbook.generation.text import generate_text
from hornbook.models.transformer import Transformer
from tiny_checkpoint import tiny_config, tiny_tokenizer

CONFIG = GenerateConfig(max_new_tokens=4, seed=3)


@pytest.fixture(scope="module")
def model() -> Transformer:
    return Transformer(tiny_config(vocab_size=288, context_length=24, init="torch_default"), seed=5).double()


def test_repetition():
    assert repetition([]) == repetition([1, 2, 3]) == repetition([1, 2, 3, 4, 5]) == 0.0
    assert repetition([1] * 13) == pytest.approx(0.9)  # ten runs of four, all but the first repeated
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
    assert repetition([1, 1, 2], n=1) == pytest.approx(1 / 3)


def test_logprobs_of_a_given_text():
    rows, prompt, text = table(0, 5), [1, 2, 3] * 30, [4, 4, 0]
    found = logprobs_of(TableBackend(rows, max_length=100), prompt, text)
    whole = [*prompt, *text]
    expected = [rows[whole[at - 2], whole[at - 1]].double().log_softmax(-1)[whole[at]].item() for at in (90, 91, 92)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_every_way_is_what_its_settings_give(model):
    prompt, reference = tiny_tokenizer().encode("to be"), tiny_tokenizer().encode(" or not to be or")
    found = compare_texts(model, tiny_tokenizer(), prompt, CONFIG, reference=reference)
    assert [each.way for each in found] == [*WAYS, "the document"]
    for each in found[:-1]:
        settings = {"max_new_tokens": 4, **each.settings}
        if each.way == "beam 10":
            assert settings.pop("beam") == {"width": 10, "length_penalty": 0.0}
        else:
            assert each.settings["seed"] == 3
        [alone] = generate_text(model, tiny_tokenizer(), [prompt], GenerateConfig(**settings))
        assert each.text == alone.text
        assert each.logprob == pytest.approx(sum(alone.logprobs))
    [greedy] = generate_text(model, tiny_tokenizer(), [prompt], GenerateConfig(max_new_tokens=4, temperature=0.0))
    again = compare_texts(model, tiny_tokenizer(), prompt, CONFIG, reference=greedy.tokens)[-1]
    assert again.logprob == pytest.approx(found[0].logprob, abs=1e-5)  # of the same text, read at once
    assert found[-1].tokens == 4


def test_a_text_as_long_as_the_context(model):
    reference = tiny_tokenizer().encode(" or not to be" * 20)
    settings = GenerateConfig(max_new_tokens=200)
    prompt = tiny_tokenizer().encode("to be")
    found = compare_texts(model, tiny_tokenizer(), prompt, settings, reference=reference)
    assert len(prompt) + found[-1].tokens == 25  # the last is never read


@pytest.mark.parametrize(
    ("settings", "objective", "message"),
    [
        ({"top_k": 3}, "next_token", "top_k has no effect"),
        ({"strategy": "beam"}, "next_token", "strategy has no effect"),
        ({"context_overflow": "slide"}, "next_token", "cannot slide"),
        ({}, "masked_diffusion", "fills masks"),
    ],
)
def test_what_cannot_be_compared_is_refused(model, settings, objective, message):
    with pytest.raises(GenerationError, match=message):
        compare_texts(model, tiny_tokenizer(), "to be", GenerateConfig(**settings), objective={"kind": objective})


def test_nothing_is_left_in_training_mode(model):
    model.train()
    compare_texts(model, tiny_tokenizer(), "to be", CONFIG, reference=[1, 2])
    assert model.training
    model.eval()
    assert torch.is_grad_enabled()


def test_which_backend_serves_is_said_once(model, monkeypatch):
    monkeypatch.setattr(opening, "WORTH_COMPILING", 1)
    told: list[str] = []
    compare_texts(model, tiny_tokenizer(), "to be", CONFIG, note=told.append)
    assert told == ["decoding with torch: the kernels do not compute in float64"]

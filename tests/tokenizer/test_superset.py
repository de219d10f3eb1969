"""Tokenizers that keep the ids of others, and the one that data and starting point agree on."""

import pytest

from hornbook.config.chat import TEMPLATES
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.tokenizer.superset import first_difference, joined, keeps
from hornbook.tokenizer.tokenizer import Tokenizer

WHERE = ("the data", "it")


@pytest.fixture(scope="module")
def base() -> Tokenizer:
    return Tokenizer.train(["hello hello world"], TokenizerConfig(vocab_size=262, special_tokens="pretraining"))


def test_a_template_is_a_superset_of_ids_and_not_the_other_way_round(base):
    grown = base.with_chat_template(TEMPLATES["chatml"])
    assert keeps(base, grown)
    assert first_difference(base, grown, where=WHERE) is None
    assert first_difference(grown, base, where=WHERE) == "it has 262 ids, the data 264"


def test_the_first_id_that_differs_is_named(base):
    other = Tokenizer.train(["world world hello"], TokenizerConfig(vocab_size=262, special_tokens="pretraining"))
    difference = first_difference(base, other, where=WHERE)
    assert difference == f"id 256 is {base.token_bytes(256)!r} in the data, {other.token_bytes(256)!r} in it"
    renamed = Tokenizer(base.scheme, ["<|endoftext|>", "<|pad|>", "<|other|>"])
    assert first_difference(base, renamed, where=WHERE) == "id 261 is <|mask|> in the data, <|other|> in it"


def test_the_one_with_more_ids_is_taken_with_the_template_of_the_data(base):
    chatml, ours = (base.with_chat_template(TEMPLATES[name]) for name in ("chatml", "hornbook"))
    more = Tokenizer(base.scheme, [*base.special_tokens, *TEMPLATES["chatml"].control_tokens, "<|more|>"])
    assert joined(base, chatml) is chatml
    assert joined(chatml, base) is chatml
    assert joined(base, base).chat_template is None
    assert joined(chatml, ours) is chatml  # neither keeps the other: the data will refuse it
    found = joined(more, chatml)
    assert (found.fingerprint, found.chat_template) == (more.fingerprint, chatml.chat_template)
    plain = Tokenizer(base.scheme, [*base.special_tokens, *TEMPLATES["chatml"].control_tokens])
    assert joined(plain, chatml).chat_template == chatml.chat_template

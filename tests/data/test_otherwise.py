"""A run that asks for other labels than those that its data have is told so."""

import re

import pytest

from hornbook.config.chat import TEMPLATES
from hornbook.data.mixture import Mixture
from hornbook.data.otherwise import otherwise_prepared
from hornbook.data.tuning import prepare_tuning
from tuning_data import tuning_config

TURNS = [{"role": role, "content": text} for role, text in zip(("user", "assistant") * 2, "abcd", strict=True)]


def lines(root, made, **asked):
    config = tuning_config(root, root / "records.jsonl", **(made | asked))
    return otherwise_prepared(config, Mixture.open(config.data), None)


@pytest.mark.parametrize(
    ("made", "asked", "said"),
    [
        ({}, {"tuning": {"train_on": "last"}}, r'train_on = "last", but .*data was prepared with "all"'),
        ({"chat": {"template": "chatml"}}, {"chat": {}}, r"\[chat\] says another template than .*data"),
        ({"chat": {"system": "be kind"}}, {"chat": {"system": "be brief"}}, r"\[chat\] says another template"),
        (
            {"context_length": 8},
            {"context_length": 16},
            r"rows of 8 tokens, where 1 conversations .*context_length = 16",
        ),
    ],
)
def test_what_was_prepared_otherwise_is_told(tmp_path, tokenizer, made, asked, said):
    prepare_tuning(tuning_config(tmp_path, [{"messages": TURNS}], **made), tokenizer)
    assert lines(tmp_path, made) == []
    (line,) = lines(tmp_path, made, **asked)
    assert re.search(said, line)
    assert line.endswith("prepare them again: hornbook data prepare CONFIG --force")


def test_nothing_is_said_where_nothing_was_cut_or_the_template_s_file_is_not_here(tmp_path, tokenizer):
    prepare_tuning(tuning_config(tmp_path, [{"messages": TURNS}]), tokenizer)
    assert lines(tmp_path, {}, context_length=512) == []
    assert lines(tmp_path, {}, context_length=64) == []
    assert lines(tmp_path, {}, chat={"template": "elsewhere.toml"}) == []
    assert lines(tmp_path, {}, tuning={"packing": False, "too_long": "drop"}) == []


def test_a_model_that_speaks_another_template_is_told_of(tmp_path, tokenizer):
    config = tuning_config(tmp_path, [{"messages": TURNS}], chat={"template": "chatml"})
    data = Mixture([prepare_tuning(config, tokenizer)], (1.0,))
    (line,) = otherwise_prepared(config, data, tokenizer.with_chat_template(TEMPLATES["hornbook"]))
    assert "was tuned with another chat template than" in line
    for same in (None, tokenizer, data.tokenizer()):
        assert otherwise_prepared(config, data, same) == []

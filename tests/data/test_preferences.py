"""Pairs in TRL's and Alpaca's forms, with prompts beside or inside the answers."""

import pytest

from hornbook.config.chat import TEMPLATES
from hornbook.config.data import TuningConfig
from hornbook.data.messages import NothingToTrainError, RecordError
from hornbook.data.preferences import chosen_of, pair_of
from hornbook.tokenizer.chat import Message

TEMPLATE = TEMPLATES["hornbook"]


def pair(record, **tuning):
    return pair_of(record, TuningConfig(**tuning), TEMPLATE)


def user(text):
    return {"role": "user", "content": text}


def answer(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": "be kind"}
FORMS = [
    {"prompt": "hi", "chosen": "yes", "rejected": "no"},
    {"prompt": [user("hi")], "chosen": [answer("yes")], "rejected": [answer("no")]},
    {"prompt": "hi", "chosen": [answer("yes")], "rejected": "no"},
    {"chosen": [user("hi"), answer("yes")], "rejected": [user("hi"), answer("no")]},
    {"prompt": "hi", "chosen": [user("hi"), answer("yes")], "rejected": [user("hi"), answer("no")], "score": 3},
    {"instruction": "hi", "input": "", "output": "yes", "chosen": "yes", "rejected": "no"},
]


@pytest.mark.parametrize("record", FORMS)
def test_every_form(record):
    found = pair(record)
    assert (found.messages, found.chosen, found.rejected) == ((Message("user", "hi"),), "yes", "no")
    assert found.prompt == pair(FORMS[0]).prompt
    assert pair({**record, "system": "be kind"}).messages[0] == Message("system", "be kind")
    conversation = chosen_of(record, TuningConfig(), TEMPLATE)
    assert [message.content for message in conversation.messages] == ["hi", "yes"]
    assert conversation.only_last


def test_an_input_is_a_part_of_the_prompt():
    found = pair({"instruction": "add", "input": "1 2", "chosen": "3", "rejected": "4"})
    assert found.messages == (Message("user", "add", "1 2"),)
    names = {"instruction": "q", "chosen": "best", "rejected": "worst"}
    assert pair({"q": "add", "best": "3", "worst": "4"}, columns=names).messages == (Message("user", "add"),)


def test_earlier_turns():
    turns = [SYSTEM, user("a"), answer("b"), user("c")]
    whole = {"chosen": [*turns, answer("yes")], "rejected": [*turns, answer("no")]}
    assert [message.content for message in pair(whole).messages] == ["be kind", "a", "b", "c"]
    beside = {"prompt": turns, "chosen": "yes", "rejected": "no"}
    assert pair(beside).messages == pair(whole).messages
    assert pair({**whole, "prompt": "a"}).messages == pair(whole).messages  # the first of them, after the system's


REFUSED = {
    "missing field": [({"prompt": "a", "chosen": "b"}, "no field 'rejected', only 'prompt', 'chosen'")],
    "no prompt": [
        ({"chosen": "b", "rejected": "c"}, "no 'prompt', only 'chosen', 'rejected'"),
        ({"chosen": [answer("b")], "rejected": [answer("c")]}, "no 'prompt'"),
    ],
    "different prompts": [
        (
            {"chosen": [user("a"), answer("b")], "rejected": [user("x"), answer("c")]},
            "differ before their last message",
        ),
    ],
    "out of turn": [
        (
            {"prompt": "a", "chosen": [user("b")], "rejected": [user("c")]},
            "'chosen' has messages by user, expected one",
        ),
        ({"prompt": [user("a"), answer("b")], "chosen": "c", "rejected": "d"}, "the last message is by assistant"),
        ({"prompt": "x", "chosen": [user("a"), answer("b")], "rejected": [user("a"), answer("c")]}, "message 2 is by"),
    ],
    "empty prompt": [({"prompt": " ", "chosen": "b", "rejected": "c"}, "a message of the user is empty")],
    "field is not text": [({"prompt": "a", "chosen": "b", "rejected": "c", "system": 3}, "'system' is of type int")],
    "not messages": [
        ({"prompt": "a", "chosen": None, "rejected": "b"}, "'chosen' is null, expected text, or a list of one message"),
        ({"prompt": "a", "chosen": [], "rejected": []}, None),
    ],
}


@pytest.mark.parametrize(
    ("reason", "record", "message"), [(r, *case) for r, cases in REFUSED.items() for case in cases]
)
def test_what_does_not_fit(reason, record, message):
    with pytest.raises(RecordError, match=message) as error:
        pair(record)
    assert error.value.reason == (reason if message else "out of turn")
    assert error.value.setting is None


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [("b", "b", "identical answers"), ("", "b", "empty answer"), ("b", "\n ", "empty answer")],
)
def test_nothing_to_learn(chosen, rejected, reason):
    for record in (
        {"prompt": "a", "chosen": chosen, "rejected": rejected},
        {"chosen": [user("a"), answer(chosen)], "rejected": [user("a"), answer(rejected)]},
    ):
        with pytest.raises(NothingToTrainError) as error:
            pair(record)
        assert error.value.reason == reason

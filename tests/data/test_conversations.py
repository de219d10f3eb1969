"""Records of every form become the messages that they mean; anything else is refused by name."""

import pytest

from hornbook.config.chat import TEMPLATES
from hornbook.config.data import TuningConfig
from hornbook.data.conversations import conversation_of
from hornbook.data.messages import NothingToTrainError, RecordError
from hornbook.tokenizer.chat import Message

TEMPLATE = TEMPLATES["hornbook"]
HI = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def conversation(record, template=TEMPLATE, **tuning):
    return conversation_of(record, TuningConfig(**tuning), template)


def said(record, **tuning):
    return [tuple(message) for message in conversation(record, **tuning).messages]


USER, ANSWER = ("user", "hi", None), ("assistant", "hello", None)
FORMS = {
    "alpaca": {"instruction": "hi", "input": "", "output": "hello"},
    "messages": {"messages": HI, "id": 3},
    "sharegpt": {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]},
    "prompt_completion": {"prompt": "hi", "completion": "hello"},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_by_name_and_by_its_fields(form):
    assert said(FORMS[form]) == said(FORMS[form], format=form) == [USER, ANSWER]
    assert conversation(FORMS[form]).only_last == (form == "prompt_completion")
    assert conversation(FORMS[form]).prompt == conversation(FORMS["alpaca"]).prompt


@pytest.mark.parametrize("form", FORMS)
def test_a_system_message_in_a_field_of_its_own(form):
    assert said({**FORMS[form], "system": "be kind"}) == [("system", "be kind", None), USER, ANSWER]
    assert said({**FORMS[form], "system": None}) == [USER, ANSWER]


def test_alpaca_with_an_input():
    assert said({"instruction": "add", "input": "1 2", "output": "3"})[0] == ("user", "add", "1 2")
    assert said({"instruction": "add", "input": None, "output": "3"})[0] == ("user", "add", None)
    assert said({"instruction": "add", "output": "3"})[0] == ("user", "add", None)
    blank = {"instruction": "add", "input": " \n", "output": "3"}
    assert said(blank)[0] == ("user", "add", None)
    assert conversation(blank).prompt == conversation({**blank, "input": ""}).prompt  # on the same side of a split


@pytest.mark.parametrize(
    ("given", "messages"),
    [
        ("1 2", [Message("system", "add"), Message("user", "1 2")]),
        ("", [Message("system", "add")]),
        (" ", [Message("system", "add")]),
    ],
)
def test_a_template_whose_system_says_the_instruction(given, messages):
    """The document of the first system has <SYSTEM>{instruction}</SYSTEM><USER>{input}</USER><MODEL>, USER optional."""
    record = {"instruction": "add", "input": given, "output": "3"}
    found = conversation(record, template=TEMPLATES["simple_transformer"])
    assert list(found.messages) == [*messages, Message("assistant", "3")]
    assert found.prompt == conversation(record).prompt


def test_columns_by_other_names():
    fairy_tale = {"context": "a farmer", "question": "who?", "answer": "he", "attribute": "character"}
    names = {"instruction": "question", "input": "context", "output": "answer"}
    assert said(fairy_tale, columns=names) == [("user", "who?", "a farmer"), ("assistant", "he", None)]
    assert said({"q": HI}, columns={"messages": "q"}) == [USER, ANSWER]


def test_a_column_is_not_read_twice():
    record = {"input": "hi", "output": "hello"}
    assert said(record, columns={"instruction": "input"}) == [USER, ANSWER]
    with pytest.raises(RecordError, match="no field 'question', only 'input', 'output'; correct data"):
        conversation(record, columns={"instruction": "question"})


def test_many_turns_and_parts_of_text():
    turns = [{"role": "system", "content": ""}, *HI, {"role": "user", "content": [{"type": "text", "text": "and?"}]}]
    turns += [{"role": "assistant", "content": " no "}]
    assert said({"messages": turns}) == [
        ("system", "", None), USER, ANSWER, ("user", "and?", None), ("assistant", " no ", None)
    ]  # fmt: skip


def test_a_prompt_of_messages():
    record = {"prompt": [*HI, HI[0]], "completion": [{"role": "assistant", "content": "again"}]}
    found = conversation(record)
    assert found.messages[-1] == Message("assistant", "again")
    assert found.only_last


def messages(*turns):
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


REFUSED = {
    "unknown role": [
        (messages(("user", "a"), ("tool", "b"), ("assistant", "c")), r"message 2 of 'messages' is by 'tool', expected"),
        ({"conversations": [{"from": "bing", "value": "a"}]}, "is by 'bing'"),
        ({"conversations": [{"value": "a"}]}, "is by None"),
        ({"conversations": [{"from": ["gpt"], "value": "a"}]}, "is by"),
    ],
    "tool call": [
        (
            {"messages": [HI[0], {"role": "assistant", "content": None, "tool_calls": [{"id": 1}]}]},
            "message 2 of 'messages' calls a tool",
        )
    ],
    "out of turn": [
        (messages(("assistant", "a")), "message 1 is by assistant, but it is the turn of user"),
        (messages(("user", "a"), ("user", "b")), "message 2 is by user, but it is the turn of assistant"),
        (messages(("user", "a"), ("system", "b")), "message 2 is by system"),
        (messages(("user", "a"), ("assistant", "b"), ("user", "c")), "the last message is by user, expected assistant"),
        ({"prompt": "a", "completion": HI}, "'completion' has messages by user, assistant, expected one"),
    ],
    "no messages": [({"messages": []}, "there are none"), (messages(("system", "a")), "nothing but a system message")],
    "not messages": [
        ({"messages": "hi"}, "'messages' is of type str, expected a list"),
        ({"messages": None}, "'messages' is null"),
        ({"messages": ["hi"]}, "message 1 of 'messages' is of type str"),
    ],
    "field is not text": [
        ({"instruction": 3, "output": "a"}, "'instruction' is of type int, expected text"),
        ({"instruction": "a", "output": None}, "'output' is null, expected text"),
        (messages(("user", 3), ("assistant", "a")), "the content of message 1 of 'messages' is of type int"),
        (messages(("user", [{"type": "image"}]), ("assistant", "a")), "has a part that is not text"),
    ],
    "invalid Unicode": [
        ({"instruction": "a\ud800", "output": "b"}, r"'instruction' holds half a character \(U\+D800\)")
    ],
    "empty prompt": [
        ({"instruction": " ", "output": "a"}, "'instruction' is empty"),
        ({"prompt": "", "completion": "a"}, "a message of the user is empty"),
        (messages(("user", "\n"), ("assistant", "a")), "a message of the user is empty"),
    ],
    "two system messages": [({**messages(("system", "a"), ("user", "b")), "system": "c"}, "a system message each")],
    "unknown format": [
        (
            {"question": "a", "answer": "b"},
            r"the fields are 'question', 'answer', expected one of: messages; .*columns",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, 'format = "preference"'),
        ({}, "the fields are nothing"),
    ],
}


@pytest.mark.parametrize(
    ("reason", "record", "message"), [(r, *case) for r, cases in REFUSED.items() for case in cases]
)
def test_what_does_not_fit(reason, record, message):
    with pytest.raises(RecordError, match=message) as error:
        conversation(record)
    assert (error.value.reason, error.value.setting) == (reason, None)


@pytest.mark.parametrize(
    "record",
    [
        {"instruction": "a", "output": " \n"},
        messages(("user", "a"), ("assistant", "")),
        messages(("user", "a"), ("assistant", ""), ("user", "b"), ("assistant", "c")),
        {"prompt": "a", "completion": ""},
    ],
)
def test_an_empty_answer_is_nothing_to_train(record):
    with pytest.raises(NothingToTrainError) as error:
        conversation(record)
    assert (error.value.reason, error.value.setting) == ("empty answer", "nothing_to_train")


def test_a_field_that_the_named_format_needs():
    with pytest.raises(RecordError, match=r"no field 'output', only 'instruction'; name it: data"):
        conversation({"instruction": "a"}, format="alpaca")

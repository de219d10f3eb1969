"""Conversations as ids: what is trained, what a hostile text can do, what is left out when it is long."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbook.config.chat import TEMPLATES, ChatConfig, ChatTemplate
from hornbook.config.tokenizer import TokenizerConfig
from hornbook.errors import TokenizerError
from hornbook.tokenizer.chat import (
    Message,
    Rendered,
    TooLongError,
    _has_untrained_stop,
    load_template,
    render,
    render_pair,
    render_prompt,
)
from hornbook.tokenizer.special_tokens import SpecialTokens, Template
from hornbook.tokenizer.tokenizer import Tokenizer
from strange_text import strange_text

BASE = Tokenizer.train(
    ["hello hello world <|user|> <|im_end|> ### Response:\n"] * 3,
    TokenizerConfig(vocab_size=290, special_tokens="pretraining"),
)
SPEAKERS = {name: BASE.with_chat_template(template) for name, template in TEMPLATES.items()}
NAMES = sorted({name for template in TEMPLATES.values() for name in template.control_tokens})

USER, ANSWER, SYSTEM = Message("user", "hi"), Message("assistant", "hello"), Message("system", "be kind")

hostile = st.lists(st.one_of(st.sampled_from([*NAMES, "### Response:\n", "system\n"]), strange_text), max_size=4).map(
    "".join
)
spoken = hostile.filter(str.strip)


@st.composite
def conversations(draw) -> list[Message]:
    messages = [Message("system", draw(hostile))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        messages.append(Message("user", draw(spoken), draw(st.none() | hostile)))
        messages.append(Message("assistant", draw(spoken)))
    return messages


def text_of(template: ChatTemplate, messages: list[Message]) -> str:
    """What the template makes of a conversation, in strings: the definition."""
    with_input = messages[messages[0].role == "system"].input and template.begin_with_input is not None
    text = template.begin_with_input if with_input else template.begin
    for message in messages:
        before, after = getattr(template, message.role)
        joined = f"{message.content}{template.input_joiner}{message.input}" if message.input else message.content
        text += "" if message.role == "system" and not message.content else before + joined + after
    return text


def count(text: str, names: tuple[str, ...]) -> int:
    return sum(text.count(name) for name in names)


def trained_runs(tokenizer: Tokenizer, rendered: Rendered) -> list[list[int]]:
    stop = tokenizer.special_tokens[tokenizer.chat_template.stop]
    runs: list[list[int]] = [[]]
    for i, counts in zip(rendered.ids, rendered.trained, strict=True):
        if counts:
            runs[-1].append(i)
            if i == stop:
                runs.append([])
    return runs[:-1] if not runs[-1] else runs


@pytest.mark.parametrize("name", TEMPLATES)
@given(messages=conversations())
@settings(max_examples=30, deadline=None)
def test_trained_is_exactly_answers_and_stops_and_decoding_gives_the_templates_text(name, messages):
    tokenizer, template = SPEAKERS[name], TEMPLATES[name]
    rendered = render(tokenizer, messages)
    assert tokenizer.decode(rendered.ids) == text_of(template, messages)
    stop = tokenizer.special_tokens[template.stop]
    answers = [message.content for message in messages if message.role == "assistant"]
    assert trained_runs(tokenizer, rendered) == [[*tokenizer.encode(answer), stop] for answer in answers]
    assert (rendered.dropped_turns, rendered.has_untrained_stop) == (0, False)


@pytest.mark.parametrize("name", TEMPLATES)
@given(messages=conversations())
@settings(max_examples=30, deadline=None)
def test_no_text_gives_a_control_id(name, messages):
    """As many as in the same conversation of harmless words, whose roles and inputs are those of the hostile one."""
    tokenizer, template = SPEAKERS[name], TEMPLATES[name]
    control = {tokenizer.special_tokens[each] for each in template.control_tokens}
    harmless = [
        each._replace(content="word" if each.content else "", input="word" if each.input else None) for each in messages
    ]
    found = [i for i in render(tokenizer, messages).ids if i in control]
    assert found == [i for i in render(tokenizer, harmless).ids if i in control]
    assert len(found) == count(text_of(template, harmless), template.control_tokens)
    others = set(tokenizer.special_tokens.values()) - control
    assert others.isdisjoint(render(tokenizer, messages).ids)


@pytest.mark.parametrize("name", TEMPLATES)
@given(messages=conversations(), share=st.floats(0.0, 1.0))
@settings(max_examples=30, deadline=None)
def test_truncation_keeps_the_system_message_and_the_newest_whole_turns(name, messages, share):
    tokenizer = SPEAKERS[name]
    room = int(share * len(render(tokenizer, messages).ids))
    system = messages[: messages[0].role == "system"]
    turns = messages[len(system) :]
    shorter = [render(tokenizer, [*system, *turns[2 * n :]]) for n in range(len(turns) // 2)]
    fitting = [(n, each) for n, each in enumerate(shorter) if len(each.ids) <= room]
    if not fitting:
        with pytest.raises(TooLongError, match=f"tokens, more than {room}"):
            render(tokenizer, messages, max_tokens=room)
        return
    dropped, expected = fitting[0]
    assert render(tokenizer, messages, max_tokens=room) == expected._replace(dropped_turns=dropped)


@pytest.mark.parametrize("name", TEMPLATES)
@given(messages=conversations())
@settings(max_examples=20, deadline=None)
def test_a_prompt_and_its_answer_are_the_conversation(name, messages):
    """What generation reads is what training reads, id by id: no token lies across the boundary."""
    tokenizer = SPEAKERS[name]
    whole = render(tokenizer, messages, train_on="last")
    prompt = render_prompt(tokenizer, messages[:-1])
    assert whole.ids[: len(prompt.ids)] == prompt.ids
    assert not any(prompt.trained)
    assert whole.trained.index(True) == len(prompt.ids)
    first, second = render_pair(tokenizer, messages[:-1], messages[-1].content, "another")
    assert first == whole
    assert second.ids[: len(prompt.ids)] == prompt.ids
    assert first.trained[: len(prompt.ids)] == second.trained[: len(prompt.ids)]


def test_the_forms():
    record = [Message("user", "add", "1 2"), Message("assistant", "3")]
    shown = {name: SPEAKERS[name].decode(render(SPEAKERS[name], record).ids) for name in TEMPLATES}
    assert shown["hornbook"] == "<|user|>add\n\n1 2<|end|><|assistant|>3<|end|>"
    assert shown["chatml"] == "<|im_start|>user\nadd\n\n1 2<|im_end|>\n<|im_start|>assistant\n3<|im_end|>\n"
    assert shown["alpaca"].startswith("Below is an instruction that describes a task, paired with an input")
    assert shown["alpaca"].endswith("### Instruction:\nadd\n\n### Input:\n1 2\n\n### Response:\n3<|endoftext|>")
    tokenizer = SPEAKERS["simple_transformer"]
    with_input = [Message("system", "add"), Message("user", "1 2"), Message("assistant", "3")]
    without = [Message("system", "say hi"), Message("assistant", "hi")]
    assert tokenizer.decode(render(tokenizer, with_input).ids) == "<SYSTEM>add</SYSTEM><USER>1 2</USER><MODEL>3</MODEL>"
    assert tokenizer.decode(render(tokenizer, without).ids) == "<SYSTEM>say hi</SYSTEM><MODEL>hi</MODEL>"
    assert tokenizer.decode(render_prompt(tokenizer, without[:1]).ids) == "<SYSTEM>say hi</SYSTEM><MODEL>"


def test_what_follows_the_stop_is_context():
    tokenizer = SPEAKERS["chatml"]
    rendered = render(tokenizer, [USER, ANSWER, USER, ANSWER], train_on="last")
    assert rendered.trained[-1] is False
    assert sum(rendered.trained) == len(tokenizer.encode("hello")) + 1
    assert not rendered.has_untrained_stop


def test_a_system_message_of_the_template_stands_where_none_is_given():
    tokenizer = BASE.with_chat_template(load_template(ChatConfig(system="be kind")))
    assert tokenizer.chat_template.default_system == "be kind"
    assert render(tokenizer, [USER, ANSWER]) == render(tokenizer, [SYSTEM, USER, ANSWER])
    none = render(tokenizer, [Message("system", ""), USER, ANSWER])
    assert none == render(SPEAKERS["hornbook"], [USER, ANSWER])


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "no message of the user"),
        ([SYSTEM], "no message of the user"),
        ([ANSWER], r"message 1 \(assistant\) answers nothing"),
        ([SYSTEM, ANSWER], r"message 2 \(assistant\) answers nothing"),
        ([USER, USER, ANSWER], r"message 2 \(user\) follows another message of the user"),
        ([USER, ANSWER, ANSWER], r"message 3 \(assistant\) answers nothing"),
        ([USER, SYSTEM, ANSWER], r"message 2 \(system\): expected user or assistant, and system only as the first"),
        ([Message("user", " \n"), ANSWER], r"message 1 \(user\) is empty"),
        ([SYSTEM, USER, Message("assistant", " ")], r"message 3 \(assistant\) is empty"),
    ],
)
def test_what_is_no_conversation_is_refused(messages, message):
    with pytest.raises(TokenizerError, match=message):
        render(SPEAKERS["hornbook"], messages)


def test_a_conversation_without_an_answer_has_nothing_to_train():
    assert not any(render(SPEAKERS["hornbook"], [SYSTEM, USER]).trained)
    rendered = render(SPEAKERS["hornbook"], [USER, ANSWER, USER], train_on="last")
    assert not any(rendered.trained)
    with pytest.raises(TokenizerError, match="message 2 is the assistant's"):
        render_prompt(SPEAKERS["hornbook"], [USER, ANSWER])
    with pytest.raises(TokenizerError, match="rejected answer is empty"):
        render_pair(SPEAKERS["hornbook"], [USER], "yes", "")
    with pytest.raises(TokenizerError, match="has no chat template"):
        render(BASE, [USER, ANSWER])


def test_of_a_pair_the_prompt_is_cut_alike_and_the_answers_never():
    tokenizer = SPEAKERS["hornbook"]
    messages = [SYSTEM, USER, ANSWER, Message("user", "and now?")]
    short, long = "no", "hello world " * 3
    whole = max(len(each.ids) for each in render_pair(tokenizer, messages, short, long))
    first, second = render_pair(tokenizer, messages, short, long, max_tokens=whole - 1)
    assert (first, second) == tuple(
        each._replace(dropped_turns=1) for each in render_pair(tokenizer, [SYSTEM, messages[-1]], short, long)
    )
    with pytest.raises(TooLongError, match=r"beside an answer of \d+ tokens: the system message and the last turn"):
        render_pair(tokenizer, messages, short, long, max_tokens=len(tokenizer.encode(long)) + 3)


def test_alpaca_says_which_preamble_by_the_first_turn_that_is_left():
    tokenizer = SPEAKERS["alpaca"]
    messages = [Message("user", "first", "with input"), ANSWER, Message("user", "second"), ANSWER]
    whole = render(tokenizer, messages)
    cut = render(tokenizer, messages, max_tokens=len(whole.ids) - 1)
    assert "paired with" in tokenizer.decode(whole.ids)
    assert cut.ids == render(tokenizer, messages[2:]).ids


def test_what_all_texts_of_a_vocabulary_begin_with_stands_first_and_once():
    special = SpecialTokens({"<s>": 300, "</s>": 301}, template=Template(("<s>",), ("</s>",)))
    tokenizer = Tokenizer(BASE.scheme, special)
    ours = tokenizer.with_chat_template(TEMPLATES["hornbook"])
    assert ours.decode(render(ours, [USER, ANSWER]).ids) == "<s><|user|>hi<|end|><|assistant|>hello<|end|>"
    says_it = ChatTemplate(**{**TEMPLATES["hornbook"].model_dump(), "begin": "<s>", "control_tokens": ("<s>", *NAMES)})
    theirs = tokenizer.with_chat_template(says_it)
    assert theirs.decode(render(theirs, [USER, ANSWER]).ids).count("<s>") == 1


def test_characters_speak_too():
    letters = Tokenizer.train(["abcdefghijklmnopqrstuvwxyz <|>\n"], TokenizerConfig(kind="characters"))
    tokenizer = letters.with_chat_template(TEMPLATES["hornbook"])
    said = [Message("user", "<|end|>"), Message("assistant", "ok")]
    assert tokenizer.decode(render(tokenizer, said).ids) == "<|user|><|end|><|end|><|assistant|>ok<|end|>"
    with pytest.raises(TokenizerError, match="'O'"):
        render(tokenizer, [Message("user", "OK")])


@pytest.mark.parametrize(
    ("ids", "trained", "expected"),
    [
        ([1, 2, 9, 3], [0, 1, 1, 0], False),
        ([1, 2, 9, 3], [0, 1, 0, 0], True),  # the answer counts and its stop does not
        ([1, 2, 3], [0, 1, 1], True),  # cut off before its stop
        ([2, 9, 2, 9], [1, 1, 1, 1], False),
        ([2, 9, 2, 9], [1, 0, 1, 1], True),
        ([1, 2], [0, 0], False),
    ],
)
def test_an_answer_that_would_never_learn_to_end_is_seen(ids, trained, expected):
    """It looks at ids and labels alone, so that it would see a mistake of whatever made them; 9 is the stop token."""
    assert _has_untrained_stop(ids, list(map(bool, trained)), 9) is expected

"""Records to pairs of answers to the same prompt, of which one was preferred.

    prompt, chosen, rejected                texts, or lists of messages (TRL)
    chosen, rejected                        whole conversations as lists of messages that differ in their last answer
    instruction, input, chosen, rejected    texts (Alpaca with preferences)

Where lists of messages stand beside a prompt they may repeat it. A field `system` is the system message.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hornbook.config.chat import ChatTemplate
from hornbook.config.data import RecordField, TuningConfig
from hornbook.data.conversations import Conversation, first_prompt, one_answer, prompt_messages
from hornbook.data.messages import (
    Fields,
    NothingToTrainError,
    RecordError,
    asked,
    check_turns,
    input_of,
    messages_of,
    names,
    optional_text,
    renamed,
    required,
    text_of,
    with_system,
)
from hornbook.tokenizer.chat import Message

_FIELDS: tuple[RecordField, ...] = ("prompt", "instruction", "input", "system", "chosen", "rejected")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to what the last message of `messages`, the user's, asks."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str
    prompt: str
    """What the user says first: pairs with the same belong on the same side of a split."""


def pair_of(record: Fields, tuning: TuningConfig, template: ChatTemplate) -> Pair:
    """The pair of a record.

    Raises:
        RecordError: if fields are missing or do not fit together.
        NothingToTrainError: if an answer is empty or both are the same.
    """
    fields = renamed(record, tuning.columns, _FIELDS)
    before, chosen, rejected = _answers(required(fields, "chosen", record), required(fields, "rejected", record))
    messages, prompt = _prompt(fields, before, template, record)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if not answer.strip():
            raise NothingToTrainError("empty answer", f"{name!r} is empty")
    if chosen == rejected:
        raise NothingToTrainError("identical answers", "'chosen' and 'rejected' are the same")
    return Pair(tuple(messages), chosen, rejected, prompt)


def chosen_of(record: Fields, tuning: TuningConfig, template: ChatTemplate) -> Conversation:
    """The conversation with the answer that was preferred."""
    pair = pair_of(record, tuning, template)
    return Conversation((*pair.messages, Message("assistant", pair.chosen)), pair.prompt, only_last=True)


def _answers(chosen: object, rejected: object) -> tuple[list[Message], str, str]:
    """The messages that stand before both answers, and those."""
    if isinstance(chosen, str) or isinstance(rejected, str):
        return [], one_answer(chosen, "chosen"), one_answer(rejected, "rejected")
    first, second = messages_of(chosen, "chosen"), messages_of(rejected, "rejected")
    if first[:-1] != second[:-1]:
        raise RecordError("different prompts", "'chosen' and 'rejected' differ before their last message")
    return first[:-1], one_answer(_last(chosen), "chosen"), one_answer(_last(rejected), "rejected")


def _last(messages: object) -> object:
    assert isinstance(messages, Sequence)
    return messages[-1:]


def _prompt(fields: Fields, before: list[Message], template: ChatTemplate, record: Fields) -> tuple[list[Message], str]:
    """What stands before the answers, and what the user says first."""
    system = optional_text(fields, "system")
    if not before and "prompt" not in fields and "instruction" in fields:
        instruction = text_of(fields["instruction"], "'instruction'")
        given = input_of(fields)
        return with_system(system, asked(instruction, given, template)), f"{instruction}\0{given}"
    if not before and "prompt" not in fields:
        raise RecordError(
            "no prompt",
            f"no 'prompt', only {names(record)}, and the answers are no conversations; name it: "
            "data.tuning.columns = {prompt = ...}",
        )
    messages = with_system(system, _joined(prompt_messages(fields["prompt"]), before) if "prompt" in fields else before)
    check_turns(messages, last="user")
    return messages, first_prompt(messages)


def _joined(prompt: list[Message], before: list[Message]) -> list[Message]:
    """The prompt and what stands before the answers, which may begin with it, or with it after a system message."""
    repeats = any(before[start : start + len(prompt)] == prompt for start in range(2))
    return before if repeats else [*prompt, *before]

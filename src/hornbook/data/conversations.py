"""Records to conversations, in the forms that instruction data come in.

    alpaca              instruction, input (may be empty or absent), output
    messages            messages: [{"role": "system" | "user" | "assistant", "content": ...}, ...]
    sharegpt            conversations: [{"from": "system" | "human" | "gpt", "value": ...}, ...]
    prompt_completion   prompt, completion: texts, or lists of messages; only the completion is trained
    preference          the prompt and the chosen answer of a pair; only if asked for

A field `system` beside them is the system message. Tool calls and other roles have no template and are refused.
"""

from dataclasses import dataclass

from hornbook.config.chat import ChatTemplate
from hornbook.config.data import RecordField, TuningConfig
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

FORMATS: dict[str, tuple[RecordField, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "prompt_completion": ("prompt", "completion"),
    "alpaca": ("instruction", "output"),
}
"""The fields that a record must have, by format; `auto` takes the first whose fields are there."""
_FIELDS: tuple[RecordField, ...] = (*(field for fields in FORMATS.values() for field in fields), "input", "system")


@dataclass(frozen=True, slots=True)
class Conversation:
    """Who says what, from an optional system message to the last answer."""

    messages: tuple[Message, ...]
    prompt: str
    """What the user says first: conversations with the same belong on the same side of a split."""
    only_last: bool = False
    """Whether the last answer alone is trained, whatever `train_on` says."""


def conversation_of(record: Fields, tuning: TuningConfig, template: ChatTemplate) -> Conversation:
    """The conversation of a record.

    Raises:
        RecordError: if it is of no known format, or not as its format has it.
    """
    fields = renamed(record, tuning.columns, _FIELDS)
    match tuning.format if tuning.format != "auto" else _detected(fields, record):
        case "alpaca":
            return _alpaca(fields, template, record)
        case "prompt_completion":
            return _prompt_completion(fields, record)
        case known:
            return _messages(fields, FORMATS[known][0], record)


def _detected(fields: Fields, record: Fields) -> str:
    for name, needed in FORMATS.items():
        if all(field in fields for field in needed):
            return name
    known = "; ".join(f"{', '.join(needed)}" for needed in FORMATS.values())
    advice = (
        'for the chosen answers of pairs, set data.tuning.format = "preference"'
        if "chosen" in record
        else 'say which is which: data.tuning.columns = {instruction = "...", output = "..."}'
    )
    raise RecordError("unknown format", f"the fields are {names(record)}, expected one of: {known}; {advice}")


def _alpaca(fields: Fields, template: ChatTemplate, record: Fields) -> Conversation:
    instruction = text_of(required(fields, "instruction", record), "'instruction'")
    given = input_of(fields)
    answer = text_of(required(fields, "output", record), "'output'")
    if not answer.strip():
        raise NothingToTrainError("empty answer", "'output' is empty")
    messages = with_system(optional_text(fields, "system"), asked(instruction, given, template))
    return Conversation((*messages, Message("assistant", answer)), f"{instruction}\0{given}")


def _messages(fields: Fields, name: RecordField, record: Fields) -> Conversation:
    messages = messages_of(required(fields, name, record), name)
    messages = with_system(optional_text(fields, "system"), messages)
    check_turns(messages, last="assistant")
    return Conversation(tuple(messages), first_prompt(messages))


def _prompt_completion(fields: Fields, record: Fields) -> Conversation:
    prompt = prompt_messages(required(fields, "prompt", record))
    messages = [
        *with_system(optional_text(fields, "system"), prompt),
        Message("assistant", one_answer(required(fields, "completion", record), "completion")),
    ]
    check_turns(messages, last="assistant")
    return Conversation(tuple(messages), first_prompt(messages), only_last=True)


def prompt_messages(value: object) -> list[Message]:
    """A prompt that is a text or a list of messages."""
    if isinstance(value, str):
        return [Message("user", text_of(value, "'prompt'"))]
    return messages_of(value, "prompt")


def one_answer(value: object, name: str) -> str:
    """An answer that is a text or a list of one message."""
    if isinstance(value, str):
        return text_of(value, repr(name))
    if value is None:
        raise RecordError("not messages", f"{name!r} is null, expected text, or a list of one message")
    messages = messages_of(value, name)
    if [message.role for message in messages] != ["assistant"]:
        said = ", ".join(message.role for message in messages) or "nobody"
        raise RecordError("out of turn", f"{name!r} has messages by {said}, expected one by the assistant")
    return messages[0].content


def first_prompt(messages: list[Message]) -> str:
    """What the user says first."""
    first = next(message for message in messages if message.role == "user")
    return f"{first.content}\0{first.input or ''}"

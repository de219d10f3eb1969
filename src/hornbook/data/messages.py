"""Fields of records as texts and messages, whatever the record calls them; what does not fit is told in words."""

from collections.abc import Mapping, Sequence
from typing import Literal

from hornbook.config.chat import ChatTemplate, Role
from hornbook.config.data import RecordField
from hornbook.tokenizer.chat import Message

Fields = Mapping[str, object]
"""Of a record, by our names for them."""

Setting = Literal["too_long", "nothing_to_train", "untrained_stop"]

ROLES: Mapping[object, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}
"""Who speaks, as OpenAI's and ShareGPT's messages call them."""


class RecordError(Exception):
    """A record that does not fit.

    Args:
        reason: in a few words, to count by.
        what: the whole of it, without the place.
        setting: the one of `[data.tuning]` that says what becomes of it; None for bad input, `data.on_error`.
    """

    def __init__(self, reason: str, what: str, setting: Setting | None = None) -> None:
        super().__init__(what)
        self.reason = reason
        self.setting = setting


class NothingToTrainError(RecordError):
    """A record from which nothing can be learned."""

    def __init__(self, reason: str, what: str) -> None:
        super().__init__(reason, what, "nothing_to_train")


def renamed(record: Fields, columns: Mapping[RecordField, str], wanted: Sequence[RecordField]) -> dict[str, object]:
    """The wanted fields that a record has, by our names.

    A column that `columns` gives to one field is not read as another, though it should have that one's name.

    Raises:
        RecordError: if a column that is named is not there.
    """
    taken = set(columns.values())
    found: dict[str, object] = {}
    for field in wanted:
        name = columns.get(field)
        if name is not None and name not in record:
            raise RecordError("missing field", f"no field {name!r}, only {names(record)}; correct data.tuning.columns")
        if name is not None:
            found[field] = record[name]
        elif field in record and field not in taken:
            found[field] = record[field]
    return found


def names(record: Fields) -> str:
    """The fields of a record, for a message."""
    return ", ".join(map(repr, record)) or "nothing"


def required(fields: Fields, field: RecordField, record: Fields) -> object:
    """The value of a field that a record must have.

    Raises:
        RecordError: if it has not.
    """
    if field not in fields:
        raise RecordError(
            "missing field",
            f"no field {field!r}, only {names(record)}; name it: data.tuning.columns = {{{field} = ...}}",
        )
    return fields[field]


def text_of(value: object, name: str) -> str:
    """A text.

    Raises:
        RecordError: if it is none, or holds half a character.
    """
    if not isinstance(value, str):
        kind = "null" if value is None else f"of type {type(value).__name__}"
        raise RecordError("field is not text", f"{name} is {kind}, expected text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        bad = ord(value[error.start])
        raise RecordError("invalid Unicode", f"{name} holds half a character (U+{bad:04X}); mend the text") from None
    return value


def optional_text(fields: Fields, name: str) -> str:
    """The text of a field; empty if that is absent or null."""
    value = fields.get(name)
    return "" if value is None else text_of(value, repr(name))


def input_of(fields: Fields) -> str:
    """The input beside an instruction; blanks alone are none."""
    given = optional_text(fields, "input")
    return given if given.strip() else ""


def messages_of(value: object, name: str) -> list[Message]:
    """Messages of OpenAI's form (role, content) or ShareGPT's (from, value).

    Raises:
        RecordError: naming the message that is none.
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        kind = "null" if value is None else f"of type {type(value).__name__}"
        raise RecordError("not messages", f"{name!r} is {kind}, expected a list of messages")
    return [_message(item, f"message {number} of {name!r}") for number, item in enumerate(value, start=1)]


def _message(item: object, where: str) -> Message:
    if not isinstance(item, Mapping):
        raise RecordError("not messages", f"{where} is of type {type(item).__name__}, expected role and content")
    said_by = item.get("role", item.get("from"))
    if not isinstance(said_by, str) or said_by not in ROLES:
        raise RecordError("unknown role", f"{where} is by {said_by!r}, expected one of {', '.join(map(str, ROLES))}")
    if item.get("tool_calls"):
        raise RecordError("tool call", f"{where} calls a tool, for which there is no template")
    return Message(ROLES[said_by], _content(item.get("content", item.get("value")), where))


def _content(value: object, where: str) -> str:
    """A text, or OpenAI's list of parts, if all are text."""
    if not isinstance(value, list):
        return text_of(value, f"the content of {where}")
    parts = [part.get("text") for part in value if isinstance(part, Mapping) and part.get("type") == "text"]
    if len(parts) < len(value):
        raise RecordError("field is not text", f"{where} has a part that is not text")
    return "".join(text_of(part, f"a part of {where}") for part in parts)


def asked(instruction: str, given: str, template: ChatTemplate) -> list[Message]:
    """The messages of an instruction and its input, as the template has them said."""
    if not instruction.strip():
        raise RecordError("empty prompt", "'instruction' is empty")
    if template.instruction_role == "user":
        return [Message("user", instruction, given or None)]
    return [Message("system", instruction), *([Message("user", given)] if given else [])]


def with_system(system: str, messages: list[Message]) -> list[Message]:
    """The messages after a system message, if there is one in a field of its own.

    Raises:
        RecordError: if they have another one.
    """
    if not system:
        return messages
    if messages and messages[0].role == "system":
        raise RecordError("two system messages", "'system' and the messages have a system message each")
    return [Message("system", system), *messages]


def check_turns(messages: Sequence[Message], *, last: Role) -> None:
    """Refuse what is not an optional system message, then user and assistant by turns.

    Raises:
        RecordError: naming the first message that is out of turn.
        NothingToTrainError: if an answer is empty.
    """
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not turns:
        raise RecordError("no messages", "there is nothing but a system message" if messages else "there are none")
    for number, message in enumerate(turns):
        due: Role = "assistant" if number % 2 else "user"
        if message.role != due:
            place = number + 1 + len(messages) - len(turns)
            raise RecordError("out of turn", f"message {place} is by {message.role}, but it is the turn of {due}")
        if not message.content.strip():
            _refuse_empty(due)
    if turns[-1].role != last:
        raise RecordError("out of turn", f"the last message is by {turns[-1].role}, expected {last}")


def _refuse_empty(role: Role) -> None:
    if role == "assistant":
        raise NothingToTrainError("empty answer", "an answer is empty")
    raise RecordError("empty prompt", "a message of the user is empty")

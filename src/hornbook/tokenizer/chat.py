"""Conversations as ids, with the exact set of tokens that are trained.

    messages   system "be kind"    user "hi"         assistant "hello"
    text       <|system|>be kind<|end|><|user|>hi<|end|><|assistant|>hello<|end|>
    trained                                                        ------------

The pieces of the template and the texts between them are tokenised one by one, so that no token lies across a boundary
and the ids of a prompt are the same in training and in generation. Control tokens come only from the template: the
name of one in a message is ordinary text. A template whose marks are ordinary text, as Alpaca's, can be imitated by a
message; one of control tokens cannot.
"""

import functools
from collections.abc import Sequence
from typing import Literal, NamedTuple

from hornbook.config.chat import Role
from hornbook.errors import TokenizerError
from hornbook.tokenizer.chat_template import load_template
from hornbook.tokenizer.tokenizer import Tokenizer

__all__ = ["Message", "Rendered", "TooLongError", "load_template", "render", "render_pair", "render_prompt"]


class TooLongError(TokenizerError):
    """The system message and the last turn alone are longer than asked for."""


class Message(NamedTuple):
    """What one side says."""

    role: Role
    content: str
    """Of a system message: empty is none, not even the template's own."""
    input: str | None = None
    """Of a user message made from a record with instruction and input; the template says what joins the two."""


class Rendered(NamedTuple):
    """A conversation as ids."""

    ids: list[int]
    trained: list[bool]
    """True at tokens of answers and at the stop token after each."""
    dropped_turns: int
    """How many of the oldest turns were left out so that the rest fits."""
    has_untrained_stop: bool
    """Whether somewhere a trained answer is followed by anything but a trained stop token."""


class _Turn(NamedTuple):
    """What the user says and the answer, as ids; one of the two may be missing."""

    ids: list[int]
    trained: range
    """Where in `ids` the answer stands, its stop token included; empty without an answer."""
    has_input: bool


def render(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    *,
    train_on: Literal["all", "last"] = "all",
    max_tokens: int | None = None,
) -> Rendered:
    """A whole conversation; one that ends with the user has nothing to train in its last turn.

    Args:
        tokenizer: one with a chat template.
        messages: an optional system message, then user and assistant by turns. Where the template gives instructions
            to the system, the assistant may answer that at once.
        train_on: which answers are trained.
        max_tokens: leave out the oldest whole turns until no more ids are left; never the system message, never the
            last turn.

    Raises:
        TooLongError: if the rest is still longer.
        TokenizerError: if the messages are no such conversation, one is empty, or the tokenizer has no template.
    """
    pieces = _pieces(tokenizer)
    system, turns = _read(messages, pieces)
    return pieces.rendered(system, turns, [], train_on=train_on, max_tokens=max_tokens)


def render_prompt(tokenizer: Tokenizer, messages: Sequence[Message], *, max_tokens: int | None = None) -> Rendered:
    """A conversation that the assistant is to go on with: it ends with what stands before an answer.

    Raises:
        TooLongError, TokenizerError: as `render`; also if the last message is the assistant's.
    """
    pieces = _pieces(tokenizer)
    system, turns = _read(messages, pieces)
    if turns[-1].trained:
        raise TokenizerError(
            f"message {len(messages)} is the assistant's; a prompt ends with the message that is to be answered"
        )
    return pieces.rendered(system, turns, pieces.answer, train_on="none", max_tokens=max_tokens)


def render_pair(
    tokenizer: Tokenizer,
    prompt_messages: Sequence[Message],
    chosen: str,
    rejected: str,
    *,
    max_tokens: int | None = None,
) -> tuple[Rendered, Rendered]:
    """Two answers to the same prompt, whose ids are equal in both: a turn that does not fit is left out of both.

    Raises:
        TooLongError, TokenizerError: as `render_prompt`; also if an answer is empty.
    """
    pieces = _pieces(tokenizer)
    answers = [pieces.answered(text, name) for text, name in ((chosen, "chosen answer"), (rejected, "rejected answer"))]
    longest = max(len(ids) + len(pieces.after_stop) for ids in answers)
    try:
        prompt = render_prompt(
            tokenizer, prompt_messages, max_tokens=None if max_tokens is None else max_tokens - longest
        )
    except TooLongError as error:
        raise TooLongError(f"beside an answer of {longest} tokens: {error}") from None
    first, second = (
        Rendered(
            [*prompt.ids, *ids, *pieces.after_stop],
            [False] * len(prompt.ids) + [True] * len(ids) + [False] * len(pieces.after_stop),
            prompt.dropped_turns,
            has_untrained_stop=False,
        )
        for ids in answers
    )
    return first, second


class _Pieces:
    """The strings of a tokenizer's template as ids, and texts between them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        template = tokenizer.chat_template
        if template is None:
            raise TokenizerError(
                "the tokenizer has no chat template; give it one: "
                "tokenizer.with_chat_template(load_template(config.chat))"
            )
        piece = functools.partial(tokenizer.encode, allowed_special=template.control_tokens)
        around = tokenizer.encode("", template=True)
        self.template = template
        self._text = tokenizer.encode
        self._first = around[: len(tokenizer.template.before)]
        with_input = template.begin if template.begin_with_input is None else template.begin_with_input
        self._begin = {False: piece(template.begin), True: piece(with_input)}
        self._system = tuple(piece(text) for text in template.system)
        self._user = tuple(piece(text) for text in template.user)
        self._joiner = piece(template.input_joiner)
        self.answer = piece(template.assistant[0])
        """Before an answer."""
        self.stop = tokenizer.special_tokens[template.stop]
        self.after_stop = piece(template.assistant[1].removeprefix(template.stop))

    def head(self, system: str, *, has_input: bool) -> list[int]:
        """What stands before the first turn."""
        ids = list(self._begin[has_input])
        if system:
            ids += [*self._system[0], *self._text(system), *self._system[1]]
        starts = ids[: len(self._first)] == self._first  # a template may say itself what all texts begin with
        return ids if starts else [*self._first, *ids]

    def turn(self, user: Message | None, answer: str | None, where: str) -> _Turn:
        """A turn as ids."""
        ids: list[int] = []
        if user is not None:
            ids += [*self._user[0], *self._text(user.content)]
            if user.input:
                ids += [*self._joiner, *self._text(user.input)]
            ids += self._user[1]
        trained = range(0)
        if answer is not None:
            ids += self.answer
            answered = self.answered(answer, where)
            trained = range(len(ids), len(ids) + len(answered))
            ids += [*answered, *self.after_stop]
        return _Turn(ids, trained, has_input=user is not None and bool(user.input))

    def answered(self, text: str, where: str) -> list[int]:
        """An answer and the stop token.

        Raises:
            TokenizerError: if it is empty.
        """
        if not text.strip():
            raise TokenizerError(f"{where} is empty, so that the model would learn to say nothing; leave it out")
        return [*self._text(text), self.stop]

    def rendered(
        self,
        system: str,
        turns: Sequence[_Turn],
        end: Sequence[int],
        *,
        train_on: Literal["all", "last", "none"],
        max_tokens: int | None,
    ) -> Rendered:
        """The newest turns that fit, after the system message and before `end`."""
        dropped, head = self._dropped(system, turns, end, max_tokens)
        ids, trained = list(head), [False] * len(head)
        for number, turn in enumerate(turns[dropped:], dropped):
            counts = train_on == "all" or (train_on == "last" and number == len(turns) - 1)
            ids += turn.ids
            trained += [counts and i in turn.trained for i in range(len(turn.ids))]
        ids += end
        trained += [False] * len(end)
        return Rendered(ids, trained, dropped, _has_untrained_stop(ids, trained, self.stop))

    def _dropped(
        self, system: str, turns: Sequence[_Turn], end: Sequence[int], max_tokens: int | None
    ) -> tuple[int, list[int]]:
        """How many turns are left out, and what stands before those that are not."""
        length = sum(len(turn.ids) for turn in turns) + len(end)
        total = 0
        for dropped, turn in enumerate(turns):
            head = self.head(system, has_input=turn.has_input)
            total = len(head) + length
            if max_tokens is None or total <= max_tokens:
                return dropped, head
            length -= len(turn.ids)
        what = "the system message and the last turn" if system else "the last turn"
        raise TooLongError(f"{what} have {total} tokens, more than {max_tokens}; shorten them, or allow more")


@functools.lru_cache(maxsize=4)
def _pieces(tokenizer: Tokenizer) -> _Pieces:
    return _Pieces(tokenizer)


def _read(messages: Sequence[Message], pieces: _Pieces) -> tuple[str, list[_Turn]]:
    """The system message, empty for none, and at least one turn.

    Raises:
        TokenizerError: if messages do not follow one another as they should, or one is empty.
    """
    system, start = pieces.template.default_system, 0
    if messages and messages[0].role == "system":
        system, start = messages[0].content, 1
    instructed = start == 1 and bool(system) and pieces.template.instruction_role == "system"
    turns: list[_Turn] = []
    user: Message | None = None
    for number, message in enumerate(messages[start:], start + 1):
        where = f"message {number} ({message.role})"
        if message.role == "user":
            if user is not None:
                raise TokenizerError(f"{where} follows another message of the user; expected an answer between them")
            if not (message.content.strip() or message.input):
                raise TokenizerError(f"{where} is empty; expected text")
            user = message
        elif message.role == "assistant":
            if user is None and (turns or not instructed):
                raise TokenizerError(f"{where} answers nothing; expected a message of the user before it")
            turns.append(pieces.turn(user, message.content, where))
            user = None
        else:
            raise TokenizerError(f"{where}: expected user or assistant, and system only as the first message")
    if user is not None or (instructed and not turns):
        turns.append(pieces.turn(user, None, ""))
    if not turns:
        raise TokenizerError("the conversation has no message of the user; expected one")
    return system, turns


def _has_untrained_stop(ids: Sequence[int], trained: Sequence[bool], stop: int) -> bool:
    ends = zip(ids, trained, [*trained[1:], False], strict=True)
    return any(counts and not goes_on and i != stop for i, counts, goes_on in ends)

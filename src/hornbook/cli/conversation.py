"""What was said in a conversation, and the part of it that a model reads: as one text, or in the form of its template.

When that outgrows the context, the oldest whole turns are left out of what the model reads; the system message stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hornbook.cli import from_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hornbook.config.generate import GenerateConfig
    from hornbook.generation.prompt_ids import Prompt
    from hornbook.generation.text import TextStream
    from hornbook.tokenizer.chat import Message
    from hornbook.tokenizer.tokenizer import Tokenizer

NO_TEMPLATE = "has no chat template, so its model knows no messages; tune it on conversations (docs/tuning.md)"
"""After the name of a checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A line and what the model answered."""

    said: str
    answer: str
    reason: str
    """`stop`, `length`, or `interrupted`."""


class Form(Protocol):
    """How turns become what a model reads."""

    def prompt(self, system: str, turns: Sequence[Turn], line: str, room: int) -> tuple[Prompt, int]:
        """What the model reads for `line`, in at most `room` tokens if it can be, and how many turns are left out."""
        ...

    def text(self, system: str, turns: Sequence[Turn]) -> str:
        """All turns, for people."""
        ...


class OneText:
    """Turns as they stand, one after another: a model that has learned no turns continues them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def prompt(self, system: str, turns: Sequence[Turn], line: str, room: int) -> tuple[Prompt, int]:
        """The text of the newest turns and the line."""
        first = 0
        while first < len(turns) and len(self._tokenizer.encode(self.text("", turns[first:]) + line)) > room:
            first += 1
        return self.text("", turns[first:]) + line, first

    def text(self, system: str, turns: Sequence[Turn]) -> str:
        """As the model reads them."""
        return "".join(f"{turn.said}{turn.answer}\n" for turn in turns)


class ByTemplate:
    """Turns as messages, in the form of the tokenizer's chat template."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def prompt(self, system: str, turns: Sequence[Turn], line: str, room: int) -> tuple[Prompt, int]:
        """Ids of the newest turns and the line; turns without an answer are no part of it."""
        from hornbook.tokenizer.chat import TooLongError, render_prompt

        try:
            rendered = render_prompt(self._tokenizer, self._spoken(system, turns, line), max_tokens=room)
        except TooLongError:  # the line may still fit the context, which the decoder knows
            return render_prompt(self._tokenizer, self._spoken(system, [], line)).ids, len(turns)
        answered = [number for number, turn in enumerate(turns, 1) if turn.answer.strip()]
        return rendered.ids, answered[rendered.dropped_turns - 1] if rendered.dropped_turns else 0

    def _spoken(self, system: str, turns: Sequence[Turn], line: str) -> list[Message]:
        """Where the system gives instructions and says nothing, the first line is the instruction."""
        from hornbook.tokenizer.chat import Message

        template = self._tokenizer.chat_template
        assert template is not None
        said = [*messages("", turns), Message("user", line)]
        if system or template.instruction_role == "user":
            return [Message("system", system), *said]
        return [said[0]._replace(role="system"), *said[1:]]

    def text(self, system: str, turns: Sequence[Turn]) -> str:
        """As the terminal shows them."""
        head = f"system: {system}\n\n" if system else ""
        return head + "\n\n".join(f"> {turn.said}\n{turn.answer}" for turn in turns) + "\n"


def messages(system: str, turns: Sequence[Turn]) -> list[Message]:
    """The conversation as data, without turns that have no answer."""
    from hornbook.tokenizer.chat import Message

    said = [Message("system", system)] if system else []
    for turn in turns:
        if turn.answer.strip():
            said += [Message("user", turn.said), Message("assistant", turn.answer)]
    return said


class Conversation:
    """The turns so far, and the part of them that the model can read.

    `answer(prompt, seed)` streams an answer; each turn has a seed of its own, so that a repeated line need not get the
    same one.
    """

    def __init__(
        self,
        form: Form,
        config: GenerateConfig,
        *,
        context_length: int,
        answer: Callable[[Prompt, int], TextStream],
        system: str | None = None,
    ) -> None:
        """`system` is None for a model that knows no system message."""
        self._form = form
        self._config = config
        self._context_length = context_length
        self._answer = answer
        self._first_read = 0
        self.has_system = system is not None
        self.system = system or ""
        self.turns: list[Turn] = []

    def prompt(self, line: str) -> Prompt:
        """What the model reads for `line`: it, after as many of the newest turns as leave room for an answer.

        Room is max_new_tokens, or half the context if that is less. A turn once left out does not come back.
        """
        return self._prompt(line)[0]

    def _prompt(self, line: str) -> tuple[Prompt, int]:
        room = self._context_length - min(self._config.max_new_tokens, self._context_length // 2) + 1
        return self._form.prompt(self.system, self.turns[self._first_read :], line, room)

    def _leave_out(self, turns: int) -> None:
        """So many more of the oldest turns are read no more; said once."""
        if turns and not self._first_read:
            from_checkpoint.note(
                "note: the conversation outgrew the context; its oldest turns are left out from here on"
            )
        self._first_read += turns

    def say(self, line: str, show: Callable[[str], None]) -> Turn:
        """Answer `line`, each piece given to `show` as it comes; Ctrl-C ends it, and what came is kept.

        Raises:
            GenerationError: if the line alone does not fit the context, or the model is broken.
            TokenizerError: if the tokenizer has no ids for it.
        """
        prompt, left_out = self._prompt(line)
        stream = self._answer(prompt, self._config.seed + len(self.turns))
        self._leave_out(left_out)  # only now: a line that cannot be read costs no turn
        interrupted = False
        try:
            for piece in stream:
                show(piece)
        except KeyboardInterrupt:
            interrupted = True
        result = stream.generation
        reason = "interrupted" if interrupted else result.finish_reason
        self.turns.append(Turn(said=line, answer=result.text, reason=reason))
        return self.turns[-1]

    def reset(self) -> None:
        """Forget the turns; the system message stays."""
        self.turns.clear()
        self._first_read = 0

    def save(self, path: Path) -> None:
        """Write all turns to a new file: for people, or as messages to tune on if its name ends in .json or .jsonl.

        Raises:
            OSError: if the file exists or cannot be written.
        """
        if path.suffix in (".json", ".jsonl"):
            said = messages(self.system, self.turns)
            record = {"messages": [{"role": message.role, "content": message.content} for message in said]}
            text = json.dumps(record if path.suffix == ".jsonl" else [record], ensure_ascii=False) + "\n"
        else:
            text = self._form.text(self.system, self.turns)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)

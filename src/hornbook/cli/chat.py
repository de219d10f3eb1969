"""`hornbook chat`: a conversation in the terminal, by plain continuation of what stands there so far.

The model has not learned turns: it continues the text of all turns and yours, so write what you want continued. When
the text outgrows the context, the oldest whole turns are left out of what the model reads. Lines may also be piped
in.
"""

from __future__ import annotations

import argparse
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hornbook.config.generate import GenerateConfig
    from hornbook.generation.text import TextStream
    from hornbook.tokenizer.tokenizer import Tokenizer

COMMANDS = """\
/help        this
/reset       forget the conversation
/save FILE   write the conversation to a new file
/quit        leave (Ctrl-D too); Ctrl-C stops an answer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook chat` takes."""
    from_checkpoint.add_checkpoint_arguments(parser)
    from_checkpoint.add_sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Talk until the input ends; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.generation.text import stream_text
    from hornbook.tracking.console import emit, speaks_to_people

    config = from_checkpoint.load_settings(args, "generate", ("checkpoint", "stop", *from_checkpoint.SAMPLING_FLAGS))
    if maybe_print(args, config):
        return 0
    opened = from_checkpoint.open_model(config.generate.checkpoint, table="generate", best=args.best, config=config)
    model, tokenizer = opened.model, opened.tokenizer
    conversation = Conversation(
        tokenizer,
        config.generate,
        context_length=_readable(opened, config.generate),
        answer=lambda prompt, seed: stream_text(
            model, tokenizer, prompt, config.generate, objective=opened.objective, seed=seed
        ),
    )
    for_people = speaks_to_people(config.tracking.console)
    if for_people:
        from_checkpoint.note(f"{opened.path}, {model.n_parameters:,} parameters; /help for commands")
    for line in read_lines():
        if line.startswith("/"):
            if not command(conversation, line):
                return 0
            continue
        turn = speak(conversation, line, show=for_people)
        if turn is not None:
            emit(
                "chat", console=config.tracking.console, prompt=turn.said, output=turn.answer, finish_reason=turn.reason
            )
    return 0


def _readable(opened: from_checkpoint.OpenedModel, config: GenerateConfig) -> int:
    """How many tokens a prompt and all but the last of an answer may have together.

    Raises:
        GenerationError: for a diffusion decoder, which reserves room for the longest answer, if that is too much.
    """
    from hornbook.errors import GenerationError
    from hornbook.generation.choice import decoder_name

    context = opened.model.config.context_length
    if decoder_name(config, opened.objective) == "autoregressive":
        return context
    if config.max_new_tokens > context // 2:
        raise GenerationError(
            f"generate.max_new_tokens = {config.max_new_tokens} leaves too little of the model's context_length = "
            f"{context} for a conversation, since a diffusion decoder lays out the whole answer; choose at most "
            f"{context // 2}"
        )
    return context - 1  # the last token of an answer is read as well


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A line and its continuation."""

    said: str
    answer: str
    reason: str
    """`stop`, `length`, or `interrupted`."""

    @property
    def text(self) -> str:
        """What stands in the conversation."""
        return f"{self.said}{self.answer}\n"


class Conversation:
    """The turns so far, and the part of them that the model can read.

    `answer(prompt, seed)` streams a continuation; each turn has a seed of its own, so that a repeated line need not
    get the same answer.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: GenerateConfig,
        *,
        context_length: int,
        answer: Callable[[str, int], TextStream],
    ) -> None:
        self._tokenizer = tokenizer
        self._config = config
        self._context_length = context_length
        self._answer = answer
        self._first_read = 0
        self.turns: list[Turn] = []

    def prompt(self, line: str) -> str:
        """What the model reads for `line`: it, after as many of the newest turns as leave room for an answer.

        Room is max_new_tokens, or half the context if that is less. A turn once left out does not come back.
        """
        return self._text_from(self._first_that_fits(line), line)

    def _first_that_fits(self, line: str) -> int:
        room = self._context_length - min(self._config.max_new_tokens, self._context_length // 2) + 1
        first = self._first_read
        while first < len(self.turns) and len(self._tokenizer.encode(self._text_from(first, line))) > room:
            first += 1
        return first

    def _text_from(self, first: int, line: str) -> str:
        return "".join([*(turn.text for turn in self.turns[first:]), line])

    def _leave_out(self, first: int) -> None:
        """Turns before `first` are read no more; said once."""
        if first and not self._first_read:
            from_checkpoint.note(
                "note: the conversation outgrew the context; its oldest turns are left out from here on"
            )
        self._first_read = first

    def say(self, line: str, show: Callable[[str], None]) -> Turn:
        """Answer `line`, each piece given to `show` as it comes; Ctrl-C ends it, and what came is kept.

        Raises:
            GenerationError: if the line alone does not fit the context, or the model is broken.
        """
        first = self._first_that_fits(line)
        stream = self._answer(self._text_from(first, line), self._config.seed + len(self.turns))
        self._leave_out(first)  # only now: a line that cannot be read costs no turn
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
        """Forget the turns."""
        self.turns.clear()
        self._first_read = 0

    def save(self, path: Path) -> None:
        """Write all turns to a new file.

        Raises:
            OSError: if the file exists or cannot be written.
        """
        with path.open("x", encoding="utf-8") as file:
            file.write("".join(turn.text for turn in self.turns))


def speak(conversation: Conversation, line: str, *, show: bool) -> Turn | None:
    """Say `line` and show the answer; None, with a note, if it could not be answered."""
    from hornbook.errors import GenerationError, TokenizerError
    from hornbook.tracking.figures import printable

    def print_piece(piece: str) -> None:
        if show:
            print(printable(piece), end="", flush=True)

    try:
        turn = conversation.say(line, print_piece)
    except (GenerationError, TokenizerError) as error:
        from_checkpoint.note(f"hornbook chat: {error}")
        return None
    if show:
        print()
    return turn


def command(conversation: Conversation, line: str) -> bool:
    """Carry out a line that begins with a slash; false when the conversation is over."""
    name, _, rest = line.strip().partition(" ")
    match name:
        case "/quit":
            return False
        case "/reset":
            conversation.reset()
        case "/save" if rest.strip():
            _save(conversation, Path(rest.strip()))
        case "/help":
            from_checkpoint.note(COMMANDS)
        case _:
            from_checkpoint.note(f"{line.strip()}: not a command; there are\n{COMMANDS}")
    return True


def _save(conversation: Conversation, path: Path) -> None:
    try:
        conversation.save(path)
    except OSError as error:
        from_checkpoint.note(f"{path}: not saved: {error.strerror}")
    else:
        from_checkpoint.note(f"saved {len(conversation.turns)} turns to {path}")


def read_lines() -> Iterator[str]:
    """Lines from the terminal, with a prompt, or from a pipe; without line breaks, empty ones left out."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # bytes that are no text are refused line by line, not here
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if is_terminal:
        import readline  # noqa: F401 - gives input() a history and editing keys
    while True:
        try:
            line = input("> ") if is_terminal else sys.stdin.readline()
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            if not is_terminal:
                raise
            print()
            continue
        if not line and not is_terminal:
            return
        if line.strip():
            yield line.removesuffix("\n")

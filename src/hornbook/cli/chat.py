"""`hornbook chat`: a conversation in the terminal.

A checkpoint that was tuned on conversations brings their chat template, and is spoken to in it. Any other has learned
no turns: it continues the text of all turns and yours, so write what you want continued. When that outgrows the
context, the oldest whole turns are left out of what the model reads. Lines may also be piped in.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.conversation import NO_TEMPLATE, ByTemplate, Conversation, OneText, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hornbook.config.generate import GenerateConfig

COMMANDS = """\
/help          this
/reset         forget the conversation
/system TEXT   what stands before all turns ("" for nothing); without TEXT, show it
/save FILE     write the conversation to a new file; .json and .jsonl as messages to tune on
/quit          leave (Ctrl-D too); Ctrl-C stops an answer"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook chat` takes."""
    from_checkpoint.add_checkpoint_arguments(parser)
    parser.add_argument("--system", metavar="TEXT", help="what stands before all turns, for a tuned checkpoint")
    from_checkpoint.add_sampling_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Talk until the input ends; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.tracking.console import emit, speaks_to_people

    config = from_checkpoint.load_settings(args, "generate", ("checkpoint", "stop", *from_checkpoint.SAMPLING_FLAGS))
    if maybe_print(args, config):
        return 0
    opened = from_checkpoint.open_model(config.generate.checkpoint, table="generate", best=args.best, config=config)
    conversation = begin(opened, _fitting(opened, config.generate), system=args.system)
    for_people = speaks_to_people(config.tracking.console)
    if for_people:
        how = "" if conversation.has_system else ", which continues text"
        from_checkpoint.note(f"{opened.path}, {opened.model.n_parameters:,} parameters{how}; /help for commands")
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


def _fitting(opened: from_checkpoint.OpenedModel, config: GenerateConfig) -> GenerateConfig:
    """The settings, with answers of at most half of the context where nothing says how long they may be."""
    half = opened.model.config.context_length // 2
    is_default = config.max_new_tokens == type(config).model_fields["max_new_tokens"].default
    return config.model_copy(update={"max_new_tokens": half}) if is_default and config.max_new_tokens > half else config


def begin(opened: from_checkpoint.OpenedModel, config: GenerateConfig, *, system: str | None) -> Conversation:
    """A conversation with that model, in the form that it was trained in.

    Raises:
        GenerationError: for a system message to a model that knows none, or settings that leave no room to talk.
    """
    from hornbook import api
    from hornbook.errors import GenerationError
    from hornbook.generation.engines import Engines
    from hornbook.generation.text import stream_text

    engines = Engines(from_checkpoint.note)  # kept: the next turn begins with this one, which is not read again
    model, tokenizer = opened.model, opened.tokenizer
    draft = api.load_draft(config.draft.checkpoint, tokenizer, device=str(model.token_embedding.weight.device))
    template = tokenizer.chat_template
    if template is None and system is not None:
        raise GenerationError(f"--system: {opened.path} {NO_TEMPLATE}")
    if template is not None and system is None:
        system = template.default_system
    return Conversation(
        OneText(tokenizer) if template is None else ByTemplate(tokenizer),
        config,
        context_length=_readable(opened, config),
        answer=lambda prompt, seed: stream_text(
            model, tokenizer, prompt, config, objective=opened.objective, seed=seed, draft=draft, engines=engines
        ),
        system=system,
    )


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
        case "/system":
            _system(conversation, rest.strip())
        case "/save" if rest.strip():
            _save(conversation, Path(rest.strip()))
        case "/help":
            from_checkpoint.note(COMMANDS)
        case _:
            from_checkpoint.note(f"{line.strip()}: not a command; there are\n{COMMANDS}")
    return True


def _system(conversation: Conversation, text: str) -> None:
    if not conversation.has_system:
        from_checkpoint.note(f"/system: this checkpoint {NO_TEMPLATE}")
    elif text:
        conversation.system = "" if text in ('""', "''") else text
    else:
        from_checkpoint.note(f"system: {conversation.system}" if conversation.system else "no system message")


def _save(conversation: Conversation, path: Path) -> None:
    if not any(turn.answer.strip() for turn in conversation.turns):
        from_checkpoint.note(f"{path}: not saved: the conversation has no answer yet")
        return
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

"""Where the prompts of `hornbook generate` come from: flags, a file, stdin, or a document of a prepared data set."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.configuration import positive

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hornbook.cli.from_checkpoint import OpenedModel
    from hornbook.config.run import Config
    from hornbook.generation.prompt_ids import Prompt

PROMPT_TOKENS = 256
"""Of a document, by default; of a shorter one its first half."""


def add_prompt_arguments(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Declare them; one of them may be given, or one that the caller adds."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--prompt", dest="prompts", action="append", metavar="TEXT", help="may be repeated")
    source.add_argument(
        "--prompt-file", metavar="FILE", help="the whole file is one prompt; without any prompt, stdin is, when piped"
    )
    source.add_argument(
        "--prompt-from",
        type=_document,
        metavar="DATASET:DOCUMENT",
        help="the beginning of a document, from 0, of a prepared data set: of its validation split, if it has one",
    )
    parser.add_argument(
        "--prompt-tokens",
        type=positive,
        metavar="N",
        help=f"of --prompt-from; default: {PROMPT_TOKENS}, or half of a shorter document",
    )
    return source


def _document(text: str) -> tuple[Path, int]:
    path, colon, number = text.rpartition(":")
    if not (colon and path and number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected DATASET:DOCUMENT, such as data/example:12")
    return Path(path), int(number)


@dataclass(frozen=True, kw_only=True)
class DocumentPrompt:
    """The beginning of a document, and how it goes on."""

    ids: list[int]
    rest: list[int]


def document_prompt(args: argparse.Namespace, opened: OpenedModel) -> DocumentPrompt:
    """What --prompt-from names.

    Raises:
        DataError: if there is no such data set or document, it was made with another tokenizer, or is too short.
    """
    from hornbook.data.dataset import Dataset
    from hornbook.errors import DataError

    path, number = args.prompt_from
    dataset = Dataset.open(path)
    dataset.check_tokenizer(opened.tokenizer)
    stream = dataset.split("valid" if "valid" in dataset.splits else "train")
    where = f"--prompt-from {path}:{number}"
    if number >= stream.n_documents:
        raise DataError(
            f"{where}: the split {stream.name} has {stream.n_documents} documents; choose 0 to {stream.n_documents - 1}"
        )
    ids = stream.document(number).tolist()
    wanted = args.prompt_tokens or min(PROMPT_TOKENS, max(1, len(ids) // 2))
    if wanted > len(ids):
        raise DataError(f"{where}: the document has {len(ids)} tokens, fewer than --prompt-tokens {wanted}")
    return DocumentPrompt(ids=ids[:wanted], rest=ids[wanted:])


def written_prompts(args: argparse.Namespace, config: Config) -> list[str]:
    """--prompt-file, else the prompts of flags or file, else stdin when it is piped, else the empty prompt.

    One final line break of a file or of stdin is dropped: editors and echo add it, and to a model it means something.
    """
    if args.prompt_file is not None:
        return [_without_final_break(_decoded(Path(args.prompt_file).read_bytes(), args.prompt_file))]
    if config.generate.prompts:
        return list(config.generate.prompts)
    if not sys.stdin.isatty():
        return [_without_final_break(_decoded(sys.stdin.buffer.read(), "stdin"))]
    return [""]


def as_messages(opened: OpenedModel, prompts: Sequence[Prompt]) -> list[Prompt]:
    """What the model reads for each prompt as the only message of a conversation.

    Raises:
        GenerationError: if the checkpoint has no chat template, or a prompt is empty.
        TokenizerError: if the tokenizer has no ids for one.
    """
    from hornbook.cli.conversation import NO_TEMPLATE, ByTemplate
    from hornbook.errors import GenerationError

    template = opened.tokenizer.chat_template
    if template is None:
        raise GenerationError(f"--chat: {opened.path} {NO_TEMPLATE}")
    if not all(str(prompt).strip() for prompt in prompts):
        raise GenerationError('--chat: an empty message cannot be answered; say something: --prompt "..."')
    form, room = ByTemplate(opened.tokenizer), opened.model.config.context_length
    return [form.prompt(template.default_system, [], str(prompt), room)[0] for prompt in prompts]


def _decoded(data: bytes, where: str) -> str:
    from hornbook.errors import GenerationError

    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise GenerationError(f"{where}: not UTF-8 (byte {error.start}); save the prompt as UTF-8") from None


def _without_final_break(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")

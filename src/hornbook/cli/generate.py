"""`hornbook generate`: continue one or many prompts, or fill the holes of a text.

On a terminal the text is streamed as it is made. Whenever stdout is not a terminal, or with --json, it carries one JSON
object a text and nothing else.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hornbook.cli import from_checkpoint
from hornbook.cli.configuration import positive
from hornbook.cli.denoising import check_denoising
from hornbook.cli.generate_compare import add_comparison_arguments, check_comparison_arguments, compare
from hornbook.cli.generate_prompts import add_prompt_arguments, as_messages, document_prompt, written_prompts
from hornbook.cli.generate_search import add_search_arguments, check_search_arguments, search_settings
from hornbook.cli.generate_texts import Texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hornbook.config.run import Config
    from hornbook.generation.prompt_ids import Prompt

ROWS_AT_ONCE = 16
"""Texts that are decoded together; memory for the KV cache grows with it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook generate` takes."""
    from_checkpoint.add_checkpoint_arguments(parser)
    source = add_prompt_arguments(parser)
    source.add_argument(
        "--infill",
        action="append",
        metavar="TEXT",
        help='fill the holes of a text: "Once <|mask:20|> end" has one of 20 tokens; diffusion models; may be repeated',
    )
    from_checkpoint.add_sampling_arguments(parser)
    parser.add_argument(
        "--chat", action="store_true", help="each prompt is a message to a tuned checkpoint; shows the answers alone"
    )
    parser.add_argument(
        "--num-samples", type=positive, default=1, metavar="N", help="texts a prompt, of seeds S, S+1, ..."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a text, on a terminal too")
    parser.add_argument("--no-stream", action="store_true", help="show each text when it is complete")
    parser.add_argument(
        "--show-denoising",
        action="store_true",
        help="diffusion models: show how masks become text; in JSON, every step's positions, tokens and confidences",
    )
    parser.add_argument(
        "--compare-cache",
        action="store_true",
        help="diffusion models: decode without the cache as well, and tell how much it changes and gains",
    )
    add_search_arguments(parser)
    add_comparison_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Generate; the exit status is 0."""
    from hornbook.cli.configuration import maybe_print

    names = ("checkpoint", "prompts", "stop", *from_checkpoint.SAMPLING_FLAGS)
    config = from_checkpoint.load_settings(args, "generate", names, search_settings(args))
    if maybe_print(args, config):
        return 0
    _check_arguments(args, config)
    from hornbook.generation.infill import check_infills
    from hornbook.generation.text import check_requests

    written = [] if args.prompt_from else args.infill or written_prompts(args, config)
    opened = from_checkpoint.open_model(config.generate.checkpoint, table="generate", best=args.best, config=config)
    check_denoising(args, config, opened)
    document = document_prompt(args, opened) if args.prompt_from else None
    prompts: Sequence[Prompt] = written if document is None else [document.ids]
    if args.chat:
        prompts = as_messages(opened, prompts)
    if args.compare:
        return compare(args, config, opened, prompts, rest=[] if document is None else document.rest)
    model, tokenizer, objective = opened.model, opened.tokenizer, opened.objective
    draft = from_checkpoint.open_draft(config, opened)
    if args.infill:  # all of them, before the first takes its time
        check_infills(model, tokenizer, args.infill, config.generate, objective=objective)
    else:
        check_requests(model, tokenizer, prompts, config.generate, objective=objective, draft=draft)
    texts = Texts(
        opened,
        config,
        draft,
        as_json=args.json,
        infills=bool(args.infill),
        shows=args.show_denoising,
        repeats=not (args.infill or args.chat),
    )
    requests = [(prompt, config.generate.seed + n) for prompt in prompts for n in range(args.num_samples)]
    try:
        if args.compare_cache:
            texts.compare(requests)
        elif config.generate.strategy == "beam":
            texts.search(prompts, n_best=args.n_best or 1)
        elif texts.for_people and not (args.no_stream or args.infill or args.show_denoising):
            texts.stream(requests)
        else:
            texts.complete(requests, at_once=1 if args.show_denoising else ROWS_AT_ONCE)
    finally:
        texts.close()
    return 0


def _check_arguments(args: argparse.Namespace, config: Config) -> None:
    """Refuse arguments that have no effect together.

    Raises:
        ConfigError: naming them.
    """
    from hornbook.errors import ConfigError

    if args.chat and args.infill:
        raise ConfigError("--chat makes messages of prompts, and --infill has none; leave one of them out")
    if args.chat and args.prompt_from:
        raise ConfigError("--chat makes messages of prompts, and --prompt-from is no message; leave one of them out")
    if args.prompt_tokens is not None and not args.prompt_from:
        raise ConfigError("--prompt-tokens has no effect without --prompt-from DATASET:DOCUMENT")
    check_search_arguments(args, config)
    check_comparison_arguments(args)

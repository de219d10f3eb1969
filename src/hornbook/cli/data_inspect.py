"""`hornbook data inspect`: tokens as they lie in a data set, or rows as training reads them, with every label."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import data_mixture, data_view
from hornbook.cli.configuration import add_print_argument, add_set_argument, not_negative, positive
from hornbook.cli.tokenizer_arguments import html_file

if TYPE_CHECKING:
    from hornbook.config.run import Config
    from hornbook.data.dataset import Dataset

HTML_TOKENS = 50_000
"""Tokens in an HTML file: some 5 MB, which a browser still shows at once."""
STAGES = ("sft", "dpo", "diffusion", "pretrain")


def add_action(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `inspect`."""
    text = "the rows that training reads, with what each token counts in the loss; windows and documents of a data set"
    inspect = actions.add_parser(
        "inspect",
        help=text,
        description=f"{text}. Of a mixture, without --sample, what each data set gives to the run.",
    )
    inspect.add_argument(
        "place", type=Path, metavar="DATASET|CONFIG", help="the directory of a data set, or a TOML file that names it"
    )
    add_set_argument(inspect)
    add_print_argument(inspect)
    inspect.add_argument(
        "--stage",
        choices=STAGES,
        help="which labels: of tuning, of masks, or of text; default: what data and objective are",
    )
    inspect.add_argument("--split", choices=("train", "valid", "test"), default="train", help="default: train")
    what = inspect.add_mutually_exclusive_group()
    what.add_argument("--window", type=int, metavar="N", help="as they lie in the split, from 0; default: 0")
    what.add_argument(
        "--sample",
        type=not_negative,
        metavar="N",
        help="the window, row or pair that training with CONFIG reads as its N-th, from 0",
    )
    what.add_argument("--document", type=int, metavar="N", help="from 0")
    what.add_argument("--step", type=positive, metavar="N", help="the rows of this step, with its noise; default: 1")
    inspect.add_argument(
        "--length",
        type=positive,
        metavar="TOKENS",
        help="of a window or row; default: model.context_length, or of a data set 256 or its longest conversation",
    )
    inspect.add_argument(
        "--html", type=html_file, metavar="OUT.html", help="write the rows of the step, with their labels, as one file"
    )


def run(args: argparse.Namespace) -> None:
    """Carry it out."""
    from hornbook.cli.configuration import maybe_print
    from hornbook.errors import ConfigError

    is_dataset = args.place.is_dir()
    if args.print_config is not None:
        if is_dataset:
            raise ConfigError(f"{args.place}: a data set, which has no configuration; name a TOML file to print it")
        maybe_print(args, _config(args))
        return
    if args.window is None and args.document is None:
        from hornbook.cli import labels

        if labels.inspect(args, None if is_dataset else _config(args)):
            return
    elif args.html is not None or args.stage is not None:
        raise ConfigError(
            "--window and --document show tokens as they lie; --stage and --html go with --sample or --step"
        )
    _show_tokens(args)


def _config(args: argparse.Namespace) -> Config:
    from hornbook.config.load import load_config

    return load_config(args.place, args.overrides).config


def _open(args: argparse.Namespace) -> Dataset:
    from hornbook.data.dataset import Dataset

    return Dataset.open(args.place if args.place.is_dir() else _config(args).data.path)


def _show_tokens(args: argparse.Namespace) -> None:
    """Windows and documents as they lie."""
    from hornbook.data.windows import Windows
    from hornbook.errors import DataError

    if not args.place.is_dir() and (args.sample is not None or _config(args).data.mixture):
        data_mixture.inspect(args, _config(args))
        return
    if args.sample is not None:
        raise DataError(
            f"--sample: which window is read when depends on the training; name a TOML file, not {args.place}"
        )
    dataset = _open(args)
    stream = dataset.split(args.split)
    try:
        if args.document is not None:
            data_view.show_document(dataset, stream, args.document)
            return
        is_dataset = args.place.is_dir()
        length = args.length or (256 if is_dataset else _config(args).model.context_length)
        stride = None if is_dataset else _config(args).data.stride
        windows = Windows(stream, context_length=length, stride=stride or length, lookahead=0)
        data_view.show_window(dataset, windows, args.window or 0)
    except IndexError as error:
        raise DataError(str(error)) from None

"""`hornbook tokenizer inspect`: what a tokenizer is, what it makes of a text, and the documents of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli import tokenizer_view
from hornbook.cli.configuration import positive
from hornbook.cli.tokenizer_arguments import (
    add_special,
    add_texts,
    add_tokenizer,
    html_file,
    ids_of,
    load_tokenizer,
    texts,
)

if TYPE_CHECKING:
    import numpy as np

    from hornbook.cli.token_documents import GivenTexts, StoredDocuments
    from hornbook.tokenizer.tokenizer import Tokenizer

HTML_TOKENS = 50_000
"""Tokens in an HTML file by default: some 3 MB, which a browser still shows at once."""


def add_actions(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `inspect`."""
    text = "the tokens of a text, or of the documents of a data set; without either, the tokenizer itself"
    inspect = actions.add_parser("inspect", help=text, description=text)
    add_tokenizer(inspect)
    add_texts(inspect)
    add_special(inspect)
    inspect.add_argument("--data", type=Path, metavar="DIR", help="text and tokens of a prepared data set")
    inspect.add_argument("--split", choices=("train", "valid", "test"), help="of the data set; default: train")
    inspect.add_argument("--document", type=_from_zero, metavar="N", help="of the data set, from 0: begin there")
    inspect.add_argument("--bytes", action="store_true", help="on a terminal, the bytes of each token below its id")
    inspect.add_argument("--html", type=html_file, metavar="OUT.html", help="write one HTML file instead")
    inspect.add_argument(
        "--max-tokens", type=positive, metavar="N", help=f"in the HTML file, at most; default: {HTML_TOKENS:,}"
    )
    inspect.set_defaults(carry_out=_inspect)


def _from_zero(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, counted from 0")
    return int(text)


def _inspect(args: argparse.Namespace) -> None:
    from hornbook.errors import TokenizerError

    if args.max_tokens is not None and args.html is None:
        raise TokenizerError("--max-tokens means nothing without --html OUT.html")
    tokenizer = load_tokenizer(args.tokenizer)
    documents = _stored(args, tokenizer) if args.data is not None else _given(args, tokenizer)
    if args.html is not None:
        from hornbook.cli.inspect_page import write_page

        write_page(args.html, tokenizer, args.tokenizer, documents, args.document or 0, args.max_tokens or HTML_TOKENS)
    elif not len(documents):
        tokenizer_view.show_tokenizer(tokenizer, args.tokenizer)
    else:
        tokenizer_view.show_documents(documents, tokenizer, one=args.document, with_bytes=args.bytes)


def _given(args: argparse.Namespace, tokenizer: Tokenizer) -> GivenTexts:
    from hornbook.cli.token_documents import GivenTexts
    from hornbook.errors import TokenizerError

    for option in ("split", "document"):
        if getattr(args, option) is not None:
            raise TokenizerError(f"--{option} means nothing without --data DIR")
    filled = ((where, data) for where, data in texts(args) if data)
    return GivenTexts([(where, _ids(tokenizer, data, where, args.special), len(data)) for where, data in filled])


def _ids(tokenizer: Tokenizer, data: bytes, where: str, special: list[str]) -> np.ndarray:
    """Ids of a text of any size as an array."""
    import numpy as np

    from hornbook.tokenizer.documents import decode_utf8

    if special:
        return np.array(ids_of(tokenizer, data, where, special), dtype=np.uint32)
    decode_utf8(data, where)  # raises the error that names the file
    return tokenizer.encode_batch([data])[0]


def _stored(args: argparse.Namespace, tokenizer: Tokenizer) -> StoredDocuments:
    from hornbook.cli.token_documents import StoredDocuments
    from hornbook.data.dataset import Dataset
    from hornbook.errors import DataError

    if args.files or args.texts or args.special:
        raise DataError("--data shows the documents of a data set; leave out FILE, --text and --special")
    documents = StoredDocuments(Dataset.open(args.data), args.split or "train", tokenizer)
    if args.document is not None and args.document >= len(documents):
        raise DataError(f"{args.data}: document {args.document} is outside 0..{len(documents) - 1}")
    return documents

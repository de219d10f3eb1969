"""`hornbook bench data` and `bench checkpoint`: what training reads from a disk and writes to it."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hornbook.cli.bench_decode import names_of
from hornbook.errors import HornbookError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from hornbook.benchmarks.harness import Case


def add_data(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare what `hornbook bench data` takes, but for what every measurement takes."""
    text = "the loader of training, with plain numpy, torch's DataLoader and datasets"
    parser = actions.add_parser("data", help=text, description=text)
    parser.add_argument("--context", metavar="N,N", help="tokens of a window (default 64,256,1024)")
    _add_place(parser)
    return parser


def add_checkpoint(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Declare what `hornbook bench checkpoint` takes, but for what every measurement takes."""
    text = "saving and loading a full checkpoint, with torch and safetensors"
    parser = actions.add_parser("checkpoint", help=text, description=text)
    parser.add_argument("--size", metavar="N,N", help="25M, 124M or both (default 25M; 124M needs 8 GB of disk)")
    parser.add_argument("--only", metavar="WORK,WORK", help="save, load (default both)")
    _add_place(parser)
    return parser


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="a tiny shape: whether everything runs")
    text = "write below it, to measure its disk (default: the user's cache, which HORNBOOK_CACHE moves)"
    parser.add_argument("--folder", type=Path, metavar="DIR", help=text)


def run(args: argparse.Namespace, measure: Callable[[argparse.Namespace, Iterable[Case]], int]) -> int:
    """Let `measure` carry out the cases, in a folder that is removed afterwards; its status."""
    with tempfile.TemporaryDirectory(dir=_folder(args.folder)) as directory:
        print(f"files below {Path(directory).parent}", file=sys.stderr, flush=True)
        cases = _loading if args.action == "data" else _saving
        return measure(args, cases(args, Path(directory)))


def _folder(given: Path | None) -> Path:
    from hornbook.storage.user_cache import user_cache

    if given is not None and not given.is_dir():
        raise HornbookError(f"--folder {given}: there is no such folder; make it first")
    folder = given or user_cache() / "benchmarks"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HornbookError(f"{folder}: cannot be made ({error.strerror}); name another with --folder DIR") from error
    return folder


def _loading(args: argparse.Namespace, directory: Path) -> Iterable[Case]:
    from hornbook.benchmarks.loading import QUICK, SHAPES, loading_cases
    from hornbook.benchmarks.peers import peer_python

    if args.quick and args.context:
        raise HornbookError("bench data: --context has no effect with --quick; leave one of them out")
    chosen = names_of("--context", args.context, tuple(SHAPES))
    if peer_python("datasets") is None:
        print("not installed, so left out: datasets; pip install 'hornbook[hf]'", file=sys.stderr, flush=True)
    shapes = {"quick": QUICK} if args.quick else {name: SHAPES[name] for name in chosen}
    return loading_cases(shapes, directory)


def _saving(args: argparse.Namespace, directory: Path) -> Iterable[Case]:
    from hornbook.benchmarks.saving import QUICK, SHAPES, WORKS, saving_cases

    if args.quick and args.size:
        raise HornbookError("bench checkpoint: --size has no effect with --quick; leave one of them out")
    sizes = names_of("--size", args.size or "25M", tuple(SHAPES))
    works = names_of("--only", args.only, WORKS)
    shapes = {"quick": QUICK} if args.quick else {name: SHAPES[name] for name in sizes}
    return saving_cases(shapes, directory, works=[work for work in WORKS if work in works])

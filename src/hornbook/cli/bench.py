"""`hornbook bench ACTION`: ratios against other libraries, measured side by side on this machine."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hornbook.cli import bench_decode, bench_perplexity, bench_storage
from hornbook.cli.bench_speedrun import add_speedrun
from hornbook.cli.bench_speedrun import run as run_speedrun
from hornbook.cli.configuration import positive
from hornbook.errors import HornbookError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hornbook.benchmarks.comparison import Row
    from hornbook.benchmarks.harness import Case
    from hornbook.benchmarks.tokenizer_sides import Bench

GROUPS = ("train", "encode", "decode", "memory", "limits", "small")
EXIT_WRONG = 1
EXIT_TERMINATED = 143  # what a shell shows for a program that SIGTERM ended


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `hornbook bench` takes."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    text = "training, encoding and decoding with the fast libraries of the day"
    tokenizer = actions.add_parser("tokenizer", help=text, description=text)
    _add_tokenizer(tokenizer)
    _add_measuring(tokenizer)
    _add_train(actions)
    text = "greedy decoding with transformers and llama.cpp; with --diffusion, filling masks"
    decode = actions.add_parser("decode", help=text, description=text)
    bench_decode.add_decode_arguments(decode)
    _add_measuring(decode)
    _add_measuring(bench_storage.add_data(actions))
    _add_measuring(bench_storage.add_checkpoint(actions))
    add_speedrun(actions)
    text = "install the libraries to compare with, each into an environment of its own below .bench/peers"
    peers = actions.add_parser("peers", help=text, description=text)
    peers.add_argument("names", nargs="*", metavar="NAME", help="default: all of them")


def _add_train(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "training steps, with transformers, litgpt and nanoGPT"
    train = actions.add_parser("train", help=text, description=text)
    train.add_argument("--shape", metavar="X,X", help="only these shapes (default a,b,c,d; with --strategies c)")
    train.add_argument(
        "--strategies",
        action="store_true",
        help="instead: two processes of one thread each that train together, ours with torch's DDP",
    )
    train.add_argument("--nanogpt", type=Path, metavar="DIR", help="a checkout of nanoGPT, to compare with it too")
    train.add_argument("--quick", action="store_true", help="a tiny shape: whether everything runs, and no floors")
    _add_measuring(train)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", type=positive, default=7, help="turns of each side (default 7)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write everything measured to PATH")


def _add_tokenizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="10 MB instead of 110 MB: minutes, and no floors")
    parser.add_argument("--threads", default="1,2", metavar="N,N", help="numbers of threads (default 1,2)")
    parser.add_argument("--only", action="append", choices=GROUPS, help="only this group; may be repeated")
    parser.add_argument("--peers", metavar="NAME,NAME", help="only these libraries; `none` for ours alone")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text", type=Path, metavar="FILE", help="your own text instead of what lies on the machine")
    text.add_argument("--corpus", type=Path, metavar="PATH", help="a file, or a folder whose text files are taken")
    parser.add_argument("--new-corpus", action="store_true", help="gather the text again, since more was installed")
    parser.add_argument("--gpt2", type=Path, metavar="DIR", help="folder with GPT-2's vocab.json and merges.txt")
    parser.add_argument("--cl100k", type=Path, metavar="FILE", help="cl100k_base.tiktoken")


def run(args: argparse.Namespace) -> int:
    """Carry out the action; 1 if a side computed something else than ours, or ours failed."""
    json_file: Path | None = getattr(args, "json", None)
    if json_file and not json_file.absolute().parent.is_dir():  # told now, not when all is measured
        raise HornbookError(f"--json {json_file}: there is no folder {json_file.parent}; make it first")
    if json_file and json_file.is_dir():
        raise HornbookError(f"--json {json_file}: this is a folder; name a file in it")
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))  # files of a gigabyte are deleted
    try:
        match args.action:
            case "peers":
                return _install(args.names)
            case "tokenizer":
                return _bench_tokenizer(args)
            case "speedrun":
                return run_speedrun(args)
            case "train":
                return _bench_train(args)
            case "data" | "checkpoint":
                return bench_storage.run(args, _measure)
            case _:
                return bench_decode.run(args, _measure)
    finally:
        signal.signal(signal.SIGTERM, before)


def _bench_train(args: argparse.Namespace) -> int:
    import torch

    from hornbook.benchmarks.peers import peer_python
    from hornbook.benchmarks.training import QUICK, SHAPES, train_cases

    names = (args.shape or ("c" if args.strategies else "a,b,c,d")).split(",")
    if unknown := sorted(set(names) - set(SHAPES)):
        raise HornbookError(f"--shape {args.shape}: no shape is called {', '.join(unknown)}; there are a, b, c, d")
    if args.nanogpt and not (args.nanogpt / "model.py").is_file():
        raise HornbookError(f"--nanogpt {args.nanogpt}: no model.py there; expected a checkout of nanoGPT")
    if args.quick and args.shape:
        raise HornbookError("--shape has no effect with --quick, which has a shape of its own; leave one of them out")
    shapes = {"quick": QUICK} if args.quick else {name: SHAPES[name] for name in names}
    if args.strategies:
        from hornbook.benchmarks.strategies import strategy_cases

        if args.nanogpt:
            raise HornbookError("--nanogpt has no effect with --strategies; leave one of them out")
        return _measure(args, strategy_cases(shapes))
    if peer_python("litgpt") is None:
        _say("not installed, so left out: litgpt; to have it: hornbook bench peers litgpt")
    with tempfile.TemporaryDirectory() as directory:
        on_gpu = torch.cuda.is_available()
        return _measure(args, train_cases(shapes, Path(directory), nanogpt=args.nanogpt, on_gpu=on_gpu))


def _install(names: list[str]) -> int:
    from hornbook.benchmarks.peers import install, pins

    unknown = sorted(set(names) - set(pins()))
    if unknown:
        raise HornbookError(f"bench peers: no peer is called {', '.join(unknown)}; there are {', '.join(pins())}")
    install(names or list(pins()), _say)
    return 0


def _bench_tokenizer(args: argparse.Namespace) -> int:
    from hornbook.benchmarks.tokenizer import GROUPS as MAKERS
    from hornbook.storage.user_cache import user_cache

    scratch = user_cache() / "benchmarks"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        bench = _tokenizer_bench(args, Path(directory))
        _compile(bench)
        return _measure(
            args, (case for name in MAKERS if name in (args.only or GROUPS) for case in MAKERS[name](bench))
        )


def _tokenizer_bench(args: argparse.Namespace, directory: Path) -> Bench:
    from hornbook.benchmarks import corpus, vocabularies
    from hornbook.benchmarks.tokenizer_sides import Bench

    threads, peers = _threads(args.threads), _peers(args.peers)
    wanted = corpus.QUICK_BYTES if args.quick else corpus.FULL_BYTES
    if own := args.text or args.corpus:
        corpora = [corpus.corpus_of(own, directory, wanted)]
    else:
        corpora = []
        for name in corpus.NAMES:
            try:
                made = corpus.make_corpus(name, corpus.FULL_BYTES, again=args.new_corpus)
                corpora.append(corpus.sample_of(made, wanted, directory))
            except HornbookError as error:
                _say(str(error))
    for one in corpora:
        _say(f"{one.name}: {one.n_bytes / 1e6:.1f} MB, {one.path}")
    found = (vocabularies.gpt2(args.gpt2, directory), vocabularies.cl100k(args.cl100k, directory))
    for name, vocabulary in zip(("--gpt2 DIR", "--cl100k FILE"), found, strict=True):
        if vocabulary is None:
            _say(f"a vocabulary is missing, and what needs it is left out; name it with {name}")
    return Bench(
        directory=directory,
        corpora=corpora,
        sample=corpus.sample_of(corpora[0], corpus.QUICK_BYTES, directory),
        vocabularies=[vocabulary for vocabulary in found if vocabulary],
        threads=threads,
        peers=peers,
        repeated_bytes=100_000_000 if args.quick else 1_000_000_000,
    )


def _threads(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = [0]
    if min(counts) < 1:
        raise HornbookError(f"--threads {text}: expected positive numbers with commas between them, such as 1,2")
    return counts


def _peers(wanted: str | None) -> dict[str, str]:
    """The interpreters of the peers that are asked for and there; which are missing is said."""
    from hornbook.benchmarks.peers import peer_python
    from hornbook.benchmarks.tokenizer_sides import PEERS

    names = PEERS if wanted is None else () if wanted == "none" else tuple(wanted.split(","))
    unknown = sorted(set(names) - set(PEERS))
    if unknown:
        raise HornbookError(f"--peers {wanted}: no peer is called {', '.join(unknown)}; there are {', '.join(PEERS)}")
    found = {name: peer_python(name) for name in names}
    if missing := [name for name, python in found.items() if python is None]:
        _say(f"not installed, so left out: {', '.join(missing)}; to have them: hornbook bench peers")
    return {name: python for name, python in found.items() if python}


def _compile(bench: Bench) -> None:
    """Compile what is not compiled yet in a process of its own, before anything is timed."""
    from hornbook.benchmarks.side import Side, SideProcess

    with SideProcess(Side(name="hornbook", file="hornbook_kernels.py", settings={})) as process:
        process.set_up()
        process.block()
        for problem in process.checks["problems"]:
            _say(f"ours runs in pure Python: {problem}")


def _measure(args: argparse.Namespace, cases: Iterable[Case]) -> int:
    """Run the cases, showing each as soon as it is done, and write the file."""
    from hornbook.benchmarks.comparison import failed, rows_of
    from hornbook.benchmarks.harness import run_case
    from hornbook.benchmarks.report import machine, table, write_results
    from hornbook.tracking.console import emit

    about, rows, wrong = machine(), [], False
    start = time.monotonic()
    summary = {"perplexity": _perplexities(args)} if getattr(args, "perplexity", None) else {}
    for case in cases:
        _say(f"{case.name}: {', '.join(side.name for side in case.sides)}")
        of_case: list[Row] = rows_of(case, run_case(case, blocks=args.blocks, say=lambda text: _say(f"  {text}")))
        rows += of_case
        wrong |= failed(of_case)
        for line in table(of_case):
            _show(line)
        for row in of_case:
            emit("bench", **row.as_json())
    sure = min((row.ratio.coverage for row in rows if row.ratio), default=None)
    how = f"{int(1000 * sure) / 10:g} % by order statistics" if sure is not None else "of which there is none"
    _say(f"{time.monotonic() - start:.0f} s in all; ratios are medians of paired blocks, {how}")
    if args.json:
        write_results(args.json, args.action, about, [row.as_json() for row in rows], summary)
    return EXIT_WRONG if wrong else 0


def _perplexities(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Of the trained model that was named, in each precision that was timed."""
    from hornbook.tracking.console import emit

    found = []
    for summary in bench_perplexity.summaries(args, bench_decode.precisions_of(args)):
        found.append(summary)
        _show(bench_perplexity.words(summary))
        emit("bench_perplexity", **summary)
    return found


def _show(line: str) -> None:
    """A line of a table: on stdout for people, else beside it."""
    from hornbook.tracking.console import speaks_to_people

    print(line, file=sys.stdout if speaks_to_people() else sys.stderr)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

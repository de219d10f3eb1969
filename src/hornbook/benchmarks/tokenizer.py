"""What `hornbook bench tokenizer` compares: training, encoding and decoding with the fast libraries of the day.

cold        the first pass of a fresh process over the text: vocabulary and compiled code are loaded, no word is known
warm        the second pass of the same process
in process  a call in a standing process: for ours and gigabpe one that an uncounted call went before; for tokenizers
            and rustbpe, which compile and keep nothing, every call
fresh       from starting a process to the trained vocabulary, imports included

From file to file: each side reads the text from disk (from memory, that is: it was just read) and leaves a file of ids
there; <|endoftext|> becomes its id. Those ids, and merges, are compared within the same run.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.benchmarks.corpus import Corpus, repeated
from hornbook.benchmarks.harness import Bar, Case, Side
from hornbook.benchmarks.vocabularies import Vocabulary
from hornbook.config.tokenizer import SPECIAL_TOKENS
from hornbook.tokenizer.patterns import PATTERNS

FULL_SIZE = 100_000_000
"""Bars are for corpora of at least so many bytes."""

COLD, WARM = "cold", "warm"


@dataclass(frozen=True, kw_only=True)
class Bench:
    """All that the cases are made of."""

    directory: Path
    """For files of ids; deleted afterwards."""
    corpora: Sequence[Corpus]
    sample: Corpus
    """About 10 MB of the first corpus, for what is slow."""
    vocabularies: Sequence[Vocabulary]
    threads: Sequence[int]
    peers: dict[str, str]
    """Interpreters of the peers that are there."""
    repeated_bytes: int = 1_000_000_000


def train_cases(bench: Bench) -> Iterator[Case]:
    """Vocabularies of 8,192 and 32,000 ids: in a standing process, then with everything that a process costs."""
    corpus = bench.corpora[0]
    for size, name in ((32_000, "32k"), (8_192, "8k")):
        slow_once = size == 8_192  # the first 8k merges of 32k are the same work again
        for threads in bench.threads:
            settings = _train_settings(corpus, size)
            yield Case(
                name=f"train {name} in process, {corpus.name}, {_threads(threads)}",
                unit="MB",
                amount=corpus.n_bytes / 1e6,
                equal={"merges": 0},
                note="hornbook, gigabpe: calls after an uncounted one; tokenizers, rustbpe: every call, text in memory",
                bars=_train_bars(corpus, threads) if size == 32_000 else (),
                sides=[
                    _ours("train", settings, threads),
                    *_peer(bench, "tokenizers", "train", settings, threads, warm_up=False, once=slow_once),
                    *_peer(bench, "rustbpe", "train", settings, threads, warm_up=False, once=slow_once),
                    *_peer(bench, "gigabpe", "train", settings, threads),
                ],
            )
            yield Case(
                name=f"train {name} fresh, {corpus.name}, {_threads(threads)}",
                unit="MB",
                amount=corpus.n_bytes / 1e6,
                fresh=True,
                clock="spawn",
                note="from the start of a process, imports included",
                bars=_bars(corpus, [Bar(kind="ratio", peer="gigabpe", value=1.4, aim=2.5)] if size == 32_000 else []),
                sides=[
                    _ours("train", settings, threads),
                    *_peer(bench, "gigabpe", "train", settings, threads),
                ],
            )


def _train_bars(corpus: Corpus, threads: int) -> list[Bar]:
    floors = {1: 25, 2: 20}
    return _bars(
        corpus, [Bar(kind="ratio", peer="tokenizers", value=floors[threads], aim=45)] if threads in floors else []
    )


def _train_settings(corpus: Corpus, vocab_size: int) -> dict[str, Any]:
    return {
        "path": str(corpus.path),
        "vocab_size": vocab_size,
        "special_tokens": list(SPECIAL_TOKENS["pretraining"]),
        "expression": PATTERNS["gpt2"].expression,
    }


def encode_cases(bench: Bench) -> Iterator[Case]:
    """A file of text to a file of ids; what is slow on a sample."""
    for vocabulary in bench.vocabularies:
        for corpus in bench.corpora if vocabulary.name == "gpt2" else bench.corpora[:1]:
            for threads in bench.threads:
                yield _encode_case(bench, vocabulary, corpus, threads)
        if vocabulary.settings["json"]:
            for threads in bench.threads:
                yield _sample_case(bench, vocabulary, threads)


def _encode_case(bench: Bench, vocabulary: Vocabulary, corpus: Corpus, threads: int) -> Case:
    settings = {**vocabulary.settings, "path": str(corpus.path)}
    main = corpus is bench.corpora[0]
    return Case(
        name=f"encode {vocabulary.name}, {corpus.name}, {_threads(threads)}",
        unit="MB",
        amount=corpus.n_bytes / 1e6,
        fresh=True,
        passes=(COLD, WARM),
        equal={"ids": 0},
        note="file to file; cold: first pass of a process, vocabulary loaded; warm: second pass",
        bars=_encode_bars(vocabulary, corpus, threads, main=main),
        sides=[
            _ours("encode", _with_out(bench, settings, "hornbook"), threads),
            # It keeps no words, so its second pass is like its first; on the second corpus it only checks the ids.
            *_peer(bench, "tiktoken", "encode", settings, threads, n_passes=1, once=not main),
            *_peer(bench, "gigatoken", "encode", settings, threads),
            *(
                _peer(bench, "gigatoken", "encode", {**settings, "call": "encode_batch"}, threads, " encode_batch")
                if main and vocabulary.name == "gpt2"
                else ()
            ),
            *_peer(bench, "fastokens", "encode", settings, threads),
        ],
    )


def _encode_bars(vocabulary: Vocabulary, corpus: Corpus, threads: int, *, main: bool) -> list[Bar]:
    if vocabulary.name != "gpt2" or threads not in (1, 2):
        return []
    if not main:
        return _bars(corpus, [Bar(kind="ratio", peer="gigatoken", value=0.8, aim=1.2, for_pass=COLD)])
    tiktoken, gigatoken = {1: ((11, 20), (0.95, 1.4)), 2: ((13, 25), (1.1, 1.6))}[threads]
    return _bars(
        corpus,
        [
            Bar(kind="ratio", peer="tiktoken", value=tiktoken[0], aim=tiktoken[1], for_pass=COLD),
            Bar(kind="ratio", peer="gigatoken", value=gigatoken[0], aim=gigatoken[1], for_pass=COLD),
        ],
    )


def _sample_case(bench: Bench, vocabulary: Vocabulary, threads: int) -> Case:
    settings = {**vocabulary.settings, "path": str(bench.sample.path)}
    return Case(
        name=f"encode {vocabulary.name}, {bench.sample.name}, {_threads(threads)}",
        unit="MB",
        amount=bench.sample.n_bytes / 1e6,
        fresh=True,
        passes=(COLD,),
        equal={"ids": 0},
        note="file to file, on a sample since one side is slow",
        sides=[
            _ours("encode", _with_out(bench, settings, "hornbook"), threads),
            *_peer(bench, "tokenizers", "encode", settings, threads),
        ],
    )


def decode_cases(bench: Bench) -> Iterator[Case]:
    """Ids of a sample back to bytes in one go, to texts document by document, and one id at a time."""
    for vocabulary in bench.vocabularies:
        for call in ("bytes", "batch", "stream"):
            settings = {**vocabulary.settings, "path": str(bench.sample.path), "call": call}
            yield Case(
                name=f"decode {vocabulary.name}, {call}, {bench.sample.name}",
                unit="MB",
                amount=bench.sample.n_bytes / 1e6,
                equal={"text": 0},
                bars=[Bar(kind="ratio", peer="tiktoken", value=1.0)],
                sides=[_ours("decode", settings, 1), *_peer(bench, "tiktoken", "decode", settings, 1)],
            )


def limit_cases(bench: Bench) -> Iterator[Case]:
    """Encoding in memory with the words known, beside counting words and copying bytes."""
    corpus = bench.corpora[0]
    path = str(corpus.path)
    for vocabulary in bench.vocabularies:
        settings = {**vocabulary.settings, "path": path, "in_memory": True}
        yield Case(
            name=f"encode {vocabulary.name} in memory, warm, {corpus.name}, 1 thread",
            unit="MB",
            amount=corpus.n_bytes / 1e6,
            sides=[
                _ours("encode", settings, 1),
                Side(
                    name="wc -w",
                    file="command.py",
                    settings={"command": ["wc", "-w", path], "variables": {"LC_ALL": "C"}},
                ),
                Side(name="memcpy", file="memory_copy.py", settings={"path": path}),
            ],
        )


def memory_cases(bench: Bench) -> Iterator[Case]:
    """The most memory that a gigabyte of text takes; the corpus is repeated, since only its size matters."""
    corpus = repeated(bench.corpora[0], bench.repeated_bytes, bench.directory)
    threads = max(bench.threads)
    full = corpus.n_bytes >= 1_000_000_000
    for vocabulary in bench.vocabularies[:1]:
        settings = _with_out(bench, {**vocabulary.settings, "path": str(corpus.path)}, "hornbook")
        bars = [Bar(kind="memory", value=250e6)] if full and threads == 2 else []
        yield Case(
            name=f"memory: encode {vocabulary.name}, {corpus.name}, {_threads(threads)}",
            unit="MB",
            amount=corpus.n_bytes / 1e6,
            fresh=True,
            blocks=1,
            bars=bars,
            sides=[_ours("encode", settings, threads)],
        )
    yield Case(
        name=f"memory: train 32k, {corpus.name}, {_threads(threads)}",
        unit="MB",
        amount=corpus.n_bytes / 1e6,
        fresh=True,
        blocks=1,
        bars=[Bar(kind="memory", value=1e9)] if full else [],
        sides=[_ours("train", _train_settings(corpus, 32_000), threads)],
    )


def small_cases(bench: Bench) -> Iterator[Case]:
    """130 kB, 500 ids, nothing compiled yet: what a first try costs, beside an interpreter that does nothing."""
    text = bench.sample.path.read_bytes()[:130_000].decode(errors="ignore")
    path = bench.directory / "small.txt"
    path.write_text(text, encoding="utf-8")
    yield Case(
        name="train 500 ids from 130 kB, whole command, nothing compiled",
        unit="MB",
        amount=path.stat().st_size / 1e6,
        bars=[Bar(kind="seconds", peer="python -c pass", value=1.5)],
        sides=[
            Side(
                name="hornbook",
                file="hornbook_train_command.py",
                settings={"path": str(path), "vocab_size": 500},
                warm_up=False,
            ),
            Side(name="python -c pass", file="command.py", settings={"command": [sys.executable, "-c", "pass"]}),
        ],
    )


GROUPS: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "encode": encode_cases,
    "train": train_cases,
    "decode": decode_cases,
    "limits": limit_cases,
    "memory": memory_cases,
    "small": small_cases,
}
"""What `--only` chooses from, in the order in which it runs."""

PEERS = ("tokenizers", "tiktoken", "rustbpe", "gigabpe", "gigatoken", "fastokens")


def _threads(n: int) -> str:
    return f"{n} thread{'s' if n > 1 else ''}"


def _bars(corpus: Corpus, bars: list[Bar]) -> list[Bar]:
    return bars if corpus.n_bytes >= FULL_SIZE else []


def _ours(work: str, settings: dict[str, Any], threads: int) -> Side:
    return Side(name="hornbook", file=f"hornbook_{work}.py", settings=settings, threads=threads)


def _peer(
    bench: Bench, peer: str, work: str, settings: dict[str, Any], threads: int, call: str = "", **how: Any
) -> list[Side]:
    """The peer's side, or none if it is not installed."""
    if peer not in bench.peers:
        return []
    return [
        Side(
            name=peer + call,
            file=f"{peer}_{work}.py",
            settings=_with_out(bench, settings, peer),
            threads=threads,
            python=bench.peers[peer],
            **how,
        )
    ]


def _with_out(bench: Bench, settings: dict[str, Any], name: str) -> dict[str, Any]:
    return {**settings, "out": str(bench.directory / f"{name}.ids")}

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
from collections.abc import Callable, Iterator
from typing import Any

from hornbook.benchmarks.corpus import Corpus, repeated
from hornbook.benchmarks.harness import Bar, Case
from hornbook.benchmarks.side import Side
from hornbook.benchmarks.tokenizer_sides import Bench, bars_for, threads_text
from hornbook.benchmarks.vocabularies import Vocabulary
from hornbook.config.tokenizer import SPECIAL_TOKENS
from hornbook.tokenizer.patterns import PATTERNS

COLD, WARM = "cold", "warm"


def train_cases(bench: Bench) -> Iterator[Case]:
    """Vocabularies of 8,192 and 32,000 ids: in a standing process, then with everything that a process costs."""
    corpus = bench.corpora[0]
    for size, name in ((32_000, "32k"), (8_192, "8k")):
        slow_once = size == 8_192  # learning fewer merges takes the slow ones as long
        for threads in bench.threads:
            settings = _train_settings(corpus, size)
            yield Case(
                name=f"train {name} in process, {corpus.name}, {threads_text(threads)}",
                unit="MB",
                amount=corpus.n_bytes / 1e6,
                equal={"merges": 0},
                note="hornbook, gigabpe: calls after an uncounted one; tokenizers, rustbpe: every call, text in memory",
                bars=_train_bars(corpus, threads) if size == 32_000 else (),
                sides=[
                    bench.ours("train", settings, threads),
                    *bench.peer("tokenizers", "train", settings, threads, warm_up=False, once=slow_once),
                    *bench.peer("rustbpe", "train", settings, threads, warm_up=False, once=slow_once),
                    *bench.peer("gigabpe", "train", settings, threads),
                ],
            )
            yield Case(
                name=f"train {name} fresh, {corpus.name}, {threads_text(threads)}",
                unit="MB",
                amount=corpus.n_bytes / 1e6,
                fresh=True,
                clock="spawn",
                note="from the start of a process, imports included",
                bars=bars_for(
                    corpus, [Bar(kind="ratio", peer="gigabpe", value=1.4, aim=2.5)] if size == 32_000 else []
                ),
                sides=[
                    bench.ours("train", settings, threads),
                    *bench.peer("gigabpe", "train", settings, threads),
                ],
            )


def _train_bars(corpus: Corpus, threads: int) -> list[Bar]:
    floors = {1: 25, 2: 20}
    return bars_for(
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
        if vocabulary.settings["json"] and "tokenizers" in bench.peers:
            for threads in bench.threads:
                yield _sample_case(bench, vocabulary, threads)


def _encode_case(bench: Bench, vocabulary: Vocabulary, corpus: Corpus, threads: int) -> Case:
    settings = {**vocabulary.settings, "path": str(corpus.path)}
    main = corpus is bench.corpora[0]
    return Case(
        name=f"encode {vocabulary.name}, {corpus.name}, {threads_text(threads)}",
        unit="MB",
        amount=corpus.n_bytes / 1e6,
        fresh=True,
        passes=(COLD, WARM),
        equal={"ids": 0},
        note="file to file; cold: first pass of a process, vocabulary loaded; warm: second pass",
        bars=_encode_bars(vocabulary, corpus, threads, main=main),
        sides=[
            bench.ours("encode", settings, threads),
            # It keeps no words, so its second pass is like its first; on the second corpus it only checks the ids.
            *bench.peer("tiktoken", "encode", settings, threads, n_passes=1, once=not main),
            *bench.peer("gigatoken", "encode", settings, threads),
            *(_other_calls(bench, settings, threads) if main and vocabulary.name == "gpt2" else ()),
            *bench.peer("fastokens", "encode", settings, threads),
        ],
    )


def _other_calls(bench: Bench, settings: dict[str, Any], threads: int) -> list[Side]:
    """Calls of the peers that may suit somebody better."""
    return [
        *bench.peer("tiktoken", "encode", settings, threads, call="encode_to_numpy", n_passes=1),
        *bench.peer("gigatoken", "encode", settings, threads, call="encode_batch"),
    ]


def _encode_bars(vocabulary: Vocabulary, corpus: Corpus, threads: int, *, main: bool) -> list[Bar]:
    if vocabulary.name != "gpt2" or threads not in (1, 2):
        return []
    if not main:
        return bars_for(corpus, [Bar(kind="ratio", peer="gigatoken", value=0.8, aim=1.2, for_pass=COLD)])
    tiktoken, gigatoken = {1: ((11, 20), (0.95, 1.4)), 2: ((13, 25), (1.1, 1.6))}[threads]
    return bars_for(
        corpus,
        [
            Bar(kind="ratio", peer="tiktoken", value=tiktoken[0], aim=tiktoken[1], for_pass=COLD),
            Bar(kind="ratio", peer="gigatoken", value=gigatoken[0], aim=gigatoken[1], for_pass=COLD),
        ],
    )


def _sample_case(bench: Bench, vocabulary: Vocabulary, threads: int) -> Case:
    settings = {**vocabulary.settings, "path": str(bench.sample.path)}
    return Case(
        name=f"encode {vocabulary.name}, {bench.sample.name}, {threads_text(threads)}",
        unit="MB",
        amount=bench.sample.n_bytes / 1e6,
        fresh=True,
        passes=(COLD,),
        equal={"ids": 0},
        note="file to file, on a sample since one side is slow",
        sides=[
            bench.ours("encode", settings, threads),
            *bench.peer("tokenizers", "encode", settings, threads),
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
                sides=[bench.ours("decode", settings, 1), *bench.peer("tiktoken", "decode", settings, 1)],
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
                bench.ours("encode", settings, 1),
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
        settings = {**vocabulary.settings, "path": str(corpus.path), "tables": False}
        bars = [Bar(kind="memory", value=250e6)] if full and threads == 2 else []
        yield Case(
            name=f"memory: encode {vocabulary.name}, {corpus.name}, {threads_text(threads)}",
            unit="MB",
            amount=corpus.n_bytes / 1e6,
            fresh=True,
            blocks=1,
            bars=bars,
            sides=[bench.ours("encode", settings, threads)],
        )
    yield Case(
        name=f"memory: train 32k, {corpus.name}, {threads_text(threads)}",
        unit="MB",
        amount=corpus.n_bytes / 1e6,
        fresh=True,
        blocks=1,
        bars=[Bar(kind="memory", value=1e9)] if full else [],
        sides=[bench.ours("train", _train_settings(corpus, 32_000), threads)],
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

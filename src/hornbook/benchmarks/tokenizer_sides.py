"""What the cases of `hornbook bench tokenizer` are made of: texts, vocabularies, and who takes part."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hornbook.benchmarks.corpus import Corpus
from hornbook.benchmarks.harness import Bar
from hornbook.benchmarks.side import Side
from hornbook.benchmarks.vocabularies import Vocabulary

FULL_SIZE = 100_000_000
"""Bars are for corpora of at least so many bytes."""
PEERS = ("tokenizers", "tiktoken", "rustbpe", "gigabpe", "gigatoken", "fastokens")


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

    def ours(self, work: str, settings: Mapping[str, Any], threads: int) -> Side:
        """Hornbook's side of some work: train, encode or decode."""
        return self._side("hornbook", "hornbook", work, settings, threads)

    def peer(
        self, peer: str, work: str, settings: Mapping[str, Any], threads: int, *, call: str = "", **how: Any
    ) -> list[Side]:
        """The peer's side, or none if it is not there; `call` names one that is not its usual, `how` goes to `Side`."""
        if peer not in self.peers:
            return []
        name = f"{peer} {call}" if call else peer
        return [self._side(name, peer, work, {**settings, "call": call} if call else settings, threads, **how)]

    def _side(self, name: str, library: str, work: str, settings: Mapping[str, Any], threads: int, **how: Any) -> Side:
        return Side(
            name=name,
            file=f"{library}_{work}.py",
            settings={**settings, "out": str(self.directory / f"{library}.ids")},
            threads=threads,
            python=self.peers.get(library, sys.executable),
            **how,
        )


def threads_text(n: int) -> str:
    """A number of threads in words."""
    return f"{n} thread{'s' if n > 1 else ''}"


def bars_for(corpus: Corpus, bars: list[Bar]) -> list[Bar]:
    """The bars, if the corpus is large enough to ask for them."""
    return bars if corpus.n_bytes >= FULL_SIZE else []

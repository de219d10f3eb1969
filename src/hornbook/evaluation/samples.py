"""What generated texts are made of, by their tokens: variety, repetition, loops, length.

An n-gram is n successive tokens of one text. Numbers by tokens compare runs with one tokenizer; text_statistics has the
like by words.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hornbook.generation.comparison import REPEATED, repetition

Tokens = Sequence[int]

LOOP_ROUNDS, LOOP_TOKENS = 3, 16
"""A text ends in a loop if its last tokens are one passage at least so many times over, and at least so many tokens."""


@dataclass(frozen=True, kw_only=True)
class SampleStatistics:
    """Of all texts together; a share of nothing is None."""

    texts: int
    tokens: int
    shortest: int
    longest: int
    distinct_1: float | None
    """Different tokens over all tokens (Li et al., 2016, https://arxiv.org/abs/1510.03055)."""
    distinct_2: float | None
    distinct_3: float | None
    repetition: float | None
    """Share of the runs of 4 tokens of a text that stood in it before (Welleck et al., 2020, arXiv:1908.04319): the
    mean over the texts that have any."""
    loops: float | None
    """Texts that end in a loop, over all."""
    entropy: float | None
    """Of the distribution of tokens, in nats: low where few words are used. Too low for few tokens."""

    @property
    def length(self) -> float | None:
        """Tokens of a text, on average."""
        return self.tokens / self.texts if self.texts else None


def sample_statistics(texts: Sequence[Tokens]) -> SampleStatistics:
    """The statistics of `texts`, each the tokens of a continuation without its prompt and its end."""
    repeated = [repetition(text) for text in texts if len(text) >= REPEATED]
    lengths = [len(text) for text in texts]
    return SampleStatistics(
        texts=len(texts),
        tokens=sum(lengths),
        shortest=min(lengths, default=0),
        longest=max(lengths, default=0),
        distinct_1=distinct(texts, 1),
        distinct_2=distinct(texts, 2),
        distinct_3=distinct(texts, 3),
        repetition=sum(repeated) / len(repeated) if repeated else None,
        loops=share(sum(ends_in_loop(text) for text in texts), len(texts)),
        entropy=entropy(token for text in texts for token in text),
    )


def grams(text: Tokens, n: int) -> Iterator[tuple[int, ...]]:
    """The n-grams of one text, in order."""
    return zip(*(itertools.islice(text, first, None) for first in range(n)), strict=False)


def distinct(texts: Sequence[Tokens], n: int) -> float | None:
    """Different n-grams over all n-grams; 1 never repeats."""
    found = [gram for text in texts for gram in grams(text, n)]
    return share(len(set(found)), len(found))


def ends_in_loop(text: Tokens) -> bool:
    """Whether the last tokens are one passage LOOP_ROUNDS times or more, at least LOOP_TOKENS in all."""
    for period in range(1, len(text) // LOOP_ROUNDS + 1):
        needed = max(LOOP_TOKENS, LOOP_ROUNDS * period)
        if len(text) < needed:
            return False
        end = text[len(text) - needed :]
        if all(end[place] == end[place - period] for place in range(period, needed)):
            return True
    return False


def entropy(tokens: Iterator[int]) -> float | None:
    """Of the distribution of `tokens`, in nats, as counted."""
    counts = Counter(tokens)
    total = counts.total()
    return -sum(count / total * math.log(count / total) for count in counts.values()) + 0.0 if total else None


def share(part: int, whole: int) -> float | None:
    """part / whole; None of nothing."""
    return part / whole if whole else None

"""What generated texts are made of, beside what they were learnt from: known words, variety, passages known by heart.

Words are runs of letters and apostrophes, in lower case. An n-gram is n successive words of one text.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

MEMORISED_WORDS = 8
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


@dataclass(frozen=True, kw_only=True)
class TextStatistics:
    """Counts over all texts together; a share of nothing is None."""

    texts: int
    words: int
    known_words: int
    """That stand in the training text."""
    bigrams: int
    distinct_bigrams: int
    eight_grams: int
    memorised_eight_grams: int
    """That stand in the training text, word for word."""

    @property
    def known_share(self) -> float | None:
        """Words of the training vocabulary among all words."""
        return self.known_words / self.words if self.words else None

    @property
    def distinct_2(self) -> float | None:
        """Different bigrams over all bigrams (Li et al., 2016, https://arxiv.org/abs/1510.03055); 1 never repeats."""
        return self.distinct_bigrams / self.bigrams if self.bigrams else None

    @property
    def memorised_share(self) -> float | None:
        """Passages of eight words that are copies."""
        return self.memorised_eight_grams / self.eight_grams if self.eight_grams else None


def text_statistics(texts: Sequence[str], training: Iterable[str]) -> TextStatistics:
    """The statistics of `texts` beside the documents of `training`, which are read once."""
    split = [words_of(text) for text in texts]
    unknown = {word for words in split for word in words}
    eight = [gram for words in split for gram in _grams(words, MEMORISED_WORDS)]
    wanted = set(eight)
    found: set[tuple[str, ...]] = set()
    vocabulary = set(unknown)
    for document in training:
        words = words_of(document)
        unknown.difference_update(words)
        found.update(gram for gram in _grams(words, MEMORISED_WORDS) if gram in wanted)
    known = vocabulary - unknown
    bigrams = [gram for words in split for gram in _grams(words, 2)]
    return TextStatistics(
        texts=len(texts),
        words=sum(map(len, split)),
        known_words=sum(word in known for words in split for word in words),
        bigrams=len(bigrams),
        distinct_bigrams=len(set(bigrams)),
        eight_grams=len(eight),
        memorised_eight_grams=sum(gram in found for gram in eight),
    )


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]


def _grams(words: Sequence[str], n: int) -> Iterator[tuple[str, ...]]:
    return zip(*(itertools.islice(words, first, None) for first in range(n)), strict=False)

"""What generated texts are made of, beside what they were learnt from: known words and variety.

Words are runs of letters and apostrophes, in lower case. An n-gram is n successive words of one text.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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

    @property
    def known_share(self) -> float | None:
        """Words of the training vocabulary among all words."""
        return self.known_words / self.words if self.words else None

    @property
    def distinct_2(self) -> float | None:
        """Different bigrams over all bigrams (Li et al., 2016, https://arxiv.org/abs/1510.03055); 1 never repeats."""
        return self.distinct_bigrams / self.bigrams if self.bigrams else None


def text_statistics(texts: Sequence[str], training: Iterable[str]) -> TextStatistics:
    """The statistics of `texts` beside the documents of `training`, which are read until all words are known."""
    split = [words_of(text) for text in texts]
    unknown = {word for words in split for word in words}
    vocabulary = set(unknown)
    for document in training:
        if not unknown:
            break
        unknown.difference_update(words_of(document))
    known = vocabulary - unknown
    bigrams = [gram for words in split for gram in itertools.pairwise(words)]
    return TextStatistics(
        texts=len(texts),
        words=sum(map(len, split)),
        known_words=sum(word in known for words in split for word in words),
        bigrams=len(bigrams),
        distinct_bigrams=len(set(bigrams)),
    )


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return [word.lower().replace("\u2019", "'") for word in _WORD.findall(text)]

"""Byte-pair encoding, defined: counting words, learning merges, applying them. Pure Python; faster code must equal it.

Learning repeats: count every adjacent pair of symbols in every word, take the most frequent, write it as one new symbol
everywhere, left to right ("aaa" holds the pair (a, a) twice but merges once). Two orders decide among equals:

    hf             the smaller left id, then the smaller right id, as Hugging Face tokenizers has it
    lexicographic  the greater (left bytes, right bytes), as Stanford's CS336 has it

Nothing is recounted: all places where a pair can stand are born in the step that makes its newer symbol, so a list of
places is written once, and from then on its count only falls. That makes a heap with outdated entries exact.
Source: Sennrich, Haddow, Birch 2016, https://arxiv.org/abs/1508.07909
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Literal

Pair = tuple[int, int]
TieOrder = Literal["hf", "lexicographic"]

_EDGE, _GONE = -1, -2  # a symbol that separates words; the place of a symbol that its left neighbour has swallowed


def count_words(texts: Iterable[str], split: Callable[[str], list[str]]) -> Counter[str]:
    """How often each word stands in the texts; memory grows with the distinct words only."""
    words: Counter[str] = Counter()
    for text in texts:
        words.update(split(text))
    return words


def learn_merges(
    words: Mapping[bytes, int],
    alphabet: Sequence[int],
    n_merges: int,
    *,
    tie_order: TieOrder = "hf",
    progress: Callable[[int], None] | None = None,
) -> list[Pair]:
    """The merges in order of learning; merge k joins two ids into the id 256 + k.

    Args:
        words: distinct words with their counts.
        alphabet: the bytes in the order of their ids (256 of them).
        n_merges: how many to learn; fewer come back if every word has become one symbol.
        progress: called now and then with the number of merges learnt.
    """
    corpus = _Corpus(words, {byte: i for i, byte in enumerate(alphabet)})
    tokens = [bytes([byte]) for byte in alphabet]
    tie: list[int | str] = [_tie_key(i, token, tie_order) for i, token in enumerate(tokens)]
    heap = [(-n, tie[left], tie[right], (left, right)) for (left, right), n in corpus.counts.items()]
    heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < n_merges:
        negative_count, tie_left, tie_right, pair = heappop(heap)
        count = corpus.counts[pair]
        if count != -negative_count:  # it fell since this entry was made
            if count > 0:
                heappush(heap, (-count, tie_left, tie_right, pair))
            continue
        new = len(tokens)
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        tie.append(_tie_key(new, tokens[new], tie_order))
        for left, right in corpus.replace(pair, new):
            heappush(heap, (-corpus.counts[left, right], tie[left], tie[right], (left, right)))
        merges.append(pair)
        if progress and len(merges) % 64 == 0:
            progress(len(merges))
    return merges


def merge_word(symbols: Sequence[int], merges: Mapping[Pair, tuple[int, int]]) -> list[int]:
    """Merge the symbols of one word, lowest rank first and leftmost among equals; n log n in the length of the word.

    Args:
        symbols: ids of the word's bytes.
        merges: pair of ids -> (rank, id of the joined symbol).
    """
    symbols = list(symbols)
    n = len(symbols)
    following, preceding = list(range(1, n + 1)), list(range(-1, n - 1))
    heap: list[tuple[int, int, int, int, int]] = []  # rank, place, left, right, joined

    def consider(i: int) -> None:
        j = following[i]
        if j < n and (found := merges.get((symbols[i], symbols[j]))):
            heappush(heap, (found[0], i, symbols[i], symbols[j], found[1]))

    for i in range(n):
        consider(i)
    while heap:
        _, i, left, right, joined = heappop(heap)
        j = following[i]
        if j >= n or symbols[i] != left or symbols[j] != right:
            continue  # one of the two was merged with its other neighbour
        symbols[i], symbols[j] = joined, _GONE
        following[i] = following[j]
        if following[i] < n:
            preceding[following[i]] = i
        if preceding[i] >= 0:
            consider(preceding[i])
        consider(i)
    return [symbol for symbol in symbols if symbol != _GONE]


class _Corpus:
    """The distinct words as one row of symbols between edges, linked to their neighbours, and the places of pairs."""

    def __init__(self, words: Mapping[bytes, int], ids: Mapping[int, int]) -> None:
        self.symbols, self.weights = array("i", [_EDGE]), array("q", [0])
        self.counts: dict[Pair, int] = defaultdict(int)
        self.places: dict[Pair, array[int]] = defaultdict(lambda: array("q"))
        for word, count in words.items():
            self.symbols.extend([ids[byte] for byte in word])
            self.symbols.append(_EDGE)
            self.weights.extend([count] * (len(word) + 1))
        self.following = array("q", range(1, len(self.symbols) + 1))
        self.preceding = array("q", range(-1, len(self.symbols) - 1))
        for i in range(len(self.symbols) - 1):
            self._add(i, self.symbols[i], self.symbols[i + 1])

    def replace(self, pair: Pair, new: int) -> set[Pair]:
        """Write `new` for each occurrence of `pair`, left to right; returns the pairs with `new` that now exist."""
        left, right = pair
        symbols, following, preceding, counts = self.symbols, self.following, self.preceding, self.counts
        born: set[Pair] = set()
        for i in self.places.pop(pair):
            j = following[i]
            if symbols[i] != left or symbols[j] != right:
                continue  # merged with another neighbour since this place was noted
            before, after = preceding[i], following[j]
            if symbols[before] != _EDGE:
                counts[symbols[before], left] -= self.weights[i]
                born.add(self._add(before, symbols[before], new))
            if symbols[after] != _EDGE:
                counts[right, symbols[after]] -= self.weights[i]
                born.add(self._add(i, new, symbols[after]))
            symbols[i], symbols[j] = new, _GONE
            following[i], preceding[after] = after, i
        counts[pair] = 0
        return {p for p in born if counts[p] > 0}

    def _add(self, place: int, left: int, right: int) -> Pair:
        if left != _EDGE and right != _EDGE:
            self.counts[left, right] += self.weights[place]
            self.places[left, right].append(place)
        return left, right


def _tie_key(token_id: int, token: bytes, order: TieOrder) -> int | str:
    """Sorts the preferred of two symbols first: the smaller id, or the greater bytes.

    Bytes are reversed in value and closed with a character above all of them, so that a prefix sorts behind.
    """
    return token_id if order == "hf" else "".join(chr(255 - byte) for byte in token) + chr(256)
